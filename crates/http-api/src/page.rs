//! Lists: one page at a time, by an opaque cursor.

use axum::Json;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use drover_domain::page::{Page, PageRequest};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use crate::code::Code;
use crate::problem::ApiError;
use crate::query::{Parameters, wrong};
use crate::role::without_prefix;

/// Which list, with which conditions.
type Scope = [u8; 8];

const VERSION: u8 = 1;

/// A place in one list: useless for any other, and for the same list under other conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    scope: Scope,
    position: i64,
}

impl Cursor {
    fn encode(self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.scope);
        bytes.extend(self.position.to_be_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes: [u8; 17] = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .ok()?
            .try_into()
            .ok()?;
        let [version, rest @ ..] = bytes;
        let (scope, position) = rest.split_first_chunk::<8>()?;
        let position = i64::from_be_bytes(position.try_into().ok()?);
        (version == VERSION).then_some(Self {
            scope: *scope,
            position,
        })
    }
}

/// How to ask for a page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters that `List` reads")]
pub(crate) struct PageParams {
    /// The most items of the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
    /// Where to go on: `next_cursor` of the page before, with the same other parameters.
    #[param(pattern = "^[A-Za-z0-9_-]{23}$", min_length = 23, max_length = 23)]
    cursor: Option<String>,
}

/// The conditions a list can be asked under.
pub(crate) trait Filter: Sized {
    fn read(parameters: &mut Parameters) -> Result<Self, ApiError>;
}

impl Filter for () {
    fn read(_: &mut Parameters) -> Result<Self, ApiError> {
        Ok(())
    }
}

/// A request for a page of a list under the conditions `F`.
#[derive(Debug)]
pub(crate) struct List<F> {
    pub(crate) filter: F,
    pub(crate) page: PageRequest,
    next: Next,
}

/// What the address of the next page is made of.
#[derive(Debug)]
struct Next {
    scope: Scope,
    path: String,
    parameters: Vec<(String, String)>,
}

impl<F: Filter> List<F> {
    fn read(uri: &Uri) -> Result<Self, ApiError> {
        let mut parameters = Parameters::read(uri)?;
        let next = Next::of(uri.path(), &parameters);
        let limit = match parameters.text("limit") {
            None => PageRequest::LIMIT_DEFAULT,
            Some(text) => {
                let limit =
                    crate::query::parse_id(&text).and_then(|limit| u16::try_from(limit).ok());
                limit
                    .filter(|limit| *limit <= PageRequest::LIMIT_MAX)
                    .ok_or_else(|| {
                        wrong(
                            "limit",
                            &format!("must be a whole number of 1 to {}", PageRequest::LIMIT_MAX),
                        )
                    })?
            }
        };
        let after = match parameters.text("cursor") {
            None => None,
            Some(text) => Some(next.position(&text)?),
        };
        let filter = F::read(&mut parameters)?;
        parameters.finish()?;
        Ok(Self {
            filter,
            page: PageRequest { after, limit },
            next,
        })
    }
}

impl<F> List<F> {
    /// The answer with this page.
    pub(crate) fn reply<D, T: From<D>>(&self, page: Page<D>) -> Listed<T> {
        let next = page.next;
        self.reply_until(page.items.into_iter().map(T::from).collect(), next)
    }

    /// The answer with these items, and where to go on.
    pub(crate) fn reply_until<T>(&self, items: Vec<T>, next: Option<i64>) -> Listed<T> {
        let next_cursor = next.map(|position| {
            Cursor {
                scope: self.next.scope,
                position,
            }
            .encode()
        });
        let link = next_cursor.as_deref().map(|cursor| self.next.link(cursor));
        Listed {
            page: ItemPage { items, next_cursor },
            link,
        }
    }
}

impl Next {
    fn of(path: &str, parameters: &Parameters) -> Self {
        let mut digest = Sha256::new();
        digest.update(without_prefix(path).unwrap_or(path));
        for (name, value) in parameters
            .pairs()
            .filter(|(name, _)| !matches!(*name, "limit" | "cursor"))
        {
            // Lengths keep `a=bc` and `ab=c` apart.
            for part in [name, value] {
                digest.update(part.len().to_be_bytes());
                digest.update(part);
            }
        }
        let mut scope = Scope::default();
        scope
            .iter_mut()
            .zip(digest.finalize())
            .for_each(|(to, from)| *to = from);
        let parameters = parameters
            .pairs()
            .filter(|(name, _)| *name != "cursor")
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            scope,
            path: path.to_owned(),
            parameters,
        }
    }

    fn position(&self, text: &str) -> Result<i64, ApiError> {
        let cursor = Cursor::decode(text).ok_or_else(|| {
            ApiError::new(
                Code::InvalidCursor,
                "the cursor is not one; take `next_cursor` of a page",
            )
        })?;
        if cursor.scope != self.scope {
            let detail = "the cursor belongs to another list or to other conditions; begin again without one";
            return Err(ApiError::new(Code::CursorMismatch, detail));
        }
        Ok(cursor.position)
    }

    fn link(&self, cursor: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .extend_pairs(&self.parameters)
            .append_pair("cursor", cursor);
        format!("<{}?{}>; rel=\"next\"", self.path, query.finish())
    }
}

impl<F: Filter + Send, S: Send + Sync> FromRequestParts<S> for List<F> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, state)
            .await
            .unwrap_or_else(|never| match never {});
        Self::read(&uri)
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemPage<T> {
    /// The items, at most as many as asked for.
    #[schema(max_items = 200)]
    pub(crate) items: Vec<T>,
    /// Where the next page begins; null at the end of the list.
    pub(crate) next_cursor: Option<String>,
}

/// A page on its way out.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    page: ItemPage<T>,
    link: Option<String>,
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.page).into_response();
        if let Some(link) = self.link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Named;

    impl Filter for Named {
        fn read(parameters: &mut Parameters) -> Result<Self, ApiError> {
            parameters.line("name", 255).map(|_| Self)
        }
    }

    fn list(address: &str) -> Result<List<Named>, ApiError> {
        List::read(&address.parse().unwrap())
    }

    fn cursor_of(address: &str, position: i64) -> String {
        list(address)
            .unwrap()
            .reply_until::<()>(Vec::new(), Some(position))
            .page
            .next_cursor
            .unwrap()
    }

    #[test]
    fn a_cursor_comes_back_to_its_place() {
        for position in [0, 1, i64::MAX, i64::MIN] {
            let cursor = cursor_of("/api/v1/servers?name=a", position);
            assert_eq!(cursor.len(), 23);
            let next = list(&format!("/api/servers?cursor={cursor}&limit=7&name=a")).unwrap();
            assert_eq!(
                next.page,
                PageRequest {
                    after: Some(position),
                    limit: 7
                }
            );
        }
    }

    #[test]
    fn a_cursor_is_of_one_list_and_one_filter() {
        let cursor = cursor_of("/api/v1/servers?name=a", 7);
        for other in [
            "/api/v1/servers?name=b",
            "/api/v1/servers?x=",
            "/api/v1/rollouts?name=a",
        ] {
            let address = format!("{other}&cursor={cursor}");
            assert_eq!(
                list(&address).unwrap_err().code(),
                Code::CursorMismatch,
                "{address}"
            );
        }
    }

    #[test]
    fn nonsense_is_no_cursor() {
        for text in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAA", &"A".repeat(400), "%00"] {
            let refusal = list(&format!("/api/v1/servers?cursor={text}")).unwrap_err();
            assert_eq!(refusal.code(), Code::InvalidCursor, "{text}");
        }
    }

    #[test]
    fn a_limit_is_1_to_200() {
        assert_eq!(list("/x").unwrap().page, PageRequest::first());
        assert_eq!(list("/x?limit=200").unwrap().page.limit, 200);
        for text in ["", "0", "201", "-1", "1.5", "many", "99999"] {
            assert_eq!(
                list(&format!("/x?limit={text}")).unwrap_err().code(),
                Code::InvalidQuery,
                "{text}"
            );
        }
    }

    #[test]
    fn the_link_keeps_the_conditions() {
        let listed = list("/api/servers?limit=2&name=a%20%26")
            .unwrap()
            .reply_until(vec![1, 2], Some(2));
        let cursor = listed.page.next_cursor.unwrap();
        let expected = format!("</api/servers?limit=2&name=a+%26&cursor={cursor}>; rel=\"next\"");
        assert_eq!(listed.link, Some(expected));
    }
}
