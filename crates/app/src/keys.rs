//! The first key: from the settings, or made once.

use drover_domain::Timestamp;
use drover_domain::access::{ApiKey, KeyOrigin, Role};
use drover_http_api::ApiKeyText;
use drover_usecases::{Access, StoreError};
use secrecy::{ExposeSecret, SecretString};

use crate::print;

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
    Random(#[source] drover_http_api::NoRandomness),
    /// The key cannot be stored.
    #[error("the API key cannot be stored")]
    Store(#[source] StoreError),
}

/// The key of `access.admin_key`, where there is one.
///
/// # Errors
///
/// [`KeyError::NoKey`] where it has another form.
pub(crate) fn configured(setting: Option<&SecretString>) -> Result<Option<ApiKeyText>, KeyError> {
    setting
        .map(|secret| ApiKeyText::parse(secret.expose_secret()).map_err(|_| KeyError::NoKey))
        .transpose()
}

/// Makes the configured key the only one of its kind; without it, makes a key if there is none at all and shows it in
/// the log, once. A start that finds everything as it should be writes nothing.
pub(crate) async fn ensure(
    access: &Access,
    configured: Option<&SecretString>,
    now: Timestamp,
) -> Result<(), KeyError> {
    let configured = self::configured(configured)?
        .map(|text| key(&text, "configured admin", KeyOrigin::Configured, now));
    let has_changed = access.configure(configured.as_ref()).await;
    if has_changed.map_err(KeyError::Store)? {
        if let Some(key) = &configured {
            tracing::info!(
                key.id = key.public_id,
                "the setting `access.admin_key` has another key than before; the one before is revoked"
            );
        } else {
            tracing::info!("the setting `access.admin_key` is gone; its key is revoked");
        }
    }
    if configured.is_some() {
        return Ok(());
    }
    let (parsed, text) = ApiKeyText::draw().map_err(KeyError::Random)?;
    if access
        .ensure_first_key(&key(&parsed, "first admin", KeyOrigin::First, now))
        .await
        .map_err(KeyError::Store)?
    {
        let sentence = format!(
            "this is the first start; the admin's API key is {text} and is shown only here, only now"
        );
        if tracing::enabled!(tracing::Level::WARN) {
            tracing::warn!("{sentence}");
        } else {
            // It is shown once, so no filter of the log may swallow it.
            print::note(&sentence);
        }
    }
    Ok(())
}

fn key(text: &ApiKeyText, name: &str, origin: KeyOrigin, now: Timestamp) -> ApiKey {
    ApiKey {
        public_id: text.public_id().to_owned(),
        digest: text.digest(),
        role: Role::Admin,
        name: name.to_owned(),
        origin,
        created_by: None,
        created_at: now,
        expires_at: None,
    }
}
