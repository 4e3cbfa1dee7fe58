//! What `scrimp slim` makes of an image under test, and what a careful person makes of it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Env, Image, fixture};

/// A small image that was verified.
pub struct Small {
    /// A docker archive.
    pub archive: PathBuf,
    /// What `--format json` says.
    pub summary: Value,
    /// The entries of the lock file.
    pub lock: Vec<Value>,
    /// Holds the archive.
    _env: Env,
}

impl Small {
    /// Made by the user of `env`.
    pub fn of(env: Env, name: &str, arguments: &[&str]) -> Self {
        let (archive, lock) = (env.path("small.tar"), env.path("scrimp.lock"));
        let destination = format!("docker-archive:{archive}:localhost/small-{name}:1");
        let source = env.source(name);
        let fixed = ["slim", &source, "-o", &destination, "--lock", &lock, "--format", "json"];
        let summary = env.scrimp(&[&fixed, arguments].concat()).succeeds().json();
        assert_eq!(summary["verify"]["status"], "passed", "{summary}");
        let lock = std::fs::read_to_string(lock).unwrap();
        let lock = lock.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { archive: archive.into(), summary, lock, _env: env }
    }

    pub fn as_root(name: &str, arguments: &[&str]) -> Self {
        Self::of(Env::new().sharing_the_store(), name, arguments)
    }

    /// What is in it.
    pub fn image(&self) -> Image {
        Image::read(&self.archive)
    }

    pub fn has(&self, path: &str) -> bool {
        self.lock.iter().any(|entry| entry["path"] == path)
    }

    /// Why `path` is there.
    #[track_caller]
    pub fn reasons(&self, path: &str) -> Vec<&str> {
        let entry = self.lock.iter().find(|entry| entry["path"] == path);
        let reasons = entry.unwrap_or_else(|| panic!("{path} is not there"))["reasons"].as_array().unwrap();
        reasons.iter().map(|reason| reason.as_str().unwrap()).collect()
    }
}

/// How many files a careful person would take from an image, and their bytes.
pub fn by_hand(name: &str) -> (u64, u64) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).join("by-hand");
    let run = Env::new().run(script, &["--check", fixture(name).to_str().unwrap()]);
    let numbers: String = run.stderr.chars().filter(|c| c.is_ascii_digit() || *c == ' ').collect();
    let numbers: Vec<u64> = numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [files, bytes] = numbers[..] else { panic!("two numbers are expected\n{run}") };
    (files, bytes)
}
