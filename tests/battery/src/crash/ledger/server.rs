//! The ledger's process.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::super::input;
use super::{Book, Entry};

/// How many requests are written and synced together at most.
const TOGETHER_MAX: usize = 1_000;

type Request = (String, oneshot::Sender<&'static str>);

/// Keeps the ledger in `file` for callers on `socket`, until standard input ends.
pub(crate) async fn serve(socket: &Path, file: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket).context("the ledger's socket cannot be made")?;
    let file = File::options().create(true).append(true).open(file);
    let file = file.context("the ledger's file cannot be opened")?;
    let (requests, asked) = mpsc::channel(TOGETHER_MAX);
    let mut running = JoinSet::new();
    running.spawn_blocking(move || write(file, asked));
    let mut input = input::lines();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("the ledger cannot be asked any more")?;
                let requests = requests.clone();
                running.spawn(async move { answer(stream, requests).await });
            }
            // Its parent is gone, or no longer needs it.
            line = input.recv() => {
                if line.is_none() {
                    return Ok(());
                }
            }
            Some(ended) = running.join_next() => ended?.context("the ledger cannot be written")?,
        }
    }
}

async fn answer(stream: UnixStream, requests: mpsc::Sender<Request>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // Who asks may be killed at any time; what it asked for happens all the same.
    if stream.read_line(&mut line).await.is_err() || !line.ends_with('\n') {
        return Ok(());
    }
    let (sender, answer) = oneshot::channel();
    if requests.send((line, sender)).await.is_ok()
        && let Ok(answer) = answer.await
    {
        let _who_asked_is_gone = stream.write_all(answer.as_bytes()).await.is_err();
    }
    Ok(())
}

/// Everything that was asked for while the last group was synced is the next group.
fn write(mut file: File, mut asked: mpsc::Receiver<Request>) -> std::io::Result<()> {
    let mut book = Book::default();
    let mut requests = Vec::new();
    while asked.blocking_recv_many(&mut requests, TOGETHER_MAX) > 0 {
        let mut lines = String::new();
        let mut answers = Vec::new();
        for (request, sender) in requests.drain(..) {
            let answer = match request.trim_end().split_once('\t') {
                Some(("tell", entry)) => match Entry::parse(entry) {
                    Some(entry) => {
                        lines.push_str(&book.enter(entry).to_string());
                        lines.push('\n');
                        "ok\n"
                    }
                    None => "no\n",
                },
                Some(("has", key)) if book.has(key) => "yes\n",
                Some(_) | None => "no\n",
            };
            answers.push((sender, answer));
        }
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        for (sender, answer) in answers {
            let _who_asked_is_gone = sender.send(answer).is_err();
        }
    }
    Ok(())
}
