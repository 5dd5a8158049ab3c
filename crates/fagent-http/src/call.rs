//! One question to one agent, with a deadline and a bound.

use std::net::IpAddr;
use std::time::Duration;

use drover_domain::fleet::check_agent_address;
use drover_domain::text::visible;
use drover_egress::{BodyError, is_local, read_capped};
use drover_ports::{AgentAddress, AgentError};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

use crate::wire::refusal::words;

/// The largest answer that is read, bytes.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most characters of an agent's own words in an error.
const WORDS_MAX: usize = 500;

/// The longest name in a path, characters.
const SEGMENT_MAX: usize = 255;

/// A question in the making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    pub(crate) authorizations: &'a [HeaderValue],
    pub(crate) agent: &'a AgentAddress,
    pub(crate) deadline: Duration,
}

impl Call<'_> {
    /// Checks that the agent answers. Only the status counts: the body is not read.
    pub(crate) async fn ping(&self) -> Result<(), AgentError> {
        self.within(async {
            let response = self.send("/ping").await?;
            if response.status() == StatusCode::OK {
                return Ok(());
            }
            self.body(response).await.map(|_| ())
        })
        .await
    }

    /// The body of the answer to `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, AgentError> {
        self.get_first(&[path]).await.map(|(body, _)| body)
    }

    /// The body of the answer to `POST path` with this document.
    pub(crate) async fn post<T: Serialize + Sync>(
        &self,
        path: &str,
        document: &T,
    ) -> Result<Vec<u8>, AgentError> {
        self.within(async {
            let request = |url| self.client.post(url).json(document);
            self.body(self.send_as(path, request).await?).await
        })
        .await
    }

    /// The body of the answer to the first of `paths` that is not answered 404, all within one
    /// deadline, and the address that answered.
    pub(crate) async fn get_first(
        &self,
        paths: &[&str],
    ) -> Result<(Vec<u8>, Option<IpAddr>), AgentError> {
        self.within(async {
            let mut answer = Err(self.unreadable("nothing was asked"));
            for path in paths {
                let response = self.send(path).await?;
                let from = response.remote_addr().map(|address| address.ip());
                answer = self.body(response).await.map(|body| (body, from));
                if !matches!(answer, Err(AgentError::Refused { status: 404, .. })) {
                    break;
                }
            }
            answer
        })
        .await
    }

    /// `name` if it can stand in a path as it is: agents do not decode paths, so nothing may need
    /// encoding, and nothing may change what the path means.
    pub(crate) fn segment<'n>(&self, what: &str, name: &'n str) -> Result<&'n str, AgentError> {
        if is_segment(name) {
            return Ok(name);
        }
        let shown = visible(name, 64);
        Err(self.unreadable(&format!(
            "the {what} name `{shown}` cannot stand in a path, so nothing was asked; \
             allowed: 1 to {SEGMENT_MAX} letters, digits and _ . : -"
        )))
    }

    pub(crate) fn refused(&self, status: u16, message: &str) -> AgentError {
        AgentError::Refused {
            address: self.agent.clone(),
            status,
            message: visible(message, WORDS_MAX),
        }
    }

    pub(crate) fn unreadable(&self, reason: &str) -> AgentError {
        AgentError::Unreadable {
            address: self.agent.clone(),
            reason: reason.to_owned(),
        }
    }

    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, AgentError>>,
    ) -> Result<T, AgentError> {
        timeout(self.deadline, answer)
            .await
            .unwrap_or_else(|_| Err(self.silent()))
    }

    fn silent(&self) -> AgentError {
        let after_ms = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
        AgentError::Silent {
            address: self.agent.clone(),
            after_ms,
        }
    }

    async fn send(&self, path: &str) -> Result<Response, AgentError> {
        self.send_as(path, |url| self.client.get(url)).await
    }

    async fn send_as(
        &self,
        path: &str,
        request: impl Fn(String) -> RequestBuilder + Send + Sync,
    ) -> Result<Response, AgentError> {
        let mut tokens = self.authorizations.iter();
        let mut response = self.send_with(path, &request, tokens.next()).await?;
        // An agent that answers 401 has done nothing.
        while response.status() == StatusCode::UNAUTHORIZED
            && let Some(former) = tokens.next()
        {
            response = self.send_with(path, &request, Some(former)).await?;
        }
        Ok(response)
    }

    async fn send_with(
        &self,
        path: &str,
        request: &(impl Fn(String) -> RequestBuilder + Sync),
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, AgentError> {
        let address = || self.agent.clone();
        if let Err(refusal) = check_agent_address(&self.agent.host) {
            return Err(AgentError::Unreachable {
                address: address(),
                source: refusal.into(),
            });
        }
        if self.agent.port == 0 {
            let source = "this is not an IP address or a host name with a port".into();
            return Err(AgentError::Unreachable {
                address: address(),
                source,
            });
        }
        let mut request = request(format!("http://{}{path}", self.agent));
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|error| {
            if is_local(&error) {
                AgentError::NotAsked {
                    address: address(),
                    source: error.without_url().into(),
                }
            } else if error.is_timeout() && !error.is_connect() {
                self.silent()
            } else {
                AgentError::Unreachable {
                    address: address(),
                    source: error.without_url().into(),
                }
            }
        })
    }

    /// The body of a 200; everything else is an error in the agent's words.
    async fn body(&self, response: Response) -> Result<Vec<u8>, AgentError> {
        let status = response.status();
        let body = read_capped(response, BODY_BYTES_MAX).await;
        if let Err(BodyError::Late { .. }) = body {
            return Err(self.silent());
        }
        if status == StatusCode::OK {
            return body.map_err(|error| self.unreadable(&error.to_string()));
        }
        if status.is_client_error() || status.is_server_error() {
            // An error without readable words is an error all the same.
            let told = body.ok().and_then(|body| words(&body));
            let message = told
                .as_deref()
                .or(status.canonical_reason())
                .unwrap_or("it does not say why");
            return Err(self.refused(status.as_u16(), message));
        }
        let reason = if status.is_redirection() {
            format!(
                "it redirects (status {}), which is not followed",
                status.as_u16()
            )
        } else {
            format!("its status is {} instead of 200", status.as_u16())
        };
        Err(self.unreadable(&reason))
    }
}

/// Whether `name` is one segment of a path and needs no encoding.
pub(crate) fn is_segment(name: &str) -> bool {
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    is_plain && !name.is_empty() && name.len() <= SEGMENT_MAX && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_segment_is_a_segment() {
        assert!(is_segment("be_jurws-1.x:y") && is_segment("-x") && is_segment(&"a".repeat(255)));
        for name in ["", ".", "..", "a/b", "a b", "a%20b", "é", &"a".repeat(256)] {
            assert!(!is_segment(name), "{name}");
        }
    }
}
