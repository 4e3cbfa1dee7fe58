//! Every sandbox as every kind of caller: the table of docs/sandbox.md, made anew.

use std::path::Path;
use std::process::Command;

use crate::support::fixture;

#[test]
fn every_sandbox_gives_every_caller_the_same_image() {
    // The script takes the images from where they are made; a missing one is named here.
    for image in ["nginx-cv", "postgres-15"] {
        assert!(fixture(image).is_file());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sandbox-matrix");
    let output = Command::new(script).args(["--scrimp", env!("CARGO_BIN_EXE_scrimp")]).output().unwrap();
    let (table, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{table}\n{said}");
    // Two images, four sandboxes, three callers.
    assert_eq!(table.matches("| passed (`").count(), 24, "{table}\n{said}");
    assert_eq!(table.matches("12 runs passed, all with the diff id").count(), 2, "{table}\n{said}");
}
