//! Measurements against real peers; `cargo xtask bench` builds and runs them. Each prints one JSON
//! document on standard output and its progress on standard error.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user there"
)]

mod fleet;
mod naive;
mod prepare;
mod proxy;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let subject: Vec<String> = std::env::args().skip(1).collect();
    if subject != ["prepare"] {
        eprintln!("bench: there is one measurement: prepare");
        return ExitCode::from(64);
    }
    match prepare::measure().await {
        Ok(report) => {
            println!("{report:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
