//! Which application stands behind a server in HAProxy. Seed 002, "Mapping".

use std::collections::HashMap;

use crate::Timestamp;
use crate::fleet::{ApplicationKey, ApplicationName};

use super::{BalancerServerKey, ObservedServer};

/// An application that may stand behind a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingCandidate {
    /// The application.
    pub application: ApplicationKey,
    /// Its instance name.
    pub name: String,
    /// Its server's full name.
    pub server_name: String,
    /// The address it listens on; its server's when the agent does not say.
    pub address: String,
    /// The port it listens on.
    pub port: Option<u16>,
}

/// Why a server and an application belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MappingBasis {
    /// Address and port are the same.
    Address,
    /// The server is called `{host}_{application}`.
    Name,
    /// Somebody said so; never overwritten by itself.
    Manual,
}

impl MappingBasis {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Name => "name",
            Self::Manual => "manual",
        }
    }

    /// The basis with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Address, Self::Name, Self::Manual]
            .into_iter()
            .find(|basis| basis.as_str() == word)
    }
}

/// What became of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MappingAction {
    /// It was made for the first time, and is active since.
    Created,
    /// It stayed active and has another basis.
    Updated,
    /// It had ended before and is active again.
    Activated,
    /// It ended.
    Deactivated,
}

impl MappingAction {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Activated => "activated",
            Self::Deactivated => "deactivated",
        }
    }

    /// The action with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Created,
            Self::Updated,
            Self::Activated,
            Self::Deactivated,
        ]
        .into_iter()
        .find(|action| action.as_str() == word)
    }
}

/// The application behind a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveMapping {
    /// The application.
    pub application: ApplicationKey,
    /// Why they belong together.
    pub basis: MappingBasis,
    /// Since when, or since when for this reason.
    pub at: Timestamp,
}

/// Somebody's word that a server shall have no mapping until somebody makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingHold {
    /// Since when.
    pub at: Timestamp,
    /// Who said so.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// Where a server stands with its mapping: at most one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMapping {
    /// The server in HAProxy.
    pub server: BalancerServerKey,
    /// The application behind it.
    pub active: Option<ActiveMapping>,
    /// Who keeps Drover from mapping it by itself.
    pub hold: Option<MappingHold>,
}

/// The application behind each server, by address and port first, by name second; `None` where
/// nothing fits or more than one thing does. One pass over both lists.
#[must_use]
pub fn find_applications(
    servers: &[ObservedServer],
    candidates: &[MappingCandidate],
) -> Vec<Option<(ApplicationKey, MappingBasis)>> {
    let mut by_address: HashMap<(&str, u16), Unique> = HashMap::new();
    let mut by_name: HashMap<String, Unique> = HashMap::new();
    for candidate in candidates {
        if let Some(port) = candidate.port.filter(|port| *port != 0) {
            Unique::note(
                by_address.entry((&candidate.address, port)).or_default(),
                candidate.application,
            );
        }
        let short = candidate.server_name.split('.').next().unwrap_or_default();
        for name in names(short, &candidate.name) {
            Unique::note(by_name.entry(name).or_default(), candidate.application);
        }
    }
    servers
        .iter()
        .map(|server| {
            let address = server.address.as_deref().zip(server.port);
            let found = address.and_then(|address| by_address.get(&address)?.get());
            found
                .map(|application| (application, MappingBasis::Address))
                .or_else(|| {
                    let found = by_name.get(&server.name.to_lowercase())?.get()?;
                    Some((found, MappingBasis::Name))
                })
        })
        .collect()
}

// `{host}_{instance name}`, and without the number where there is one: `web1_jurws` for `jurws_1`
// only counts while it is the only such instance on the host.
fn names(host: &str, application: &str) -> impl Iterator<Item = String> {
    let parsed = ApplicationName::parse(application);
    let bare = (parsed.number != 0).then(|| format!("{host}_{}", parsed.base).to_lowercase());
    [format!("{host}_{application}").to_lowercase()]
        .into_iter()
        .chain(bare)
}

#[derive(Default, Clone, Copy)]
enum Unique {
    #[default]
    None,
    One(ApplicationKey),
    Several,
}

impl Unique {
    fn note(&mut self, application: ApplicationKey) {
        *self = match *self {
            Self::None => Self::One(application),
            Self::One(known) if known == application => Self::One(known),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    const fn get(self) -> Option<ApplicationKey> {
        match self {
            Self::One(application) => Some(application),
            Self::None | Self::Several => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use crate::balancer::{ServerRole, ServerWord};

    fn server(name: &str, address: Option<(&str, u16)>) -> ObservedServer {
        ObservedServer {
            name: name.to_owned(),
            word: ServerWord::new("UP"),
            admin: None,
            sessions: None,
            old_sessions: None,
            queue: None,
            weight: 1,
            role: ServerRole::default(),
            check_status: None,
            address: address.map(|(address, _)| address.to_owned()),
            port: address.map(|(_, port)| port),
        }
    }

    fn candidate(key: i64, name: &str, host: &str, port: Option<u16>) -> MappingCandidate {
        MappingCandidate {
            application: Key::new(key),
            name: name.to_owned(),
            server_name: format!("{host}.example"),
            address: "10.0.0.1".to_owned(),
            port,
        }
    }

    #[track_caller]
    fn finds(
        server: ObservedServer,
        candidates: &[MappingCandidate],
        expected: Option<(i64, MappingBasis)>,
    ) {
        let expected = expected.map(|(key, basis)| (Key::new(key), basis));
        assert_eq!(find_applications(&[server], candidates), [expected]);
    }

    #[test]
    fn words_read_back() {
        for action in [
            MappingAction::Created,
            MappingAction::Updated,
            MappingAction::Activated,
            MappingAction::Deactivated,
        ] {
            assert_eq!(MappingAction::parse(action.as_str()), Some(action));
        }
        assert_eq!(MappingAction::parse("forgotten"), None);
    }

    #[test]
    fn the_address_comes_first() {
        let candidates = [
            candidate(1, "a_1", "web1", Some(8080)),
            candidate(2, "b_1", "web1", None),
        ];
        finds(
            server("web1_b_1", Some(("10.0.0.1", 8080))),
            &candidates,
            Some((1, MappingBasis::Address)),
        );
    }

    #[test]
    fn the_name_comes_second_and_the_host_must_be_equal() {
        let candidates = [
            candidate(1, "jurws_1", "web1", None),
            candidate(2, "jurws_1", "web10", None),
        ];
        finds(
            server("web10_jurws_1", None),
            &candidates,
            Some((2, MappingBasis::Name)),
        );
        finds(
            server("WEB1_jurws_1", None),
            &candidates,
            Some((1, MappingBasis::Name)),
        );
        finds(server("web_jurws_1", None), &candidates, None);
    }

    #[test]
    fn two_that_fit_equally_are_none() {
        let candidates = [
            candidate(1, "jurws_1", "web1", None),
            candidate(2, "jurws_2", "web1", None),
        ];
        finds(server("web1_jurws", None), &candidates, None);
    }
}
