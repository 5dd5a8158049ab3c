//! Which application stands behind a server in HAProxy. Seed 002, "Mapping".

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::Timestamp;
use crate::fleet::{ApplicationKey, ApplicationName, Network, ServerKey};

use super::{HaproxyServerKey, ObservedServer};

/// A present application that may stand behind a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingCandidate {
    /// The application.
    pub application: ApplicationKey,
    /// Its instance name.
    pub name: String,
    /// The server whose agent lists it.
    pub server: ServerKey,
    /// The full name of that server.
    pub server_name: String,
    /// The address of that server: an IP address or a host name.
    pub server_address: String,
    /// The IP address at which the agent of that server answered.
    pub agent_ip: Option<IpAddr>,
    /// The networks that are declared for that server.
    pub networks: Vec<Network>,
    /// The address the agent reports for the application; `None` when it reports none.
    pub address: Option<String>,
    /// The port it listens on.
    pub port: Option<u16>,
}

/// Whose an address is, seen from the agent that reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Standing {
    /// The address of the agent's own server.
    Own,
    /// In a network that is declared for the agent's server.
    Declared,
    /// Anything else: no basis for a mapping.
    Foreign,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Address {
    Ip(IpAddr),
    Name(String),
}

impl Address {
    fn of(text: &str) -> Self {
        text.parse::<IpAddr>().map_or_else(
            |_| Self::Name(text.to_lowercase()),
            |address| Self::Ip(address.to_canonical()),
        )
    }
}

impl MappingCandidate {
    /// Whether the address it reports is its server's own, or in a network declared for its server. Only then may a
    /// mapping be based on it.
    #[must_use]
    pub fn has_an_address_of_its_server(&self) -> bool {
        self.standing().1 != Standing::Foreign
    }

    fn standing(&self) -> (Address, Standing) {
        let own = match (Address::of(&self.server_address), self.agent_ip) {
            // A host name is what it led to when its agent was asked.
            (Address::Name(_), Some(address)) => Address::Ip(address.to_canonical()),
            (own, _) => own,
        };
        let reported = self.address.as_deref().map(Address::of);
        match reported {
            None => (own, Standing::Own),
            // It listens on every address of its server.
            Some(Address::Ip(address)) if address.is_unspecified() => (own, Standing::Own),
            Some(reported) if reported == own => (own, Standing::Own),
            Some(Address::Ip(address)) if self.networks.iter().any(|net| net.contains(address)) => {
                (Address::Ip(address), Standing::Declared)
            }
            Some(reported) => (reported, Standing::Foreign),
        }
    }

    fn host(&self) -> &str {
        self.server_name.split('.').next().unwrap_or_default()
    }

    /// What a server in HAProxy is called for it.
    fn full_name(&self) -> String {
        format!("{}_{}", self.host(), self.name)
    }

    fn label(&self) -> String {
        format!(
            "`{}` on {}",
            crate::text::visible(&self.name, 64),
            self.server_name
        )
    }
}

/// Why a server and an application belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MappingBasis {
    /// Address and port are the same.
    Address,
    /// The server is called `{host}_{application}`.
    Name,
    /// Made by hand; never overwritten by a rule.
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

/// Keeps a server without a mapping until a person makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
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
    pub server: HaproxyServerKey,
    /// The application behind it.
    pub active: Option<ActiveMapping>,
    /// Keeps Drover from mapping it by rule.
    pub exclusion: Option<Exclusion>,
}

/// Why a server has no mapping by rule; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmappable {
    /// No application fits.
    #[error("no application fits its address or its name")]
    Nothing,
    /// More than one application fits equally well.
    #[error("several applications fit: {applications}; map it by hand")]
    Several {
        /// They, with their servers.
        applications: String,
    },
    /// Its address and its name contradict each other.
    #[error("its address fits {by_address}, its name fits {by_name}; map it by hand")]
    Conflict {
        /// The application at its address.
        by_address: String,
        /// The applications that fit its name.
        by_name: String,
    },
    /// Its address is reported only by agents of servers that do not have it.
    #[error(
        "its address is reported for {applications}, but it is neither the address of that server nor in a network \
         declared for it; declare the network of the server, or map it by hand"
    )]
    Foreign {
        /// The applications with their servers.
        applications: String,
    },
}

/// The application behind each server, or the reason why there is none. One pass over both lists.
///
/// An address counts for an application only if it is the address of its own server, or in a network declared for that
/// server: an agent is no authority on other servers. Within one server the address comes before the name; an exact
/// name outranks an address that another server has by a declared network only.
#[must_use]
pub fn find_applications(
    servers: &[ObservedServer],
    candidates: &[MappingCandidate],
) -> Vec<Result<(ApplicationKey, MappingBasis), Unmappable>> {
    let index = Index::of(candidates);
    servers.iter().map(|server| index.find(server)).collect()
}

type Fitting<'a> = Vec<&'a MappingCandidate>;

#[derive(Default)]
struct Index<'a> {
    places: HashMap<(Address, u16, Standing), Fitting<'a>>,
    names: HashMap<String, Fitting<'a>>,
    bare_names: HashMap<String, Fitting<'a>>,
}

impl<'a> Index<'a> {
    fn of(candidates: &'a [MappingCandidate]) -> Self {
        let mut index = Self::default();
        for candidate in candidates {
            if let Some(port) = candidate.port.filter(|port| *port != 0) {
                let (address, standing) = candidate.standing();
                let place = (address, port, standing);
                index.places.entry(place).or_default().push(candidate);
            }
            let host = candidate.host();
            let name = candidate.full_name().to_lowercase();
            index.names.entry(name).or_default().push(candidate);
            // `web1_jurws` for `jurws_1` only counts while it is the only such application on the host.
            let parsed = ApplicationName::parse(&candidate.name);
            if parsed.number != 0 {
                let name = format!("{host}_{}", parsed.base).to_lowercase();
                index.bare_names.entry(name).or_default().push(candidate);
            }
        }
        index
    }

    fn find(&self, server: &ObservedServer) -> Result<(ApplicationKey, MappingBasis), Unmappable> {
        let place = server.address.as_deref().zip(server.port);
        let place = place.map(|(address, port)| (Address::of(address), port));
        let at = |standing| {
            let (address, port) = place.clone()?;
            self.places.get(&(address, port, standing))
        };
        let own = at(Standing::Own).map_or(&[][..], Vec::as_slice);
        let declared = at(Standing::Declared).map_or(&[][..], Vec::as_slice);
        let name = server.name.to_lowercase();
        let named = self.names.get(&name).or_else(|| self.bare_names.get(&name));
        let named = named.map_or(&[][..], Vec::as_slice);
        // The case of letters counts only where the names differ in nothing else.
        let exact = named
            .iter()
            .position(|found| found.full_name() == server.name);
        let named = match exact {
            Some(place) => named.get(place..=place).unwrap_or(named),
            None => named,
        };

        let by = |basis| move |found: &MappingCandidate| Ok((found.application, basis));
        let by_address = by(MappingBasis::Address);
        let by_name = by(MappingBasis::Name);
        match (own, declared, named) {
            ([one], _, named) | ([], [one], named) if are_on(named, one.server) => by_address(one),
            ([], _, [name]) => by_name(name),
            ([one], _, named) | ([], [one], named) => Err(Unmappable::Conflict {
                by_address: one.label(),
                by_name: labels(named),
            }),
            ([_, _, ..], _, [name]) if are_on(own, name.server) || own.contains(name) => {
                by_name(name)
            }
            ([_, _, ..], _, [name]) => Err(Unmappable::Conflict {
                by_address: labels(own),
                by_name: name.label(),
            }),
            ([_, _, ..], _, _) => Err(several(own)),
            ([], [_, _, ..], _) => Err(several(declared)),
            ([], [], [_, _, ..]) => Err(several(named)),
            ([], [], []) => Err(
                at(Standing::Foreign).map_or(Unmappable::Nothing, |foreign| Unmappable::Foreign {
                    applications: labels(foreign),
                }),
            ),
        }
    }
}

fn are_on(applications: &[&MappingCandidate], server: ServerKey) -> bool {
    applications.iter().all(|other| other.server == server)
}

fn several(applications: &[&MappingCandidate]) -> Unmappable {
    Unmappable::Several {
        applications: labels(applications),
    }
}

// Sorted, so that the same conflict always has the same words.
fn labels(applications: &[&MappingCandidate]) -> String {
    const SHOWN_MAX: usize = 4;
    let sorted: BTreeMap<ApplicationKey, String> = applications
        .iter()
        .map(|candidate| (candidate.application, candidate.label()))
        .collect();
    let others = sorted.len().saturating_sub(SHOWN_MAX);
    let mut shown: Vec<String> = sorted.into_values().take(SHOWN_MAX).collect();
    if others > 0 {
        shown.push(format!("{others} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use crate::haproxy::{ServerRole, ServerWord};

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

    /// `web1` is server 1 at 10.0.0.1, `web10` server 10 at 10.0.0.10, and so on; any other is server 66 at 10.0.0.66.
    fn candidate(key: i64, name: &str, host: &str, port: Option<u16>) -> MappingCandidate {
        let number: i64 = host
            .strip_prefix("web")
            .map_or(66, |number| number.parse().unwrap());
        MappingCandidate {
            application: Key::new(key),
            name: name.to_owned(),
            server: Key::new(number),
            server_name: format!("{host}.example"),
            server_address: format!("10.0.0.{number}"),
            agent_ip: None,
            networks: Vec::new(),
            address: None,
            port,
        }
    }

    fn claiming(candidate: MappingCandidate, address: &str) -> MappingCandidate {
        MappingCandidate {
            address: Some(address.to_owned()),
            ..candidate
        }
    }

    fn declaring(candidate: MappingCandidate, network: &str) -> MappingCandidate {
        MappingCandidate {
            networks: vec![Network::parse(network).unwrap()],
            ..candidate
        }
    }

    #[test]
    fn near_names_are_mapped_each_to_its_own_application() {
        let applications = [
            "jurws_01", "jurws_1", "jurws-01", "jurws-1", "Jurws_1", "JURWS_01",
        ];
        let candidates: Vec<MappingCandidate> = (1..)
            .zip(applications)
            .map(|(key, name)| candidate(key, name, "web1", None))
            .collect();
        let servers: Vec<ObservedServer> = applications
            .iter()
            .map(|name| server(&format!("web1_{name}"), None))
            .collect();
        let found = find_applications(&servers, &candidates);
        let expected: Vec<_> = (1..)
            .map(|key| Ok((Key::new(key), MappingBasis::Name)))
            .take(applications.len())
            .collect();
        assert_eq!(found, expected);
        // Another host is another host, and without the same letters the case is no difference to decide by.
        for name in ["web01_jurws_1", "web-1_jurws_1", "web1_jurws_001"] {
            assert!(reason(server(name, None), &candidates).contains("no application fits"));
        }
        let unclear = reason(server("WEB1_JURWS_1", None), &candidates);
        assert!(unclear.contains("several applications fit"), "{unclear}");
    }

    #[track_caller]
    fn reason(server: ObservedServer, candidates: &[MappingCandidate]) -> String {
        let found = find_applications(&[server], candidates).remove(0);
        found.unwrap_err().to_string()
    }

    #[track_caller]
    fn finds(
        server: ObservedServer,
        candidates: &[MappingCandidate],
        expected: Option<(i64, MappingBasis)>,
    ) {
        let expected = expected.map(|(key, basis)| (Key::new(key), basis));
        let found = find_applications(&[server], candidates).remove(0);
        assert_eq!(found.clone().ok(), expected, "{found:?}");
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
    #[test]
    fn an_exact_name_comes_before_one_without_its_number() {
        let candidates = [
            candidate(1, "jurws_1", "web1", None),
            candidate(2, "jurws", "web1", None),
        ];
        finds(
            server("web1_jurws", None),
            &candidates,
            Some((2, MappingBasis::Name)),
        );
    }

    #[test]
    fn leading_zeros_keep_servers_and_applications_apart() {
        let candidates = [
            candidate(1, "jurws_1", "web1", None),
            candidate(2, "jurws_01", "web1", None),
            candidate(3, "jurws_1", "web01", None),
        ];
        for (name, key) in [
            ("web1_jurws_1", 1),
            ("web1_jurws_01", 2),
            ("web01_jurws_1", 3),
        ] {
            finds(
                server(name, None),
                &candidates,
                Some((key, MappingBasis::Name)),
            );
        }
        finds(server("web01_jurws_01", None), &candidates, None);
    }

    #[test]
    fn an_agent_cannot_claim_the_address_of_another_server() {
        // Docker's addresses, as agents report them, and a third agent that claims the servers' own.
        let honest = [
            claiming(candidate(1, "shop_1", "web1", Some(8080)), "172.17.0.2"),
            claiming(candidate(2, "shop_2", "web2", Some(8080)), "172.17.0.2"),
        ];
        let evil = [
            claiming(candidate(3, "a_1", "evil", Some(8080)), "10.0.0.1"),
            claiming(candidate(4, "a_2", "evil", Some(8080)), "10.0.0.2"),
        ];
        let all = [honest.clone(), evil].concat();
        for (name, address, key) in [
            ("web1_shop_1", "10.0.0.1", 1),
            ("web2_shop_2", "10.0.0.2", 2),
        ] {
            let shown = server(name, Some((address, 8080)));
            finds(shown, &all, Some((key, MappingBasis::Name)));
        }
        // Where the name fits nothing either, the claim is shown and changes nothing.
        let shown = server("s1", Some(("10.0.0.1", 8080)));
        finds(shown.clone(), &all, None);
        let reason = reason(shown, &all);
        assert!(
            reason.contains("`a_1` on evil.example") && reason.contains("declare the network"),
            "{reason}"
        );
    }

    #[test]
    fn a_foreign_claim_takes_no_mapping_away() {
        let candidates = [
            claiming(candidate(1, "a_1", "web1", Some(8080)), "10.0.0.1"),
            claiming(candidate(2, "x", "evil", Some(8080)), "10.0.0.1"),
        ];
        let shown = server("s1", Some(("10.0.0.1", 8080)));
        finds(shown, &candidates, Some((1, MappingBasis::Address)));
    }

    #[test]
    fn an_address_in_a_declared_network_counts_and_an_exact_name_outranks_it() {
        let second_card = claiming(candidate(1, "a_1", "web1", Some(8080)), "192.168.7.5");
        let shown = || server("s1", Some(("192.168.7.5", 8080)));
        finds(shown(), std::slice::from_ref(&second_card), None);
        let declared = declaring(second_card, "192.168.7.0/24");
        finds(
            shown(),
            std::slice::from_ref(&declared),
            Some((1, MappingBasis::Address)),
        );
        // Both servers are in the network: the name decides.
        let named = server("web2_shop_1", Some(("192.168.7.5", 8080)));
        let other = candidate(2, "shop_1", "web2", None);
        finds(named, &[declared, other], Some((2, MappingBasis::Name)));
    }

    #[test]
    fn an_address_of_one_server_and_the_name_of_another_is_a_conflict() {
        let candidates = [
            candidate(1, "a_1", "web2", Some(8080)),
            candidate(2, "shop_1", "web1", Some(8080)),
        ];
        let shown = server("web1_shop_1", Some(("10.0.0.2", 8080)));
        finds(shown.clone(), &candidates, None);
        assert_eq!(
            reason(shown, &candidates),
            "its address fits `a_1` on web2.example, its name fits `shop_1` on web1.example; map it by hand"
        );
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        let mapped = claiming(candidate(1, "a_1", "web1", Some(8080)), "::ffff:10.0.0.1");
        let everywhere = claiming(candidate(1, "a_1", "web1", Some(8080)), "0.0.0.0");
        let by_name = MappingCandidate {
            server_address: "web1.example".to_owned(),
            agent_ip: Some("10.0.0.1".parse().unwrap()),
            ..claiming(candidate(1, "a_1", "web1", Some(8080)), "10.0.0.1")
        };
        for one in [mapped, everywhere, by_name] {
            assert!(one.has_an_address_of_its_server());
            let shown = server("s1", Some(("10.0.0.1", 8080)));
            finds(shown, &[one], Some((1, MappingBasis::Address)));
        }
        let loopback = claiming(candidate(1, "a_1", "web1", Some(8080)), "127.0.0.1");
        assert!(!loopback.has_an_address_of_its_server());
    }

    #[test]
    fn two_at_one_address_are_told_apart_by_the_name() {
        let candidates = [
            candidate(1, "a_1", "web1", Some(8080)),
            candidate(2, "b_1", "web1", Some(8080)),
        ];
        let shown = |name: &str| server(name, Some(("10.0.0.1", 8080)));
        finds(
            shown("web1_b_1"),
            &candidates,
            Some((2, MappingBasis::Name)),
        );
        finds(shown("s1"), &candidates, None);
        let reason = reason(shown("s1"), &candidates);
        assert!(
            reason.starts_with("several applications fit: `a_1`"),
            "{reason}"
        );
    }
}
