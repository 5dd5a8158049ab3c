//! One HTTP/1.1 connection that never repeats a request behind the caller's back.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Most bytes of a status line and all header fields together.
const HEAD_BYTES_MAX: u64 = 32 * 1024;

/// Most bytes of a body.
const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'request> {
    /// The method, such as `GET`.
    pub method: &'request str,
    /// The path with its query, such as `/health`.
    pub path: &'request str,
    /// Header fields besides `Host`, `Connection` and those of the body.
    pub headers: &'request [(&'request str, &'request str)],
    /// A JSON body.
    pub body: Option<&'request str>,
    /// Whether the connection is to be closed after the answer.
    pub close: bool,
}

impl<'request> Request<'request> {
    /// A `GET` of `path` that keeps the connection open.
    #[must_use]
    pub const fn get(path: &'request str) -> Self {
        Self {
            method: "GET",
            path,
            headers: &[],
            body: None,
            close: false,
        }
    }

    fn written(&self, host: SocketAddr) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        for (name, value) in self.headers {
            text.extend([*name, ": ", *value, "\r\n"]);
        }
        if self.close {
            text.push_str("Connection: close\r\n");
        }
        if let Some(body) = self.body {
            let length = body.len().to_string();
            text.extend([
                "Content-Type: application/json\r\nContent-Length: ",
                &length,
                "\r\n\r\n",
                body,
            ]);
        } else {
            text.push_str("\r\n");
        }
        text
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as text where it is UTF-8.
    pub body: String,
}

impl Response {
    /// The first value of the header field `name` (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A connection that carries one request at a time.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
    reusable: bool,
    idle_since: Instant,
}

impl Connection {
    /// Connects to `host`.
    ///
    /// # Errors
    ///
    /// If nothing accepts the connection.
    pub async fn open(host: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host)
            .await
            .with_context(|| format!("cannot connect to {host}"))?;
        stream
            .set_nodelay(true)
            .context("cannot set up the connection")?;
        Ok(Self {
            stream: BufReader::new(stream),
            host,
            reusable: true,
            idle_since: Instant::now(),
        })
    }

    /// Whether another request may follow.
    #[must_use]
    pub const fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// When the last answer had been read.
    #[must_use]
    pub const fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Sends `request` once and reads the whole answer. Sets no deadline.
    ///
    /// # Errors
    ///
    /// If the connection breaks, the answer is not HTTP/1.1 or is larger than 32 KiB of head or 4 MiB of body. The
    /// connection is not reusable then.
    ///
    /// # Cancellation
    ///
    /// A dropped exchange leaves the connection not reusable.
    pub async fn exchange(&mut self, request: Request<'_>) -> anyhow::Result<Response> {
        self.reusable = false;
        self.stream
            .get_mut()
            .write_all(request.written(self.host).as_bytes())
            .await
            .context("the connection broke while the request was sent")?;
        let (response, reusable) = read_response(&mut self.stream).await?;
        self.reusable = reusable && !request.close;
        self.idle_since = Instant::now();
        Ok(response)
    }
}

/// Sends one request over a connection of its own.
///
/// # Errors
///
/// As [`Connection::open`] and [`Connection::exchange`].
pub async fn once(host: SocketAddr, request: Request<'_>) -> anyhow::Result<Response> {
    let request = Request {
        close: true,
        ..request
    };
    Connection::open(host).await?.exchange(request).await
}

/// Reads an answer and whether the connection stays open after it.
async fn read_response(
    stream: &mut (impl AsyncBufRead + Unpin + Send),
) -> anyhow::Result<(Response, bool)> {
    let mut head_left = HEAD_BYTES_MAX;
    let status_line = read_line(stream, &mut head_left)
        .await?
        .context("the connection was closed without an answer")?;
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse::<u16>().ok())
        .with_context(|| format!("`{status_line}` is not a status line of HTTP/1.1"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream, &mut head_left)
            .await?
            .context("the connection was closed in the middle of the header")?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("`{line}` is not a header field"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response {
        status,
        headers,
        body: String::new(),
    };
    let closes = response
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let (body, bounded) = read_body(stream, &response).await?;
    response.body = String::from_utf8_lossy(&body).into_owned();
    Ok((response, bounded && !closes))
}

/// Reads the body that `head` announces, and whether it ended before the connection did.
async fn read_body(
    stream: &mut (impl AsyncBufRead + Unpin + Send),
    head: &Response,
) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    if matches!(head.status, 204 | 304) {
        return Ok((body, true));
    }
    if head
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let mut line_left = HEAD_BYTES_MAX;
            let line = read_line(stream, &mut line_left)
                .await?
                .context("the connection was closed between two chunks")?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16)
                .with_context(|| format!("`{line}` is not the size of a chunk"))?;
            read_exactly(stream, size, &mut body).await?;
            // The line end after a chunk; after the last one, the trailers' empty line.
            read_line(stream, &mut line_left).await?;
            if size == 0 {
                return Ok((body, true));
            }
        }
    }
    if let Some(length) = head.header("content-length") {
        let length = length
            .parse()
            .with_context(|| format!("`{length}` is not a content length"))?;
        read_exactly(stream, length, &mut body).await?;
        return Ok((body, true));
    }
    let read = stream
        .take(BODY_BYTES_MAX + 1)
        .read_to_end(&mut body)
        .await
        .context("the connection broke in the middle of the body")?;
    ensure!(
        read as u64 <= BODY_BYTES_MAX,
        "the body is larger than {BODY_BYTES_MAX} bytes"
    );
    Ok((body, false))
}

async fn read_exactly(
    stream: &mut (impl AsyncBufRead + Unpin + Send),
    length: u64,
    body: &mut Vec<u8>,
) -> anyhow::Result<()> {
    ensure!(
        body.len() as u64 + length <= BODY_BYTES_MAX,
        "the body is larger than {BODY_BYTES_MAX} bytes"
    );
    let read = stream
        .take(length)
        .read_to_end(body)
        .await
        .context("the connection broke in the middle of the body")?;
    ensure!(
        read as u64 == length,
        "the body was cut after {read} of {length} bytes"
    );
    Ok(())
}

/// The next line without its end; `None` at the end of the stream.
async fn read_line(
    stream: &mut (impl AsyncBufRead + Unpin + Send),
    bytes_left: &mut u64,
) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    let read = stream
        .take(*bytes_left)
        .read_until(b'\n', &mut line)
        .await
        .context("the connection broke in the middle of the header")?;
    if read == 0 && *bytes_left > 0 {
        return Ok(None);
    }
    *bytes_left -= read as u64;
    if line.pop() != Some(b'\n') {
        bail!("the header is cut or larger than {HEAD_BYTES_MAX} bytes");
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> anyhow::Result<(Response, bool)> {
        read_response(&mut text.as_bytes()).await
    }

    #[tokio::test]
    async fn a_counted_body_leaves_the_connection_open() {
        let (response, reusable) =
            read("HTTP/1.1 200 OK\r\nX-Version: 1\r\nContent-Length: 2\r\n\r\nhello")
                .await
                .unwrap();
        assert_eq!((response.status, response.body.as_str()), (200, "he"));
        assert_eq!(response.header("x-version"), Some("1"));
        assert!(reusable);
    }

    #[tokio::test]
    async fn a_server_may_ask_to_close() {
        let (response, reusable) = read("HTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(response.status, 204);
        assert!(!reusable);
        let (response, reusable) = read("HTTP/1.1 503 Unavailable\r\n\r\nto the end")
            .await
            .unwrap();
        assert_eq!(response.body, "to the end");
        assert!(!reusable);
    }

    #[tokio::test]
    async fn chunks_are_put_together() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n";
        let (response, reusable) = read(text).await.unwrap();
        assert_eq!(response.body, "abcd");
        assert!(reusable);
    }

    #[tokio::test]
    async fn what_is_cut_is_an_error_and_never_an_answer() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nab",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(read(text).await.is_err(), "{text:?} was taken");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(40_000));
        assert!(read(&endless).await.is_err());
    }
}
