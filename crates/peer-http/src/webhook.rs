//! Messages to webhooks, after Standard Webhooks 1.0.0.

use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use drover_domain::Timestamp;
use drover_domain::secret::without_secrets;
use drover_domain::webhook::{
    NamedHaproxyServer, NamedInstance, Notice, Noticed, URL_MAX, WebhookSecret,
};
use drover_egress::{ClientError, GuardedClient, GuardedOptions, refusal};
use drover_ports::{Outgoing, Receipt, SendFailure, WebhookSender};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use crate::handler::Options;

/// How many bytes a secret of ours has.
const SECRET_BYTES: usize = 32;
/// How many bytes a secret may have. Standard Webhooks 1.0.0.
const SECRET_BOUNDS: std::ops::RangeInclusive<usize> = 24..=64;
/// The most characters of a text in a message, so that it stays small.
const TEXT_MAX: usize = 1_000;

/// Writes, signs and sends messages; whom it may call is said by the same policy as for requests of workflows.
///
/// No redirect is followed, and an answer's body is not read: its status says all.
#[derive(Debug, Clone)]
pub struct WebhookHttp {
    client: GuardedClient,
}

impl WebhookHttp {
    /// A sender that looks names up as this machine does.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when no HTTP client can be made.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let client = GuardedClient::new(GuardedOptions {
            policy: options.policy,
            connect_timeout: options.connect_timeout,
            total_timeout: options.deadline_max,
        })?;
        Ok(Self { client })
    }
}

fn at_last(reason: impl Into<String>) -> SendFailure {
    SendFailure {
        reason: reason.into(),
        is_final: true,
    }
}

/// The bytes of a secret.
fn key(secret: &WebhookSecret) -> Result<Vec<u8>, SendFailure> {
    let text = secret.expose().strip_prefix(WebhookSecret::PREFIX);
    let bytes = text.and_then(|text| BASE64.decode(text.as_bytes()).ok());
    bytes
        .filter(|bytes| SECRET_BOUNDS.contains(&bytes.len()))
        .ok_or_else(|| at_last("a secret is `whsec_` and 24 to 64 bytes in base64"))
}

/// The signature of a message: `v1,` and the HMAC-SHA256 of its identifier, its time and its body.
fn sign(
    secret: &WebhookSecret,
    message: &str,
    seconds: i64,
    body: &str,
) -> Result<String, SendFailure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key(secret)?)
        .map_err(|_| at_last("the secret cannot be used"))?;
    mac.update(format!("{message}.{seconds}.{body}").as_bytes());
    let signature = BASE64.encode(&mac.finalize().into_bytes());
    Ok(format!("v1,{signature}"))
}

fn url(text: &str) -> Result<Url, SendFailure> {
    if text.len() > URL_MAX {
        return Err(at_last(format!(
            "the URL has more than {URL_MAX} characters"
        )));
    }
    let url = Url::parse(text).map_err(|error| at_last(format!("this is no URL: {error}")))?;
    if url.fragment().is_some() {
        return Err(at_last("the URL has a fragment, which nobody would see"));
    }
    Ok(url)
}

fn cut(text: &str) -> String {
    without_secrets(text).chars().take(TEXT_MAX).collect()
}

fn instance(instance: &NamedInstance) -> Value {
    json!({
        "id": instance.key.get(), "name": instance.name, "server": instance.server,
        "href": format!("/api/v1/applications/{}", instance.key),
    })
}

fn haproxy_server(server: &NamedHaproxyServer) -> Value {
    json!({
        "id": server.key.get(), "name": server.name, "backend": server.backend, "instance": server.instance,
        "node": server.node, "href": format!("/api/v1/haproxy/servers/{}/history", server.key),
    })
}

fn data(what: &Noticed) -> Value {
    match what {
        Noticed::ServerStatus { server, name, new } => json!({
            "server": {"id": server.get(), "name": name, "href": format!("/api/v1/servers/{server}")},
            "status": new.as_str(),
        }),
        Noticed::InstanceStatus {
            instance: of,
            old,
            new,
        } => json!({
            "application": instance(of), "old_status": old.as_str(), "status": new.as_str(),
        }),
        Noticed::InstanceVersion {
            instance: of,
            old,
            new,
            rollout,
        } => json!({
            "application": instance(of), "old_version": old.as_deref().map(cut), "version": new.as_deref().map(cut),
            "rollout": rollout.map(|id| id.to_string()),
        }),
        Noticed::HaproxyStatus {
            server,
            old,
            new,
            action,
        } => json!({
            "server": haproxy_server(server), "old_status": old.as_str(), "status": new.as_str(),
            "action": action.as_ref().map(|(action, _)| action.to_string()),
            "actor": action.as_ref().and_then(|(_, actor)| actor.as_deref()),
        }),
        Noticed::ActionFinished {
            action,
            server,
            wanted,
            actor,
            failure,
        } => json!({
            "action": {"id": action.to_string(), "href": format!("/api/v1/haproxy/actions/{action}")},
            "server": haproxy_server(server), "wanted": wanted, "actor": actor,
            "status": if failure.is_some() { "failed" } else { "success" },
            "error": failure.as_ref().map(|(code, detail)| json!({"code": code, "detail": cut(detail)})),
        }),
        Noticed::Test { actor } => json!({"actor": actor}),
    }
}

#[async_trait]
impl WebhookSender for WebhookHttp {
    fn draw_secret(&self) -> Result<WebhookSecret, SendFailure> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| at_last(format!("the machine gives no random numbers: {error}")))?;
        let text = BASE64.encode(&bytes);
        Ok(WebhookSecret::new(format!(
            "{}{text}",
            WebhookSecret::PREFIX
        )))
    }

    fn check(&self, text: &str, secret: Option<&WebhookSecret>) -> Result<(), SendFailure> {
        if let Some(secret) = secret {
            key(secret)?;
        }
        let url = url(text)?;
        let allowed = self.client.request(Method::POST, url);
        allowed
            .map(|_| ())
            .map_err(|refused| at_last(refused.to_string()))
    }

    fn render(&self, notice: &Notice) -> String {
        json!({
            "type": notice.event().as_str(),
            "timestamp": notice.at.to_string(),
            "data": data(&notice.what),
        })
        .to_string()
    }

    async fn send(
        &self,
        outgoing: &Outgoing,
        at: Timestamp,
        timeout: Duration,
    ) -> Result<Receipt, SendFailure> {
        let (message, body) = (&outgoing.message, &outgoing.payload);
        let seconds = at.as_micros().div_euclid(1_000_000);
        let signatures = outgoing
            .secrets
            .valid(at)
            .map(|secret| sign(secret, message, seconds, body))
            .collect::<Result<Vec<_>, _>>()?
            .join(" ");
        let mut signatures = HeaderValue::from_str(&signatures)
            .map_err(|_| at_last("the signature cannot be sent"))?;
        signatures.set_sensitive(true);
        let request = self
            .client
            .request(Method::POST, url(&outgoing.webhook.wish.url)?)
            .map_err(|refused| at_last(refused.to_string()))?
            .timeout(timeout)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", message)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signatures)
            .body(body.clone());
        let response = request.send().await.map_err(|error| {
            if let Some(refused) = refusal(&error) {
                return at_last(refused.to_string());
            }
            let reason = if error.is_timeout() {
                format!("no answer within {} s", timeout.as_secs())
            } else if error.is_connect() {
                "the receiver cannot be reached".to_owned()
            } else {
                "the receiver broke off".to_owned()
            };
            SendFailure {
                reason,
                is_final: false,
            }
        })?;
        Ok(Receipt {
            status: response.status().as_u16(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::new(text.to_owned())
    }

    #[test]
    fn it_signs_as_the_specification_does() {
        // The example of Standard Webhooks 1.0.0, and of its libraries.
        let signature = sign(
            &secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn secrets_are_24_to_64_bytes() {
        for bytes in [0, 23, 65] {
            let text = format!("whsec_{}", BASE64.encode(&vec![7; bytes]));
            assert!(key(&secret(&text)).is_err(), "{bytes}");
        }
        for bytes in [24, 32, 64] {
            let text = format!("whsec_{}", BASE64.encode(&vec![7; bytes]));
            assert_eq!(key(&secret(&text)).unwrap().len(), bytes);
        }
        for text in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_€"] {
            assert!(key(&secret(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_are_urls() {
        for text in [
            "",
            "nowhere",
            "https://a/#b",
            &format!("https://a/{}", "x".repeat(2_048)),
        ] {
            assert!(url(text).is_err(), "{text}");
        }
        assert!(url("https://hooks.example/drover?x=1").is_ok());
    }
}
