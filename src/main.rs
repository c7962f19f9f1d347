//! Parses the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("pipeline-host") => headend::pipeline::host::host_main(),
        _ => ExitCode::FAILURE,
    }
}
