//! What a task gets of its peer's answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use drover_domain::workflow::Json;
use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_LOCATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, LINK, LOCATION,
    RETRY_AFTER,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The headers that are kept. None of them is a secret by its nature.
const KEPT: [HeaderName; 8] = [
    CONTENT_LOCATION,
    CONTENT_TYPE,
    ETAG,
    LAST_MODIFIED,
    LINK,
    LOCATION,
    RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
];

/// The longest header that is kept, bytes; longer ones are left out.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// The largest body that is kept, bytes.
pub(crate) const BODY_BYTES_MAX: usize = Json::BYTES_MAX;

/// The result of a task; `docs/reference/kinds.md` promises its shape.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    status: u16,
    headers: BTreeMap<&'a str, Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<Cow<'a, str>>,
    /// Whether bytes of the text were replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    body_lossy: bool,
}

/// The result as a document: status, the headers that are kept, and the body as JSON if it says it is
/// and is, else as text. `None` when it is too large for a result.
pub(crate) fn result(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Json> {
    let json = if is_json(headers) { json(body) } else { None };
    let text = json.is_none().then(|| String::from_utf8_lossy(body));
    let answer = Answer {
        status: status.as_u16(),
        headers: kept(headers),
        body: json,
        // Text that had to be changed is a text of its own.
        body_lossy: matches!(text, Some(Cow::Owned(_))),
        body_text: text,
    };
    let text = serde_json::to_string(&answer).ok()?;
    Json::from_parsed("the result", text).ok()
}

/// The headers that are kept, by their names in lower case; several of one name become one.
fn kept(headers: &HeaderMap) -> BTreeMap<&str, Cow<'_, str>> {
    let mut kept: BTreeMap<&str, Cow<'_, str>> = BTreeMap::new();
    for (name, value) in headers {
        if !KEPT.contains(name) || value.len() > HEADER_BYTES_MAX {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        kept.entry(name.as_str())
            .and_modify(|values| {
                let values = values.to_mut();
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert(value);
    }
    kept
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default();
    ["application/json", "text/json"].contains(&media_type.as_str())
        || media_type.ends_with("+json")
}

/// The body as it was written, if everybody can read it: no deeper than 128 levels, no number out of
/// range.
fn json(body: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice::<Value>(body).ok()?;
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    /// The result's part about this body.
    fn of_body(media_type: &'static str, body: &[u8]) -> String {
        let headers = headers(&[("Content-Type", media_type.as_bytes())]);
        let result = result(StatusCode::OK, &headers, body).unwrap();
        let head = format!(r#"{{"status":200,"headers":{{"content-type":"{media_type}"}},"#);
        let rest = result.as_str().strip_prefix(&head).unwrap();
        rest.strip_suffix('}').unwrap().to_owned()
    }

    #[test]
    fn json_is_kept_as_it_was_written() {
        for media_type in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "text/json",
        ] {
            assert_eq!(
                of_body(media_type, b" {\"n\": 12345678901234567890123} \n"),
                r#""body":{"n": 12345678901234567890123}"#
            );
        }
        assert_eq!(of_body("application/json", b"null"), r#""body":null"#);
    }

    #[test]
    fn what_is_not_json_is_text() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let deep_text = format!(r#""body_text":"{deep}""#);
        for (media_type, body, expected) in [
            ("text/plain", "{}".as_bytes(), r#""body_text":"{}""#),
            ("application/json", b"", r#""body_text":"""#),
            ("application/json", b"{", r#""body_text":"{""#),
            ("application/json", b"1e999", r#""body_text":"1e999""#),
            (
                "application/json",
                b"\xef\xbb\xbf1",
                "\"body_text\":\"\u{feff}1\"",
            ),
            ("application/json", deep.as_bytes(), &deep_text),
            ("text/html", "grün".as_bytes(), r#""body_text":"grün""#),
            (
                "text/html",
                b"gr\xfcn\0",
                "\"body_text\":\"gr\u{fffd}n\\u0000\",\"body_lossy\":true",
            ),
        ] {
            assert_eq!(of_body(media_type, body), expected);
        }
    }

    #[test]
    fn only_harmless_headers_are_kept() {
        let long = "x".repeat(HEADER_BYTES_MAX + 1);
        let headers = headers(&[
            ("Set-Cookie", b"s3cret"),
            ("WWW-Authenticate", b"s3cret"),
            ("Server", b"nginx"),
            ("ETag", b"W/1"),
            ("Link", b"<a>"),
            ("Link", b"<b>"),
            ("Location", b"/\xff"),
            ("X-Request-Id", long.as_bytes()),
        ]);
        let result = result(StatusCode::CREATED, &headers, b"").unwrap();
        assert_eq!(
            result.as_str(),
            "{\"status\":201,\"headers\":{\"etag\":\"W/1\",\"link\":\"<a>, <b>\",\
             \"location\":\"/\u{fffd}\"},\"body_text\":\"\"}"
        );
    }

    #[test]
    fn a_body_that_grows_beyond_the_bound_is_no_result() {
        let body = vec![0; BODY_BYTES_MAX / 2];
        assert_eq!(result(StatusCode::OK, &HeaderMap::new(), &body), None);
    }
}
