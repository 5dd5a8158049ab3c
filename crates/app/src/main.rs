//! The `drover` command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // The one place where the process environment is read; everything below is handed what it needs.
    drover_app::run(std::env::args_os().collect(), std::env::vars_os().collect()).await
}
