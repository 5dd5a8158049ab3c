//! The service as a client calls it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use drover_egress::{BodyError, Options, Proxy, Redacted, client, read_capped};
use reqwest::header::{ACCEPT, AUTHORIZATION, ETAG, HeaderValue, IF_MATCH};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::failure::{Code, Failure, causes};
use super::output::text;

/// The variable with the address of the service.
const URL_VARIABLE: &str = "DROVER_URL";

/// The address of the service where none is given.
const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// The variable with the API key.
const KEY_VARIABLE: &str = "DROVER_API_KEY";

/// The most time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The most time for one call.
const DEADLINE: Duration = Duration::from_secs(35);

/// The largest answer, bytes.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The longest API key, bytes.
const KEY_BYTES_MAX: u64 = 4_096;

/// The most items of one list.
const ITEMS_MAX: usize = 200_000;

/// The most items of a page.
const PAGE: usize = 200;

/// The most pages of one list: that of full ones and as many again that are not.
const PAGES_MAX: usize = 2 * ITEMS_MAX / PAGE;

/// The longest a stream may last in one go.
const STREAM_MAX: Duration = Duration::from_hours(24);

/// A running service, and who asks.
#[derive(Debug)]
pub(crate) struct Service {
    client: Client,
    base: Url,
    key: HeaderValue,
}

impl Service {
    pub(crate) fn new(
        server: Option<&str>,
        key_file: Option<&Path>,
        variables: &[(String, String)],
    ) -> Result<Self, Failure> {
        let base = base(
            server
                .or_else(|| variable(URL_VARIABLE, variables))
                .unwrap_or(URL_DEFAULT),
        )?;
        let key = key(key_file, variables)?;
        let client = client(Options {
            connect_timeout: CONNECT_TIMEOUT,
            total_timeout: DEADLINE,
            proxy: Proxy::Direct,
        })
        .map_err(|error| Failure::new(Code::Defect, causes(&error)))?;
        Ok(Self { client, base, key })
    }

    /// The answer to a question.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.call(self.client.get(self.url(path)).query(query))
            .await
    }

    /// The answer to a POST. After a broken connection it is unknown whether the request arrived.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(self.client.post(self.url(path)).json(body)).await
    }

    /// The answer to a POST with an idempotency key: it has its effect once, however often it is sent.
    pub(crate) async fn post_once(
        &self,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<Value, Failure> {
        let request = self
            .client
            .post(self.url(path))
            .header("Idempotency-Key", key);
        self.call(request.json(body)).await
    }

    /// The answer to a PUT.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(self.client.put(self.url(path)).json(body)).await
    }

    /// The answer to a PUT that is refused if the resource was changed in the meantime (`If-Match`).
    pub(crate) async fn amend(
        &self,
        path: &str,
        change: impl FnOnce(&Value) -> Map<String, Value>,
    ) -> Result<Value, Failure> {
        let response = self.send(self.client.get(self.url(path))).await?;
        let tag = response.headers().get(ETAG).cloned();
        let known = self.answer(response).await?;
        let mut request = self.client.put(self.url(path)).json(&change(&known));
        if let Some(tag) = tag {
            request = request.header(IF_MATCH, tag);
        }
        self.call(request).await
    }

    /// The number of the `what` with this name or number in a list. A name wins, unless several have it.
    pub(crate) async fn find(&self, path: &str, what: &str, wanted: &str) -> Result<i64, Failure> {
        let items = self.all(path, &[]).await?;
        let id = |item: &Value| item.get("id").and_then(Value::as_i64);
        let mut named = items.iter().filter(|item| text(item, "name") == wanted);
        let (first, second) = (named.next(), named.next());
        if second.is_some() {
            let message = format!(
                "there are several of the name `{}`; say which by its number",
                wanted.escape_debug()
            );
            return Err(Failure::new(Code::Usage, message));
        }
        let found = first.and_then(id).or_else(|| {
            let number = wanted.parse().ok();
            items.iter().filter_map(id).find(|id| Some(*id) == number)
        });
        found.ok_or_else(|| {
            let message = format!("there is no {what} `{}`", wanted.escape_debug());
            Failure::new(Code::NotFound, message)
        })
    }

    /// Takes away what is there.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let response = self.send(self.client.delete(self.url(path))).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        self.answer(response).await.map(|_| ())
    }

    /// The events of a workflow, those after `last_id` first.
    pub(crate) async fn events(
        &self,
        workflow: &str,
        last_id: Option<&str>,
    ) -> Result<Stream, Failure> {
        let mut request = self
            .client
            .get(self.url("events/stream"))
            .query(&[("workflow_id", workflow)])
            .header(ACCEPT, "text/event-stream")
            .timeout(STREAM_MAX);
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = self.send(request).await?;
        if !response.status().is_success() {
            self.answer(response).await?;
            return Err(self.unexpected("it does not answer with a stream of events"));
        }
        Ok(Stream {
            response,
            from: Redacted(&self.base).to_string(),
        })
    }

    /// The first items of a list, `most` of them.
    pub(crate) async fn some(
        &self,
        path: &str,
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut pages = Pages::default();
        let mut cursor: Option<String> = None;
        while items.len() < most {
            let limit = (most - items.len()).min(PAGE).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &limit));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let (page, next) = page(self.get(path, &query).await?)?;
            items.extend(page);
            cursor = pages.next(path, next)?;
            if cursor.is_none() {
                break;
            }
        }
        items.truncate(most);
        Ok(items)
    }

    /// All items of a list, page by page.
    pub(crate) async fn all(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<Value>, Failure> {
        let items = self.some(path, query, ITEMS_MAX + 1).await?;
        if items.len() > ITEMS_MAX {
            let message = format!("the list has more than {ITEMS_MAX} items; ask for fewer");
            return Err(Failure::new(Code::Failed, message));
        }
        Ok(items)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/api/v1/{path}",
            self.base.path().trim_end_matches('/')
        ));
        url
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = self.send(request).await?;
        self.answer(response).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let shown = Redacted(&self.base);
        request.header(AUTHORIZATION, self.key.clone()).send().await.map_err(|error| {
            let error = error.without_url();
            let message = if let Some(reason) = no_tls(&error) {
                format!("{shown} {reason}; is http:// meant?")
            } else if error.is_connect() {
                format!("no Drover service can be reached at {shown}: {}; is it running? --server URL or DROVER_URL names another", unreached(&error))
            } else if error.is_timeout() {
                format!("the service at {shown} did not answer within {} s", DEADLINE.as_secs())
            } else {
                format!("the connection to {shown} broke off: {}", causes(&error))
            };
            Failure::new(Code::Unavailable, message)
        })
    }

    /// Another program answers.
    fn unexpected(&self, what: &str) -> Failure {
        let shown = Redacted(&self.base);
        let message = format!(
            "{shown} is not a Drover service: {what}; --server URL or DROVER_URL names another"
        );
        Failure::new(Code::Unavailable, message)
    }

    async fn answer(&self, response: Response) -> Result<Value, Failure> {
        let shown = Redacted(&self.base);
        let status = response.status();
        if status.is_redirection() {
            let message = format!(
                "{shown} sends elsewhere (status {}), which is not followed",
                status.as_u16()
            );
            return Err(Failure::new(Code::Failed, message));
        }
        let body = read_capped(response, BODY_BYTES_MAX).await;
        if !status.is_success() {
            let problem: Option<Value> = body
                .ok()
                .and_then(|body| serde_json::from_slice(&body).ok())
                .filter(Value::is_object);
            let is_ours = problem.is_some()
                || !matches!(
                    status.as_u16(),
                    400 | 404 | 405 | 406 | 410 | 411 | 415 | 421 | 426
                );
            if !is_ours {
                let what = format!(
                    "it answers with status {} and no problem document",
                    status.as_u16()
                );
                return Err(self.unexpected(&what));
            }
            return Err(Failure::from_problem(status.as_u16(), problem));
        }
        let body = body.map_err(|error| {
            let code = match &error {
                BodyError::Late { .. } | BodyError::BrokenOff { .. } => Code::Unavailable,
                BodyError::TooLarge { .. } | BodyError::Encoded => Code::Failed,
            };
            Failure::new(
                code,
                format!("the answer of {shown} cannot be read: {error}"),
            )
        })?;
        serde_json::from_slice(&body).map_err(|_| self.unexpected("its answer is not JSON"))
    }
}

/// An answer that goes on.
#[derive(Debug)]
pub(crate) struct Stream {
    response: Response,
    from: String,
}

impl Stream {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self.response.chunk().await {
            Ok(piece) => Ok(piece.map(|piece| piece.to_vec())),
            Err(error) => {
                let causes = causes(&error.without_url());
                let message = format!("the stream of {} broke off: {causes}", self.from);
                Err(Failure::new(Code::Unavailable, message))
            }
        }
    }
}

/// The pages of a list that were read. A list that leads back to a page, or has no end, is an error of the service.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    cursors: HashSet<String>,
}

impl Pages {
    /// The cursor behind a page of the list `path`, which has to be a new one.
    pub(crate) fn next(
        &mut self,
        path: &str,
        next: Option<String>,
    ) -> Result<Option<String>, Failure> {
        let Some(next) = next else {
            return Ok(None);
        };
        if !self.cursors.insert(next.clone()) {
            let message = format!(
                "the service does not answer as agreed: the list `{path}` comes back to a page that was read already"
            );
            return Err(Failure::new(Code::Failed, message));
        }
        if self.cursors.len() >= PAGES_MAX {
            let message = format!(
                "the service does not answer as agreed: the list `{path}` does not end after {PAGES_MAX} pages"
            );
            return Err(Failure::new(Code::Failed, message));
        }
        Ok(Some(next))
    }
}

/// Why no TLS is spoken where `https` is typed.
fn no_tls(error: &reqwest::Error) -> Option<&'static str> {
    let text = causes(error);
    text.contains("InvalidContentType")
        .then_some("does not speak TLS, as https:// says")
}

/// Why no connection was made: the innermost cause in a few words.
fn unreached(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    match innermost.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            "there is no way to this address".to_owned()
        }
        _ if error.is_timeout() => {
            format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())
        }
        _ => innermost.to_string(),
    }
}

/// The items of a page, and where to go on.
pub(crate) fn page(mut answer: Value) -> Result<(Vec<Value>, Option<String>), Failure> {
    let next = answer
        .get("next_cursor")
        .and_then(Value::as_str)
        .map(str::to_owned);
    match answer.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok((items, next)),
        Some(_) | None => Err(Failure::new(
            Code::Failed,
            "the service does not answer as agreed: a list has no `items`",
        )),
    }
}

fn base(server: &str) -> Result<Url, Failure> {
    let unusable = |why: &str| {
        Failure::new(
            Code::Usage,
            format!("--server (or DROVER_URL) {why}; http://HOST:PORT is expected"),
        )
    };
    let url = Url::parse(server).map_err(|error| unusable(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(unusable("is neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(unusable("has a user, a password or a query"));
    }
    Ok(url)
}

/// A variable that is set and not empty.
fn variable<'a>(name: &str, variables: &'a [(String, String)]) -> Option<&'a str> {
    let found = variables.iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

fn key(file: Option<&Path>, variables: &[(String, String)]) -> Result<HeaderValue, Failure> {
    let text = match file {
        Some(file) => read_secret("key", file)?,
        None => variable(KEY_VARIABLE, variables)
            .map(str::to_owned)
            .ok_or_else(|| {
                let message = format!(
                    "no API key is given: set {KEY_VARIABLE}, or name a file with --key-file"
                );
                Failure::new(Code::NotAllowed, message)
            })?,
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| {
        Failure::new(
            Code::Config,
            "the API key has characters that no API key has",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The only line of a file that only its owner may read; `what` names it in failures.
pub(crate) fn read_secret(what: &str, path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let unusable =
        |why: String| Failure::new(Code::Config, format!("the {what} file {shown} {why}"));
    let unreadable = |error: io::Error| unusable(format!("cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(unusable(format!(
            "can be read by others; run `chmod 600 {shown}`"
        )));
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(unusable("is empty".to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_http_url_names_a_service() {
        for server in ["http://127.0.0.1:8080", "https://drover.example/prefix/"] {
            assert!(base(server).is_ok(), "{server}");
        }
        for server in [
            "127.0.0.1:8080",
            "drover",
            "ftp://x",
            "http://",
            "http://u:p@x",
            "http://x/?q=1",
            "unix:/run/x",
        ] {
            let failure = base(server).unwrap_err();
            assert_eq!(failure.code, Code::Usage, "{server}");
            assert!(!failure.message.contains("u:p"), "{}", failure.message);
        }
    }

    #[test]
    fn a_key_never_shows() {
        let key = key(None, &[(KEY_VARIABLE.to_owned(), "canary".to_owned())]).unwrap();
        assert!(!format!("{key:?}").contains("canary"));
    }
}
