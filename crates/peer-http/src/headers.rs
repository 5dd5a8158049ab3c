//! The headers an author may send.

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::members::{Members, below};
use crate::payload::PayloadError;

/// The most headers of one request.
pub(crate) const COUNT_MAX: usize = 64;

/// The most bytes of all names and values together.
pub(crate) const BYTES_MAX: usize = 16 * 1024;

/// The key that stays the same over all attempts.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The task a request belongs to.
pub(crate) const TASK: HeaderName = HeaderName::from_static("x-drover-task");
/// The attempt a request belongs to.
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("x-drover-attempt");

/// Headers that belong to the connection or to the frame of the message, not to its author.
const OF_THE_CONNECTION: [HeaderName; 14] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Reads the headers of a payload, which stand at `pointer`. Their values are marked as secret.
pub(crate) fn read(pointer: &str, raw: &RawValue) -> Result<HeaderMap, PayloadError> {
    let Ok(Members(members)) = serde_json::from_str(raw.get()) else {
        return Err(PayloadError::new(
            pointer,
            "must be an object of names and texts",
        ));
    };
    if members.len() > COUNT_MAX {
        let count = members.len();
        return Err(PayloadError::new(
            pointer,
            format!("has {count} headers; at most {COUNT_MAX} are allowed"),
        ));
    }
    let mut headers = HeaderMap::with_capacity(members.len());
    let mut bytes = 0;
    for (written, raw) in members {
        let at = below(pointer, &written);
        let name = name(&written).map_err(|detail| PayloadError::new(&at, detail))?;
        let value = value(raw).map_err(|detail| PayloadError::new(&at, detail))?;
        bytes += name.as_str().len() + value.len();
        if headers.insert(name, value).is_some() {
            return Err(PayloadError::new(&at, "is given twice"));
        }
    }
    if bytes > BYTES_MAX {
        return Err(PayloadError::new(
            pointer,
            format!("has {bytes} bytes; at most {BYTES_MAX} are allowed"),
        ));
    }
    Ok(headers)
}

fn name(written: &str) -> Result<HeaderName, &'static str> {
    let name =
        HeaderName::from_bytes(written.as_bytes()).map_err(|_| "is not the name of a header")?;
    if OF_THE_CONNECTION.contains(&name) {
        return Err("belongs to the connection and is set by Drover alone");
    }
    if name.as_str().starts_with("x-drover-") {
        return Err("is set by Drover alone");
    }
    Ok(name)
}

fn value(raw: &RawValue) -> Result<HeaderValue, &'static str> {
    let text: String = serde_json::from_str(raw.get()).map_err(|_| "must be a text")?;
    // There is no common encoding of header bytes beyond ASCII.
    let wrong = "must consist of printable ASCII characters and tabs";
    if !text.is_ascii() {
        return Err(wrong);
    }
    let mut value = HeaderValue::from_str(&text).map_err(|_| wrong)?;
    value.set_sensitive(true);
    Ok(value)
}
