//! Raw settings become believed settings: defaults, then a file, then variables.
//!
//! It knows no adapter and reads nothing by itself: the file's text and the variables are handed
//! in. Start reading at [`Settings`]; every key is described in `defaults.toml`.

mod describe;
mod raw;
mod settings;
mod variables;

pub use describe::{Shown, describe};
pub use settings::{
    Access, Ansible, AnsibleTarget, Database, Engine, Fleet, Haproxy, HttpRequest, Log, LogFormat,
    Rollout, Server, Settings, SettingsError, Source, load,
};
