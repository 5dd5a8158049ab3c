//! What the author of a workflow writes for a task of the kind `http.request`.

use drover_domain::text::is_hidden;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::value::RawValue;
use url::Url;

use crate::headers::{self, IDEMPOTENCY_KEY};
use crate::members::{Members, below};

/// The longest URL, bytes.
const URL_BYTES_MAX: usize = 8 * 1024;

/// The most statuses that may be expected.
const STATUSES_MAX: usize = 32;

/// The methods, by their words.
const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// A payload that is not one of `http.request`. Neither text ever shows a value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct PayloadError {
    /// Where: a JSON pointer into the payload; empty for the payload as a whole.
    pub pointer: String,
    /// What is wrong and what is allowed, without a subject: "must be a text".
    pub detail: String,
}

impl PayloadError {
    pub(crate) fn new(pointer: &str, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            detail: detail.into(),
        }
    }
}

/// Checks a payload as far as it can be checked without calling anybody. Whether the address may be
/// called is up to the policy, when the task is executed.
///
/// # Errors
///
/// [`PayloadError`], naming the first thing that is wrong.
pub fn check(payload: &str) -> Result<(), PayloadError> {
    Payload::read(payload).map(drop)
}

/// A request as its author wants it.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// With a content type, if there is a body.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<String>,
    pub(crate) expected: Expected,
    pub(crate) idempotency_header: bool,
}

/// Which statuses are a success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Every 2xx.
    Success,
    /// These.
    OneOf(Vec<u16>),
}

impl Expected {
    pub(crate) fn includes(&self, status: StatusCode) -> bool {
        match self {
            Self::Success => status.is_success(),
            Self::OneOf(statuses) => statuses.contains(&status.as_u16()),
        }
    }
}

impl Payload {
    pub(crate) fn read(text: &str) -> Result<Self, PayloadError> {
        let fields = Fields::read(text)?;
        let method = method(fields.required("method")?)?;
        let url = url(fields.required("url")?)?;
        let mut headers = match fields.get("headers") {
            Some(raw) => headers::read("/headers", raw)?,
            None => HeaderMap::new(),
        };
        let expected = match fields.get("expect_status") {
            Some(raw) => expected(raw)?,
            None => Expected::Success,
        };
        let idempotency_header = match fields.get("idempotency_header") {
            Some(raw) => parse(raw, "/idempotency_header", "must be true or false")?,
            None => true,
        };
        if idempotency_header && headers.contains_key(IDEMPOTENCY_KEY) {
            let detail =
                "has an `idempotency-key` of its own; set `idempotency_header` to false to send it";
            return Err(PayloadError::new("/headers", detail));
        }
        let body = fields.body(&method)?;
        if let Some((_, media_type)) = body {
            headers
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static(media_type));
        }
        Ok(Self {
            method,
            url,
            headers,
            body: body.map(|(text, _)| text),
            expected,
            idempotency_header,
        })
    }
}

/// The fields of a payload; each is known and stands there once.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    const KNOWN: [&'static str; 7] = [
        "method",
        "url",
        "headers",
        "body",
        "body_text",
        "expect_status",
        "idempotency_header",
    ];

    fn read(text: &'a str) -> Result<Self, PayloadError> {
        let Members(members) = serde_json::from_str(text).map_err(|error| {
            let detail = if error.is_data() {
                "must be an object".to_owned()
            } else {
                let (line, column) = (error.line(), error.column());
                format!("is not JSON: line {line}, column {column}")
            };
            PayloadError::new("", detail)
        })?;
        for (place, (name, _)) in members.iter().enumerate() {
            if !Self::KNOWN.contains(&name.as_str()) {
                let known = Self::KNOWN.join(", ");
                return Err(PayloadError::new(
                    &below("", name),
                    format!("is not a field; allowed: {known}"),
                ));
            }
            if members.iter().take(place).any(|(other, _)| other == name) {
                return Err(PayloadError::new(&below("", name), "is given twice"));
            }
        }
        Ok(Self(members))
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, raw)| *raw)
    }

    fn required(&self, name: &str) -> Result<&'a RawValue, PayloadError> {
        self.get(name)
            .ok_or_else(|| PayloadError::new(&below("", name), "is missing"))
    }

    /// The body with the media type it has unless its author says otherwise.
    fn body(&self, method: &Method) -> Result<Option<(String, &'static str)>, PayloadError> {
        let (name, body) = match (self.get("body"), self.get("body_text")) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let detail = "stands beside `body`; give one of them";
                return Err(PayloadError::new("/body_text", detail));
            }
            (Some(raw), None) => ("/body", (raw.get().to_owned(), "application/json")),
            (None, Some(raw)) => {
                let text = parse(raw, "/body_text", "must be a text")?;
                ("/body_text", (text, "text/plain; charset=utf-8"))
            }
        };
        if [Method::GET, Method::HEAD].contains(method) {
            let detail = format!("cannot be sent: a {method} has no body");
            return Err(PayloadError::new(name, detail));
        }
        Ok(Some(body))
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(
    raw: &'a RawValue,
    pointer: &str,
    detail: &str,
) -> Result<T, PayloadError> {
    // What serde would say may quote a secret.
    serde_json::from_str(raw.get()).map_err(|_| PayloadError::new(pointer, detail))
}

fn method(raw: &RawValue) -> Result<Method, PayloadError> {
    let detail = "must be GET, HEAD, POST, PUT, PATCH or DELETE";
    let word: String = parse(raw, "/method", detail)?;
    METHODS
        .into_iter()
        .find(|method| method.as_str() == word)
        .ok_or_else(|| PayloadError::new("/method", detail))
}

fn url(raw: &RawValue) -> Result<Url, PayloadError> {
    let wrong = |detail: String| PayloadError::new("/url", detail);
    let text: String = parse(raw, "/url", "must be a text")?;
    if text.len() > URL_BYTES_MAX {
        let bytes = text.len();
        return Err(wrong(format!(
            "has {bytes} bytes; at most {URL_BYTES_MAX} are allowed"
        )));
    }
    // The parser would leave these out or encode them without a word.
    if let Some((index, _)) = text
        .chars()
        .enumerate()
        .find(|(_, found)| found.is_whitespace() || is_hidden(*found))
    {
        let at = index + 1;
        return Err(wrong(format!(
            "has a blank or hidden character at place {at}; such are written with %"
        )));
    }
    let url =
        Url::parse(&text).map_err(|error| wrong(format!("is not an absolute URL: {error}")))?;
    if !["https", "http"].contains(&url.scheme()) {
        return Err(wrong("must begin with https:// or http://".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let detail = "has a user or a password in it; send them in a header";
        return Err(wrong(detail.to_owned()));
    }
    Ok(url)
}

fn expected(raw: &RawValue) -> Result<Expected, PayloadError> {
    let pointer = "/expect_status";
    let detail =
        format!("must be \"2xx\" or a list of 1 to {STATUSES_MAX} statuses from 200 to 599");
    if serde_json::from_str::<String>(raw.get()).is_ok_and(|word| word == "2xx") {
        return Ok(Expected::Success);
    }
    let statuses: Vec<u16> = parse(raw, pointer, &detail)?;
    if statuses.is_empty() || statuses.len() > STATUSES_MAX {
        return Err(PayloadError::new(pointer, detail));
    }
    for (index, status) in statuses.iter().enumerate() {
        if !(200..=599).contains(status) {
            let detail = format!("is {status}; a status is from 200 to 599");
            return Err(PayloadError::new(&format!("{pointer}/{index}"), detail));
        }
    }
    Ok(Expected::OneOf(statuses))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(fields: &str) -> Payload {
        Payload::read(&format!(r#"{{"url":"https://peer/a",{fields}}}"#)).unwrap()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let payload = read(r#""method":"GET""#);
        assert_eq!(payload.method, Method::GET);
        assert_eq!(payload.url.as_str(), "https://peer/a");
        assert!(payload.headers.is_empty() && payload.body.is_none());
        assert_eq!(payload.expected, Expected::Success);
        assert!(payload.idempotency_header);
    }

    #[test]
    fn a_body_is_sent_as_it_is_written() {
        for (fields, body, media_type) in [
            (
                r#""body":{"n": 12345678901234567890123, "a":[ ]}"#,
                r#"{"n": 12345678901234567890123, "a":[ ]}"#,
                "application/json",
            ),
            (r#""body":null"#, "null", "application/json"),
            (r#""body":"x""#, r#""x""#, "application/json"),
            (r#""body_text":"a\nb""#, "a\nb", "text/plain; charset=utf-8"),
            (r#""body_text":"""#, "", "text/plain; charset=utf-8"),
            (
                r#""body_text":"<a/>","headers":{"Content-Type":"text/xml"}"#,
                "<a/>",
                "text/xml",
            ),
        ] {
            let payload = read(&format!(r#""method":"POST",{fields}"#));
            assert_eq!(payload.body.as_deref(), Some(body), "{fields}");
            assert_eq!(payload.headers[CONTENT_TYPE], media_type, "{fields}");
        }
    }

    #[test]
    fn statuses_are_a_class_or_a_list() {
        let expected =
            |status: &str| read(&format!(r#""method":"GET","expect_status":{status}"#)).expected;
        assert_eq!(expected(r#""2xx""#), Expected::Success);
        assert_eq!(expected("[200,404]"), Expected::OneOf(vec![200, 404]));
        assert!(Expected::Success.includes(StatusCode::NO_CONTENT));
        assert!(!Expected::Success.includes(StatusCode::FOUND));
        assert!(!Expected::OneOf(vec![404]).includes(StatusCode::OK));
    }

    /// What is said about a payload with these fields: the place and the sentence.
    fn refusal(payload: &str) -> (String, String) {
        let refusal = check(payload).unwrap_err();
        (refusal.pointer, refusal.detail)
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let long = format!(
            r#"{{"method":"GET","url":"https://peer/{}"}}"#,
            "x".repeat(8_192)
        );
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for (payload, pointer, detail) in [
            ("", "", "is not JSON: line 1, column 0"),
            ("[]", "", "must be an object"),
            (deep.as_str(), "", "must be an object"),
            ("{}", "/method", "is missing"),
            (r#"{"method":"GET"}"#, "/url", "is missing"),
            (
                r#"{"method":"GET","url":"https://peer"}x"#,
                "",
                "is not JSON: line 1, column 38",
            ),
            (
                r#"{"method":"get","url":"https://peer"}"#,
                "/method",
                "must be GET, HEAD, POST, PUT, PATCH or DELETE",
            ),
            (
                r#"{"method":"CONNECT","url":"https://peer"}"#,
                "/method",
                "must be GET, HEAD, POST, PUT, PATCH or DELETE",
            ),
            (
                r#"{"method":"GET","url":"https://peer","a/b~":1}"#,
                "/a~1b~0",
                "is not a field; allowed: method, url, headers, body, body_text, expect_status, \
                 idempotency_header",
            ),
            (
                r#"{"method":"GET","method":"GET","url":"https://peer"}"#,
                "/method",
                "is given twice",
            ),
            (r#"{"method":"GET","url":7}"#, "/url", "must be a text"),
            (
                r#"{"method":"GET","url":"/a"}"#,
                "/url",
                "is not an absolute URL: relative URL without a base",
            ),
            (
                r#"{"method":"GET","url":"https://"}"#,
                "/url",
                "is not an absolute URL: empty host",
            ),
            (
                r#"{"method":"GET","url":"ftp://peer"}"#,
                "/url",
                "must begin with https:// or http://",
            ),
            (
                r#"{"method":"GET","url":"https://ann:pw@peer"}"#,
                "/url",
                "has a user or a password in it; send them in a header",
            ),
            (
                r#"{"method":"GET","url":"https://peer/a b"}"#,
                "/url",
                "has a blank or hidden character at place 15; such are written with %",
            ),
            (
                r#"{"method":"GET","url":"https://pe\ner/"}"#,
                "/url",
                "has a blank or hidden character at place 11; such are written with %",
            ),
            (
                long.as_str(),
                "/url",
                "has 8205 bytes; at most 8192 are allowed",
            ),
        ] {
            assert_eq!(refusal(payload), (pointer.to_owned(), detail.to_owned()));
        }
    }

    #[test]
    fn fields_that_do_not_fit_together_are_refused() {
        for (payload, pointer, detail) in [
            (
                r#"{"method":"GET","url":"https://peer","body":1}"#,
                "/body",
                "cannot be sent: a GET has no body",
            ),
            (
                r#"{"method":"HEAD","url":"https://peer","body_text":""}"#,
                "/body_text",
                "cannot be sent: a HEAD has no body",
            ),
            (
                r#"{"method":"PUT","url":"https://peer","body":1,"body_text":""}"#,
                "/body_text",
                "stands beside `body`; give one of them",
            ),
            (
                r#"{"method":"PUT","url":"https://peer","body_text":{}}"#,
                "/body_text",
                "must be a text",
            ),
            (
                r#"{"method":"GET","url":"https://peer","idempotency_header":"no"}"#,
                "/idempotency_header",
                "must be true or false",
            ),
        ] {
            assert_eq!(refusal(payload), (pointer.to_owned(), detail.to_owned()));
        }
    }

    #[test]
    fn statuses_that_are_none_are_refused() {
        let shape = "must be \"2xx\" or a list of 1 to 32 statuses from 200 to 599";
        let many = format!("[{}]", vec!["200"; 33].join(","));
        for (status, pointer, detail) in [
            ("200", "/expect_status", shape),
            ("\"3xx\"", "/expect_status", shape),
            ("[]", "/expect_status", shape),
            ("[200,\"x\"]", "/expect_status", shape),
            ("[70000]", "/expect_status", shape),
            (many.as_str(), "/expect_status", shape),
            (
                "[200,101]",
                "/expect_status/1",
                "is 101; a status is from 200 to 599",
            ),
        ] {
            let payload =
                format!(r#"{{"method":"GET","url":"https://peer","expect_status":{status}}}"#);
            assert_eq!(refusal(&payload), (pointer.to_owned(), detail.to_owned()));
        }
    }

    #[test]
    fn headers_that_are_not_the_authors_are_refused() {
        for name in [
            "Host",
            "Connection",
            "keep-alive",
            "Transfer-Encoding",
            "TE",
            "Trailer",
            "Upgrade",
            "Proxy-Authorization",
            "Proxy-Authenticate",
            "Proxy-Connection",
            "Content-Length",
            "Expect",
            "Accept-Encoding",
        ] {
            let headers = format!(r#"{{"{name}":"x"}}"#);
            let detail = "belongs to the connection and is set by Drover alone";
            let found = refusal(&with_headers(&headers));
            assert_eq!(found, (format!("/headers/{name}"), detail.to_owned()));
        }
        let many: Vec<String> = (0..65).map(|index| format!(r#""a{index}":"""#)).collect();
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(BYTES));
        for (headers, pointer, detail) in [
            (
                r#"{"X-Drover-Task":"x"}"#,
                "/headers/X-Drover-Task",
                "is set by Drover alone",
            ),
            (
                r#"{"Idempotency-Key":"x"}"#,
                "/headers",
                "has an `idempotency-key` of its own; set `idempotency_header` to false to send it",
            ),
            (
                r#"{"a b":"x"}"#,
                "/headers/a b",
                "is not the name of a header",
            ),
            (r#"{"":"x"}"#, "/headers/", "is not the name of a header"),
            (r#"{"A":"x","a":"y"}"#, "/headers/a", "is given twice"),
            (r#"{"a":7}"#, "/headers/a", "must be a text"),
            (
                r#"{"a":"x\r\nHost: y"}"#,
                "/headers/a",
                "must consist of printable ASCII characters and tabs",
            ),
            (
                r#"{"a":"ü"}"#,
                "/headers/a",
                "must consist of printable ASCII characters and tabs",
            ),
            (
                r#""s3cret""#,
                "/headers",
                "must be an object of names and texts",
            ),
            (
                &format!("{{{}}}", many.join(",")),
                "/headers",
                "has 65 headers; at most 64 are allowed",
            ),
            (
                &large,
                "/headers",
                "has 16385 bytes; at most 16384 are allowed",
            ),
        ] {
            let found = refusal(&with_headers(headers));
            assert_eq!(found, (pointer.to_owned(), detail.to_owned()));
        }
        let own = with_headers(r#"{"Idempotency-Key":"x"}"#)
            .replace("}}", r#"},"idempotency_header":false}"#);
        assert_eq!(check(&own), Ok(()));
    }

    const BYTES: usize = headers::BYTES_MAX;

    fn with_headers(headers: &str) -> String {
        format!(r#"{{"method":"GET","url":"https://peer","headers":{headers}}}"#)
    }

    #[test]
    fn a_secret_shows_neither_in_a_refusal_nor_in_debug_output() {
        let payload = r#"{"method":"GET","url":"https://peer/?key=s3cret","headers":{"Authorization":"s3cret"}}"#;
        let read = Payload::read(payload).unwrap();
        assert!(!format!("{:?}", read.headers).contains("s3cret"));
        for wrong in [
            payload.replace("\"GET\"", "\"s3cret\""),
            payload.replace("https:", "s3cret:"),
            payload.replace("\"s3cret\"}", "\"s3cret\\n\"}"),
            payload.replace("{\"Authorization\":\"s3cret\"}", "\"s3cret\""),
            payload.replace("\"headers\"", "\"expect_status\":\"s3cret\",\"headers\""),
            payload.replace("\"}}", "\""),
        ] {
            let refusal = format!("{:?}", check(&wrong).unwrap_err());
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_read(text: String) {
            let _answer = check(&text);
        }

        #[test]
        fn no_url_and_no_header_is_too_odd_to_be_read(
            url in "(https?:)?[/\\\\]{0,3}\\PC{0,40}",
            name in "\\PC{0,12}",
            value: String,
        ) {
            let text = serde_json::json!({"method": "PUT", "url": url, "headers": {name: value}});
            let _answer = check(&text.to_string());
        }

        #[test]
        fn no_cut_and_no_flip_is_too_odd_to_be_read(at in 0..140usize, byte: u8) {
            let whole = r#"{"method":"POST","url":"https://peer/a?b=c","headers":{"a":"b"},"body":[1,{"x":null}],"expect_status":[200],"idempotency_header":false}"#;
            let cut: String = whole.chars().take(at).collect();
            let _answer = check(&cut);
            let mut flipped = whole.as_bytes().to_vec();
            if let Some(place) = flipped.get_mut(at) {
                *place = byte;
            }
            let _answer = check(&String::from_utf8_lossy(&flipped));
        }
    }
}
