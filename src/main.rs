use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = scrimp::sandbox::reexec() {
        return code;
    }
    ExitCode::SUCCESS
}
