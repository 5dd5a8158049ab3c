//! Measurements against real peers; `cargo xtask bench` builds and runs them. Each prints one JSON
//! document on standard output and its progress on standard error.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user there"
)]

mod engine;
mod fleet;
mod naive;
mod polling;
mod prepare;
mod proxy;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let subject: Vec<String> = std::env::args().skip(1).collect();
    let measured = match subject.first().map(String::as_str) {
        Some("prepare") => prepare::measure().await,
        Some("engine") => {
            let has = |flag: &str| subject.iter().any(|given| given == flag);
            let options = engine::Options {
                peers: has("--peers"),
                growth: !has("--no-growth"),
            };
            engine::measure(options).await
        }
        Some("polling") => polling::measure().await,
        Some("sync") => polling::sync::measure().await,
        // What the measurement of polling polls.
        Some("agents") => {
            return match polling::agents::serve().await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("bench: {error:#}");
                    ExitCode::FAILURE
                }
            };
        }
        Some(_) | None => {
            eprintln!("bench: there are four measurements: prepare, engine, polling, sync");
            return ExitCode::from(64);
        }
    };
    match measured {
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
