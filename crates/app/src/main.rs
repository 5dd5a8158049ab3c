//! The `drover` command.

use std::process::ExitCode;

use mimalloc::MiMalloc;

// The allocator of the C library keeps what many threads once needed: a large answer of an agent stays in memory for good.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // The one place where the process environment is read; everything below is handed what it needs.
    drover_app::run(std::env::args_os().collect(), std::env::vars_os().collect()).await
}
