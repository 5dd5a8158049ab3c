//! Query parameters: each known, each once, nothing ignored.

use std::collections::BTreeMap;

use axum::http::Uri;
use drover_domain::page::{Sort, SortColumn};
use drover_domain::text::{check_line, visible};
use drover_domain::{Id, Timestamp};
use url::form_urlencoded;
use uuid::Uuid;

use crate::code::Code;
use crate::problem::ApiError;
use crate::wire::ID_MAX;

/// The unread query parameters of a request.
#[derive(Debug)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(crate) fn read(uri: &Uri) -> Result<Self, ApiError> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if parameters.contains_key(&*name) {
                return Err(wrong(&name, "is given more than once"));
            }
            parameters.insert(name.into_owned(), value.into_owned());
        }
        Ok(Self(parameters))
    }

    /// All of them, by name.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.0.remove(name)
    }

    /// A name of something in the fleet.
    pub(crate) fn line(
        &mut self,
        name: &'static str,
        most: usize,
    ) -> Result<Option<String>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        check_line("its value", &text, most)
            .map_err(|error| wrong(name, &format!("is wrong: {error}")))?;
        Ok(Some(text))
    }

    /// An id of the fleet.
    pub(crate) fn id(&mut self, name: &'static str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match parse_id(&text) {
            Some(id) => Ok(Some(id)),
            None => Err(wrong(
                name,
                &format!("must be a whole number of 1 to {ID_MAX}"),
            )),
        }
    }

    /// An order, with `-` before it for the greatest first.
    pub(crate) fn sort<C: SortColumn>(&mut self) -> Result<Sort<C>, ApiError> {
        let words = Sort::<C>::words().join(", ");
        Ok(self.word("sort", &words, Sort::parse)?.unwrap_or_default())
    }

    /// A moment, as RFC 3339 writes it.
    pub(crate) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match Timestamp::parse(&text) {
            Some(at) => Ok(Some(at)),
            None => Err(wrong(name, "must be a moment such as 2026-11-26T08:00:00Z")),
        }
    }

    /// A UUID.
    pub(crate) fn uuid(&mut self, name: &'static str) -> Result<Option<Uuid>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse::<Id<()>>() {
            Ok(id) => Ok(Some(id.as_uuid())),
            Err(_) => Err(wrong(name, "must be a UUID")),
        }
    }

    /// One of a few words.
    pub(crate) fn word<T>(
        &mut self,
        name: &'static str,
        words: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(wrong(name, &format!("must be one of {words}"))),
        }
    }

    /// Refuses what is left: a parameter that is ignored is a surprise later.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let detail = format!("this route has no query parameter `{}`", visible(name, 64));
                Err(ApiError::new(Code::UnknownQueryParameter, detail))
            }
        }
    }
}

/// A complaint about the parameter `name`.
pub(crate) fn wrong(name: &str, what: &str) -> ApiError {
    ApiError::new(
        Code::InvalidQuery,
        format!("the query parameter `{}` {what}", visible(name, 64)),
    )
}

/// Reads an id: 1 to [`ID_MAX`], in plain digits.
pub(crate) fn parse_id(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse()
        .ok()
        .filter(|id| plain && (1..=ID_MAX).contains(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Result<Parameters, ApiError> {
        Parameters::read(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn ids_are_plain_positive_numbers() {
        assert_eq!(parse_id("9007199254740991"), Some(ID_MAX));
        for text in [
            "",
            "0",
            "-1",
            "+1",
            "01",
            "1.0",
            "9007199254740992",
            "99999999999999999999",
            "x",
        ] {
            assert_eq!(parse_id(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_left_is_refused() {
        let mut read = parameters("a=1&b=2").unwrap();
        assert_eq!(read.id("a").unwrap(), Some(1));
        assert_eq!(
            read.finish().unwrap_err().code(),
            Code::UnknownQueryParameter
        );
    }

    #[test]
    fn twice_is_once_too_often() {
        assert_eq!(
            parameters("a=1&a=1").unwrap_err().code(),
            Code::InvalidQuery
        );
    }

    #[test]
    fn hidden_characters_never_reach_the_store() {
        for query in [
            "name=%00",
            "name=a%0ab",
            "name=",
            "name=%20",
            "name=%E2%80%AE",
        ] {
            assert_eq!(
                parameters(query)
                    .unwrap()
                    .line("name", 255)
                    .unwrap_err()
                    .code(),
                Code::InvalidQuery,
                "{query}"
            );
        }
        assert_eq!(
            parameters("name=%D1%84+x")
                .unwrap()
                .line("name", 255)
                .unwrap(),
            Some("ф x".to_owned())
        );
    }
}
