//! Entity tags: whether a resource is still as the caller read it. RFC 9110, 8.8.3 and 13.1.
//!
//! A tag has two parts: a digest of the members that people may change, and after a dot a digest of all members. `If-None-Match`
//! compares both, so that a cached status is never stale; `If-Match` the first, so that a poll does not refuse a change.
//!
//! Proxies that compress must weaken a tag (`W/`), and some write the encoding into it (`-gzip`). Both are taken as the tag
//! they were made of: the parts are digests, so that a weak tag of ours still names one state.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;

use crate::code::Code;
use crate::problem::ApiError;

/// The most characters of a list of tags.
const TAGS_MAX: usize = 1_024;

/// The tag of what these parts say, of what people may change.
pub(crate) fn tag<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        // Lengths keep `a, bc` and `ab, c` apart.
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    let short = digest.get(..12).unwrap_or(&digest);
    format!("\"{}\"", BASE64URL_NOPAD.encode(short))
}

/// The tags that a request names: `*`, or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Tags {
    fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, ApiError> {
        let mut tags = Vec::new();
        let mut is_there = false;
        for value in headers.get_all(name) {
            is_there = true;
            let text = value.to_str().ok().filter(|text| text.len() <= TAGS_MAX);
            let text = text.ok_or_else(|| wrong(name))?;
            if text.trim() == "*" {
                return Ok(Some(Self::Any));
            }
            let found = list(text).ok_or_else(|| wrong(name))?;
            tags.extend(found.into_iter().map(own));
        }
        if is_there && tags.is_empty() {
            return Err(wrong(name));
        }
        Ok(is_there.then_some(Self::These(tags)))
    }

    /// Whether they name what is shown.
    fn name(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|given| given == tag),
        }
    }

    /// Whether they name what people may change of it.
    fn name_part(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|given| match given.split_once('.') {
                Some((part, _)) => tag.strip_suffix('"') == Some(part),
                None => given == tag,
            }),
        }
    }
}

/// The tags of a list, without `W/`. Between commas there may be nothing, and within quotes there may be commas.
fn list(text: &str) -> Option<Vec<&str>> {
    let mut tags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(tags);
        }
        let tag = rest.strip_prefix("W/").unwrap_or(rest);
        let inside = tag.strip_prefix('"')?;
        let end = inside.find('"')? + 2;
        tags.push(tag.get(..end)?);
        rest = tag.get(end..)?.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}

/// The tag as this service gave it out: Apache and others append the encoding they used.
fn own(tag: &str) -> String {
    let inside = tag.trim_matches('"');
    let bare = ["-gzip", "--gzip", ";gzip", "-br", "-zstd", "-deflate"]
        .iter()
        .find_map(|encoding| inside.strip_suffix(encoding))
        .unwrap_or(inside);
    format!("\"{}\"", bare.trim_end_matches('-'))
}

/// The tag of what people may change and of all that is shown.
fn whole_tag(part: &str, shown: &[u8]) -> String {
    let digest = Sha256::digest(shown);
    let short = digest.get(..6).unwrap_or(&digest);
    let part = part.strip_suffix('"').unwrap_or(part);
    format!("{part}.{}\"", BASE64URL_NOPAD.encode(short))
}

fn wrong(name: &HeaderName) -> ApiError {
    let detail =
        format!("the header {name} must be `*` or entity tags in quotes, as `ETag` has them");
    ApiError::new(Code::InvalidHeader, detail)
}

/// The header `If-Match`, if there is one.
#[derive(Debug)]
pub(crate) struct IfMatch(Option<Tags>);

impl IfMatch {
    /// Whether the caller names a state.
    pub(crate) const fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Refuses what is not as the caller saw it.
    pub(crate) fn check(&self, tag: &str) -> Result<(), ApiError> {
        match &self.0 {
            Some(tags) if !tags.name_part(tag) => Err(changed()),
            Some(_) | None => Ok(()),
        }
    }
}

/// How often a change is tried again because others changed the same thing meanwhile.
pub(crate) const TRIES: usize = 10;

/// Others changed it each time in between.
pub(crate) fn contended() -> ApiError {
    let detail =
        "others change it at the same moment again and again; nothing was changed, try again";
    ApiError::new(Code::Overloaded, detail)
}

/// The resource was changed since the caller read it.
fn changed() -> ApiError {
    let detail = "it was changed since it had this ETag; read it again and repeat the change";
    ApiError::new(Code::PreconditionFailed, detail)
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Tags::read(&parts.headers, &header::IF_MATCH).map(Self)
    }
}

/// The header `If-None-Match`, if there is one.
#[derive(Debug, Default)]
pub(crate) struct IfNoneMatch(Option<Tags>);

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Tags::read(&parts.headers, &header::IF_NONE_MATCH).map(Self)
    }
}

/// An answer with its tag; without a body where the caller has it already.
#[derive(Debug)]
pub(crate) struct Tagged<T> {
    pub(crate) tag: String,
    pub(crate) body: T,
    pub(crate) known: IfNoneMatch,
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = whole_tag(
            &self.tag,
            &serde_json::to_vec(&self.body).unwrap_or_default(),
        );
        let mut response = if self.known.0.is_some_and(|tags| tags.name(&tag)) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            Json(self.body).into_response()
        };
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// Only if it is still as it was seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header that `IfMatch` reads")]
pub(crate) struct IfMatchParams {
    /// The `ETag` of the resource as the caller read it. If it was changed since, the answer is 412. Results of polling do not count, except for a group or a catalog entry that a poll filled in.
    #[param(
        rename = "If-Match",
        pattern = r#"^(?:\*|(?:W/)?"[^"]*"(?:[ \t]*,[ \t]*(?:W/)?"[^"]*")*)$"#
    )]
    if_match: Option<String>,
}

/// Only if it is not as it was seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header that `IfNoneMatch` reads")]
pub(crate) struct IfNoneMatchParams {
    /// Only if it has another `ETag`; else 304 without a body.
    #[param(
        rename = "If-None-Match",
        pattern = r#"^(?:\*|(?:W/)?"[^"]*"(?:[ \t]*,[ \t]*(?:W/)?"[^"]*")*)$"#
    )]
    if_none_match: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(values: &[&str]) -> Result<Option<Tags>, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        Tags::read(&headers, &header::IF_MATCH)
    }

    #[test]
    fn parts_make_a_tag() {
        assert_eq!(tag(["a", "bc"]), tag(["a", "bc"]));
        assert_ne!(tag(["a", "bc"]), tag(["ab", "c"]));
        assert_eq!(tag([]).len(), 18);
    }

    #[test]
    fn what_is_shown_is_another_part_than_what_people_change() {
        let (one, other) = (tag(["one"]), tag(["other"]));
        let seen = whole_tag(&one, b"online");
        assert_eq!(seen.len(), 27);
        let given = tags(&[&seen]).unwrap().unwrap();
        assert!(given.name(&seen) && given.name_part(&one));
        assert!(!given.name(&whole_tag(&one, b"offline")) && !given.name_part(&other));
        // Behind a proxy that compresses.
        for seen in [
            format!("W/{seen}"),
            seen.replacen('"', "", 1)
                .replace('"', "-gzip\"")
                .replacen("", "\"", 1),
        ] {
            let given = tags(&[&seen]).unwrap().unwrap();
            assert!(given.name_part(&one), "{seen}");
            assert!(!given.name_part(&other), "{seen}");
        }
    }

    #[test]
    fn lists_of_tags_are_read() {
        assert_eq!(tags(&[]).unwrap(), None);
        assert_eq!(tags(&["*"]).unwrap(), Some(Tags::Any));
        let found = tags(&["\"a\", W/\"b\"", "\"c\""]).unwrap().unwrap();
        assert!(found.name_part("\"a\"") && found.name_part("\"c\""));
        assert!(found.name_part("\"b\"") && found.name("\"b\""));
        let found = tags(&["W/\"a\",\t\"x,y\" ,, \"c-gzip\","])
            .unwrap()
            .unwrap();
        for tag in ["\"a\"", "\"x,y\"", "\"c\""] {
            assert!(found.name_part(tag) && found.name(tag), "{tag}");
        }
        for wrong in [
            "",
            ",",
            "a",
            "\"",
            "W/",
            "W/a",
            "\"a\" \"b\"",
            "\"a\"x",
            "w/\"a\"",
            "*, \"a\"",
        ] {
            assert!(tags(&[wrong]).is_err(), "{wrong}");
        }
    }
}
