//! The first key: from the settings, or made once.

use drover_domain::Timestamp;
use drover_domain::access::{ApiKey, Role};
use drover_http_api::ApiKeyText;
use drover_usecases::{Access, StoreError};
use secrecy::{ExposeSecret, SecretString};

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The configured key has not the form of one.
    #[error(
        "setting `access.admin_key` is no API key: drv_<16 hexadecimal digits>_<43 base64url characters>"
    )]
    NoKey,
    /// The machine gives no random numbers.
    #[error("no API key can be made: the machine gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// The key cannot be stored.
    #[error("the API key cannot be stored")]
    Store(#[source] StoreError),
}

/// Keeps the configured key true; without one, makes a key if there is none at all and says it
/// in the log, once.
pub(crate) async fn ensure(
    access: &Access,
    configured: Option<&SecretString>,
    now: Timestamp,
) -> Result<(), KeyError> {
    if let Some(secret) = configured {
        let text = ApiKeyText::parse(secret.expose_secret()).map_err(|_| KeyError::NoKey)?;
        return access
            .keep_key(&key(&text, "configured admin", now))
            .await
            .map_err(KeyError::Store);
    }
    let (mut public, mut secret) = ([0; 8], [0; 32]);
    getrandom::fill(&mut public).map_err(KeyError::Random)?;
    getrandom::fill(&mut secret).map_err(KeyError::Random)?;
    let (parsed, text) = ApiKeyText::compose(public, secret);
    if access
        .ensure_first_key(&key(&parsed, "first admin", now))
        .await
        .map_err(KeyError::Store)?
    {
        tracing::warn!(
            "this is the first start; the admin's API key is {text} and is shown only here, only now"
        );
    }
    Ok(())
}

fn key(text: &ApiKeyText, name: &str, now: Timestamp) -> ApiKey {
    ApiKey {
        public_id: text.public_id().to_owned(),
        digest: text.digest(),
        role: Role::Admin,
        name: name.to_owned(),
        created_at: now,
    }
}
