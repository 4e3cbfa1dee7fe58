//! scrimp makes a minimal container image by watching the application run.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A helper process of a sandbox is this program again, told apart by a descriptor that it inherits.
    if let Some(code) = scrimp::sandbox::reexec() {
        return code;
    }
    scrimp::cli::run()
}
