//! Raw settings become believed settings.
//!
//! Defaults, then one file, then variables; what is unknown is an error that names its place. Nothing
//! here reads the environment: it is handed in. It must not know any adapter.
//!
//! Start reading at [`load`] and [`Settings`]; every setting stands in `defaults.toml`.

mod convert;
mod error;
mod keys;
mod layers;
mod raw;
mod settings;
mod shown;

pub use error::SettingsError;
pub use settings::{
    Access, Ansible, AnsibleTarget, Balancer, Database, Fleet, Log, LogFormat, Rollout, Server, Settings,
};
pub use shown::{Shown, show};

/// Every setting with its default and its meaning, as TOML.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Reads the settings: defaults, then `file` (its name for messages, and its TOML text), then the
/// `variables` called `DROVER_SECTION__KEY`; other variables are none of ours.
///
/// Files named by `*_file` settings are read too.
///
/// # Errors
///
/// [`SettingsError`], naming the setting and where it comes from. Secrets are never in it.
pub fn load(
    file: Option<(&str, &str)>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, SettingsError> {
    convert::settings(&layers::Layers::read(file, variables)?)
}
