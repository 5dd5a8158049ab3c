//! Settings for people: what counts, and where it comes from.

use url::Url;

use crate::convert;
use crate::error::SettingsError;
use crate::keys::{KEYS, Key, Secrecy};
use crate::layers::Layers;

const MASK: &str = "***";

/// A setting as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its dotted name.
    pub key: String,
    /// Its value, with secrets masked; `None` when it has none.
    pub value: Option<String>,
    /// `default`, `file NAME` or `variable NAME`.
    pub origin: String,
}

/// Every setting with its value and origin, secrets masked, in the order of the defaults. The
/// arguments are those of [`load`](crate::load).
///
/// # Errors
///
/// As [`load`](crate::load): settings that would not be accepted are not shown.
pub fn show(
    file: Option<(&str, &str)>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Shown>, SettingsError> {
    let layers = Layers::read(file, variables)?;
    let _believed = convert::settings(&layers)?;
    Ok(KEYS.iter().map(|key| shown(&layers, *key)).collect())
}

fn shown(layers: &Layers, key: Key) -> Shown {
    let dotted = key.dotted();
    let twin = format!("{dotted}_file");
    if key.secrecy != Secrecy::Open && layers.is_given(&twin) {
        return Shown { key: dotted, value: Some(MASK.to_owned()), origin: layers.place(&twin) };
    }
    let value = layers.text(&dotted).map(|text| match key.secrecy {
        Secrecy::Open => text,
        Secrecy::Url => without_password(&text),
        Secrecy::Secret => MASK.to_owned(),
    });
    Shown { origin: layers.place(&dotted), key: dotted, value }
}

/// A database URL without its password, wherever it hides one.
fn without_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return MASK.to_owned() };
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    let is_secret = |name: &str| name.to_lowercase().contains("password");
    if url.query_pairs().any(|(name, _)| is_secret(&name)) {
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if is_secret(&name) { MASK.to_owned() } else { value.into_owned() };
                (name.into_owned(), value)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    url.to_string()
}
