//! JSON that the domain carries without looking into it.

use std::fmt;
use std::sync::Arc;

/// A JSON document as text: a payload, a result, an input.
///
/// The domain cannot read JSON (decision 0006): the caller has parsed the text, and the domain
/// checks its size only. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

/// A JSON document that is too large; sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} has {bytes} bytes as JSON; at most {} are allowed",
    Json::BYTES_MAX
)]
pub struct JsonTooLarge {
    what: &'static str,
    bytes: usize,
}

impl Json {
    /// The most bytes one document may have: 256 KiB.
    pub const BYTES_MAX: usize = 256 * 1024;

    /// The document with this text, which the caller has parsed.
    ///
    /// # Errors
    ///
    /// [`JsonTooLarge`], naming `what` it is.
    pub fn from_parsed(
        what: &'static str,
        text: impl Into<Arc<str>>,
    ) -> Result<Self, JsonTooLarge> {
        let text = text.into();
        if text.len() > Self::BYTES_MAX {
            let bytes = text.len();
            return Err(JsonTooLarge { what, bytes });
        }
        Ok(Self(text))
    }

    /// The document `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Arc::from("null"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Json {
    fn default() -> Self {
        Self::null()
    }
}

/// Shows the size only: payloads may hold what does not belong into a log.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_a_largest_size_and_is_not_printed() {
        let largest = "0".repeat(Json::BYTES_MAX);
        assert!(Json::from_parsed("the payload", largest.as_str()).is_ok());
        let refusal = Json::from_parsed("the payload", format!("{largest}0")).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the payload has 262145 bytes as JSON; at most 262144 are allowed"
        );
        let secret = Json::from_parsed("the payload", "\"s3cret\"").unwrap();
        assert_eq!(format!("{secret:?}"), "Json(8 bytes)");
    }
}
