//! API keys: their text, and who stands behind one.

use std::fmt;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use drover_domain::access::{Actor, KeyDigest, Role};
use drover_usecases::Presented;
use sha2::{Digest, Sha256};

use crate::code::Code;
use crate::guard::too_long;
use crate::problem::ApiError;
use crate::role;
use crate::state::Api;

/// The other header that may bring a key.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The text of an API key, parsed: `drv_<16 hexadecimal digits>_<43 base64url characters>`.
///
/// Only the digest of its secret half is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyText {
    public_id: String,
    digest: KeyDigest,
}

/// A text that is no API key. The text is not repeated: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKeyTextError;

impl fmt::Display for ApiKeyTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the API key has not the form drv_<16 hexadecimal digits>_<43 characters>")
    }
}

impl std::error::Error for ApiKeyTextError {}

/// The machine gives no random numbers.
#[derive(Debug)]
pub struct NoRandomness(getrandom::Error);

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine gives no random numbers")
    }
}

impl std::error::Error for NoRandomness {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl ApiKeyText {
    const PUBLIC_LENGTH: usize = 16;
    const SECRET_LENGTH: usize = 43;

    /// The key for a public half and the 256 bits of a secret, and its text, which is shown once.
    #[must_use]
    pub fn compose(public: [u8; 8], secret: [u8; 32]) -> (Self, String) {
        let public_id = data_encoding::HEXLOWER.encode(&public);
        let secret = BASE64URL_NOPAD.encode(&secret);
        let text = format!("drv_{public_id}_{secret}");
        (
            Self {
                public_id,
                digest: digest_of(&secret),
            },
            text,
        )
    }

    /// A fresh key and its text, which is shown once.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] when the machine gives no random numbers.
    pub fn draw() -> Result<(Self, String), NoRandomness> {
        let (mut public, mut secret) = ([0; 8], [0; 32]);
        getrandom::fill(&mut public)
            .and_then(|()| getrandom::fill(&mut secret))
            .map_err(NoRandomness)?;
        Ok(Self::compose(public, secret))
    }

    /// Reads the text of a key.
    ///
    /// # Errors
    ///
    /// [`ApiKeyTextError`] when it has not the form of one.
    pub fn parse(text: &str) -> Result<Self, ApiKeyTextError> {
        let (public_id, secret) = text
            .strip_prefix("drv_")
            .and_then(|rest| rest.split_once('_'))
            .ok_or(ApiKeyTextError)?;
        let is_public = public_id.len() == Self::PUBLIC_LENGTH
            && public_id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_secret = secret.len() == Self::SECRET_LENGTH
            && secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if !is_public || !is_secret {
            return Err(ApiKeyTextError);
        }
        Ok(Self {
            public_id: public_id.to_owned(),
            digest: digest_of(secret),
        })
    }

    /// The public half: 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn public_id(&self) -> &str {
        &self.public_id
    }

    /// The SHA-256 of the secret half's text.
    #[must_use]
    pub const fn digest(&self) -> KeyDigest {
        self.digest
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyText({}…)", self.public_id)
    }
}

fn digest_of(secret: &str) -> KeyDigest {
    KeyDigest::from_bytes(Sha256::digest(secret.as_bytes()).into())
}

/// Marks an answer to a caller with a valid key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Authenticated;

/// The API key behind a request, by its public half: whose shares it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let principal = parts.extensions.get::<Self>().cloned();
        principal.ok_or_else(|| ApiError::defect("a request has no principal"))
    }
}

const MISSING: &str = r#"Bearer realm="drover""#;
const INVALID: &str = r#"Bearer realm="drover", error="invalid_token""#;

/// Lets a request through if its key has the role its route needs. The body is not read before.
pub(crate) async fn authorize(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map(MatchedPath::as_str)
        .unwrap_or_default();
    let Some(needed) = role::needed(request.method(), path) else {
        return ApiError::defect("a route is missing in the table of roles").into_response();
    };
    match admit(&api, request.headers(), needed).await {
        Ok((principal, actor, key)) => {
            tracing::Span::current().record("actor", actor.name.as_str());
            request.extensions_mut().insert(actor);
            request.extensions_mut().insert(principal);
            request.extensions_mut().insert(key);
            let mut response = next.run(request).await;
            response.extensions_mut().insert(Authenticated);
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn admit(
    api: &Api,
    headers: &HeaderMap,
    needed: Role,
) -> Result<(Principal, Actor, ApiKeyText), ApiError> {
    let key = presented(headers)?;
    let Ok(_permit) = api.authentications.try_acquire() else {
        let detail = "too many requests at once; try again in a moment";
        return Err(ApiError::new(Code::Overloaded, detail));
    };
    let found = api
        .service
        .access
        .authenticate(key.public_id(), key.digest());
    let found = tokio::time::timeout(api.options.request_timeout, found)
        .await
        .map_err(|_| too_long())??;
    let actor = match found {
        Presented::By(actor) => actor,
        Presented::Expired { name, at } => {
            let detail = format!(
                "the API key `{name}` has expired at {at}; an administrator can issue another one"
            );
            return Err(ApiError::unauthenticated(INVALID, &detail));
        }
        Presented::Unknown => {
            return Err(ApiError::unauthenticated(
                INVALID,
                "the API key is not known, or its secret half is wrong",
            ));
        }
    };
    if actor.role < needed {
        let detail = format!(
            "this route needs the role {needed}; the API key `{}` has {}",
            actor.name, actor.role
        );
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    Ok((Principal(key.public_id().to_owned()), actor, key))
}

/// The key a request presents. With both headers, `Authorization` counts.
fn presented(headers: &HeaderMap) -> Result<ApiKeyText, ApiError> {
    let malformed = || {
        ApiError::unauthenticated(
            INVALID,
            "the header has not the form `Authorization: Bearer drv_…` or `X-Api-Key: drv_…`",
        )
    };
    let text = if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, key) = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(malformed());
        }
        key.trim()
    } else if let Some(value) = headers.get(API_KEY) {
        value.to_str().map_err(|_| malformed())?.trim()
    } else {
        let detail =
            "this route needs an API key; send `Authorization: Bearer drv_…` or `X-Api-Key: drv_…`";
        return Err(ApiError::unauthenticated(MISSING, detail));
    };
    ApiKeyText::parse(text).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_composed_key_is_read_back() {
        let (key, text) = ApiKeyText::compose([0xab; 8], [7; 32]);
        assert_eq!(text.len(), 4 + 16 + 1 + 43);
        assert_eq!(ApiKeyText::parse(&text), Ok(key.clone()));
        assert_eq!(key.public_id(), "abababababababab");
        assert_eq!(format!("{key:?}"), "ApiKeyText(abababababababab…)");
    }

    #[test]
    fn another_secret_has_another_digest() {
        let (one, _) = ApiKeyText::compose([1; 8], [1; 32]);
        let (other, _) = ApiKeyText::compose([1; 8], [2; 32]);
        assert!(!one.digest().matches(&other.digest()));
    }

    #[test]
    fn other_texts_are_no_keys() {
        let (_, text) = ApiKeyText::compose([1; 8], [1; 32]);
        for wrong in [
            String::new(),
            "drv_".to_owned(),
            text.replace("drv_", "drw_"),
            text.replace("0101", "01AB"),
            text.replace("0101", "01"),
            format!("{text}A"),
            format!("{text}="),
            text.chars().take(60).collect(),
        ] {
            assert_eq!(ApiKeyText::parse(&wrong), Err(ApiKeyTextError), "{wrong}");
        }
    }

    #[test]
    fn both_headers_bring_a_key() {
        let (key, text) = ApiKeyText::compose([1; 8], [1; 32]);
        for (name, value) in [
            ("authorization", format!("Bearer {text}")),
            ("authorization", format!("bearer {text}")),
            ("x-api-key", text.clone()),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(&value).unwrap());
            assert_eq!(presented(&headers).unwrap(), key, "{name}: {value}");
        }
        for value in ["Basic YTpi", "Bearer", "Bearer drv_x", &text] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            assert_eq!(
                presented(&headers).unwrap_err().code(),
                Code::Unauthenticated,
                "{value}"
            );
        }
    }
}
