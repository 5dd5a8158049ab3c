//! Other queues and engines against the same server, by their own programs (`tests/bench/peers`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::TASKS;
use super::server::Server;

const PEERS: [&str; 4] = ["graphile-worker", "pg-boss", "procrastinate", "dbos"];

/// Installs all of them into a scratch folder and measures one after the other. One that fails says why and
/// does not hinder the others.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement starts what it measures"
)]
pub(crate) async fn measure(server: &Server) -> Result<Value> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let scratch = tempfile::tempdir()?;
    eprintln!("bench: peers: installing into {}", scratch.path().display());
    let installed = Command::new(scripts.join("install.sh"))
        .arg(scratch.path())
        .stdout(Stdio::null())
        .status()
        .context("the peers' installer cannot be started")?;
    ensure!(
        installed.success(),
        "the peers cannot be installed: {installed}"
    );
    let mut figures = serde_json::Map::new();
    for peer in PEERS {
        let database = server.database(&format!("peer_{}", peer.replace('-', "_")));
        let figure = run(
            &scripts.join("run.sh"),
            scratch.path().to_owned(),
            peer,
            database.url(),
        )
        .await;
        let figure = figure.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        eprintln!("bench: peers: {figure}");
        figures.insert(peer.to_owned(), figure);
    }
    Ok(Value::Object(figures))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement starts what it measures"
)]
async fn run(script: &Path, scratch: PathBuf, peer: &str, url: String) -> Result<Value> {
    let mut command = Command::new(script);
    command
        .arg(scratch)
        .args([peer, &url, &TASKS.to_string()])
        .stderr(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "{peer} said nothing readable and ended with {}",
            output.status
        )
    })?;
    Ok(said)
}
