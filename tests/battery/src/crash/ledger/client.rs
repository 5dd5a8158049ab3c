//! A worker's way to the ledger.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{Entry, Witness};

/// The ledger behind a socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    async fn ask(&self, line: String) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        if answer.ends_with('\n') {
            Ok(answer)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

#[async_trait]
impl Witness for Client {
    async fn tell(&self, entry: Entry) -> io::Result<()> {
        self.ask(format!("tell\t{entry}\n")).await.map(|_| ())
    }

    async fn has(&self, key: &str) -> io::Result<bool> {
        let answer = self.ask(format!("has\t{key}\n")).await?;
        Ok(answer == "yes\n")
    }
}
