//! rpm's SQLite database, `rpmdb.sqlite`: the table `Packages` with a header in each row.
//!
//! It is opened in memory, so whatever it says no file is touched, and with limits on what a query may do: a database
//! of an image can hold views, expressions and pages that are made to go on for ever.

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, Error};

/// The longest header; those of kernels with all their modules have less than 8 MB.
const MAX_HEADER: i32 = 64 << 20;
/// How many steps of SQLite's machine all of it may take: some ten for each row.
const MAX_CALLS: u32 = 1000;
const STEPS_PER_CALL: i32 = 100_000;
/// The first bytes of a database, and where it says that changes are in a write-ahead log (fileformat2, section 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";
const VERSIONS: [usize; 2] = [18, 19];

/// The headers of all packages.
///
/// # Errors
/// What is wrong with the database.
pub(super) fn blobs(mut database: Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
    if !database.starts_with(MAGIC) || database.len() < 512 {
        return Err("it is no SQLite database".into());
    }
    // What is in memory cannot have a log beside it.
    for at in VERSIONS {
        database[at] = 1;
    }
    let total = database.len();
    query(&database, total).map_err(|cause| cause.to_string())
}

fn query(database: &[u8], total: usize) -> Result<Vec<Vec<u8>>, Error> {
    let mut connection = Connection::open_in_memory()?;
    connection.deserialize_read_exact("main", database, database.len(), true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_HEADER)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    let mut calls = 0;
    connection.progress_handler(
        STEPS_PER_CALL,
        Some(move || {
            calls += 1;
            calls > MAX_CALLS
        }),
    )?;
    let mut statement = connection.prepare("SELECT blob FROM Packages ORDER BY hnum")?;
    let mut rows = statement.query([])?;
    let mut blobs = Vec::new();
    // No more can be in it than it is long, unless pages are used twice.
    let mut budget = total;
    while let Some(row) = rows.next()? {
        let blob: Vec<u8> = row.get(0)?;
        budget = budget.checked_sub(blob.len()).ok_or(Error::InvalidQuery)?;
        blobs.push(blob);
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn database(schema: &str) -> Vec<u8> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema).unwrap();
        connection.serialize("main").unwrap().to_vec()
    }

    const PACKAGES: &str = "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);
         INSERT INTO Packages VALUES (2, x'02'), (1, x'01')";

    #[test]
    fn rows_come_in_the_order_of_their_numbers() {
        assert_eq!(blobs(database(PACKAGES)).unwrap(), [[1], [2]]);
        let mut logged = database(PACKAGES);
        logged[18..20].copy_from_slice(&[2, 2]);
        assert_eq!(blobs(logged).unwrap(), [[1], [2]]);
    }

    #[test]
    fn what_is_no_table_of_packages_is_refused() {
        let endless = "CREATE VIEW Packages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
             SELECT i AS hnum, x'00' AS blob FROM n";
        for (bytes, message) in [
            (database("CREATE TABLE other (x)"), "no such table"),
            (database(endless), "no such table"),
            (b"SQLite format 3\0".to_vec(), "no SQLite database"),
            (Vec::new(), "no SQLite database"),
        ] {
            let error = blobs(bytes).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_damage_breaks_it(at in proptest::collection::vec((0usize..8192, any::<u8>()), 1..20)) {
            let mut bytes = database(PACKAGES);
            for (at, byte) in at {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            drop(blobs(bytes));
        }
    }
}
