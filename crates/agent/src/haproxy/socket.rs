//! One command over one connection, with a deadline and a largest answer.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;

/// Most bytes of one answer: 30 times what 1,000 servers take.
pub(super) const ANSWER_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Sends one line and reads the answer to its end.
///
/// The text is lossy UTF-8: a health check may have put any byte of the application's answer into it.
/// `None` when the answer was larger than [`ANSWER_BYTES_MAX`]. Has no deadline of its own.
pub(super) async fn exchange(address: &Address, command: &str) -> io::Result<Option<String>> {
    converse(address, command, false).await
}

/// As [`exchange`] for a master's socket, which waits for further commands until the write side is closed.
pub(super) async fn exchange_and_close(
    address: &Address,
    command: &str,
) -> io::Result<Option<String>> {
    converse(address, command, true).await
}

async fn converse(address: &Address, command: &str, closes: bool) -> io::Result<Option<String>> {
    match address {
        Address::Unix(path) => talk(UnixStream::connect(path).await?, command, closes).await,
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            talk(stream, command, closes).await
        }
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    command: &str,
    closes: bool,
) -> io::Result<Option<String>> {
    stream.write_all(command.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    if closes {
        stream.shutdown().await?;
    }
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX + 1)
        .read_to_end(&mut answer)
        .await?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&answer).into_owned()))
}
