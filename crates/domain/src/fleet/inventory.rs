//! From what an agent reports to what changes: the rules of polling, as one pure function each.
//!
//! Start at [`reconcile`] (the agent answered) and [`unreachable()`] (it did not).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::Timestamp;

use super::{
    Application, ApplicationKey, ApplicationKind, ApplicationStatus, ChangeSource, ChangedBy,
    EventKind, EventStatus, GroupEntry, NewEvent, ObservedApplication, Resolution, Server,
    ServerStatus, VersionChange, VersionState, resolve_group, version_change,
};

/// The most applications one agent may report.
pub const APPLICATIONS_PER_SERVER_MAX: usize = 10_000;

/// The most applications that are kept of one server, those that are gone included. Beyond it the ones that
/// are gone longest are forgotten at once.
pub const KNOWN_PER_SERVER_MAX: usize = 20_000;

/// A server with the applications Drover knows on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownInventory {
    /// The server.
    pub server: Server,
    /// Its applications: all that are present, and of those that are gone only the recalled ones.
    pub applications: Vec<Application>,
    /// How many of its applications are gone.
    pub gone: usize,
}

impl KnownInventory {
    /// The applications of a report that are not among [`Self::applications`]: they are new, or come back.
    #[must_use]
    pub fn missing<'a>(&self, report: &'a InventoryReport) -> Vec<(ApplicationKind, &'a str)> {
        let known: BTreeSet<(ApplicationKind, &str)> = self
            .applications
            .iter()
            .map(|known| (known.observed.kind, known.observed.name.as_str()))
            .collect();
        let listed: BTreeSet<(ApplicationKind, &'a str)> = report
            .applications
            .iter()
            .map(|listed| (listed.kind, listed.name.as_str()))
            .filter(|listed| !known.contains(listed))
            .collect();
        listed.into_iter().collect()
    }
}

/// An agent's answer, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InventoryReport {
    /// The name of the server it says it is on.
    pub server: Option<String>,
    /// The applications it lists; the last of two with one name and kind counts.
    pub applications: Vec<ObservedApplication>,
    /// What could not be read, one sentence each; the rest stands.
    pub complaints: Vec<String>,
    /// The status words that are none of ours, by kind and name of the application: `restarting`, `maintenance`.
    pub words: BTreeMap<(ApplicationKind, String), String>,
    /// Whether entries were left out because they could not be read.
    pub is_partial: bool,
    /// The IP address at which the agent answered.
    pub agent_ip: Option<IpAddr>,
}

/// How polling decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollPolicy {
    /// How many failures in a row make a server offline; at least 1.
    pub offline_after: u32,
    /// An answer that takes away more than this share of a server's applications, in percent, is
    /// held until it is seen a second time.
    pub suspect_percent: u32,
    /// How many polls in a row without an inventory leave the applications of a server whose agent answers without data;
    /// at least 1.
    pub no_data_after: u32,
    /// How an application on a server that has none in a group yet gets into it.
    pub new_members: GroupEntry,
}

impl Default for PollPolicy {
    fn default() -> Self {
        Self {
            offline_after: 2,
            suspect_percent: 20,
            no_data_after: 5,
            new_members: GroupEntry::Join,
        }
    }
}

/// What one poll changes, written in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryChange {
    /// The server as it is now.
    pub server: Server,
    /// Applications that are new or differ from what is known.
    pub upserts: Vec<ApplicationUpsert>,
    /// Applications that only change their status (gone, or without data), with the time they
    /// were last seen.
    pub statuses: Vec<StatusChange>,
    /// What to record in the event log.
    pub events: Vec<NewEvent>,
    /// How many of the applications that are gone longest are forgotten.
    pub forget: usize,
}

impl InventoryChange {
    /// A change of the server's own row, with these events.
    #[must_use]
    pub const fn of(server: Server, events: Vec<NewEvent>) -> Self {
        Self {
            server,
            upserts: Vec::new(),
            statuses: Vec::new(),
            events,
            forget: 0,
        }
    }

    /// Whether nothing but the server's own row changes.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.upserts.is_empty()
            && self.statuses.is_empty()
            && self.events.is_empty()
            && self.forget == 0
    }
}

/// An application to insert or to overwrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationUpsert {
    /// What is seen of it.
    pub observed: ObservedApplication,
    /// Where it belongs, if that is not settled yet.
    pub resolution: Option<Resolution>,
    /// The row of its version history, if its version changed.
    pub version: Option<VersionChange>,
}

/// An application whose status alone changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// The application.
    pub application: ApplicationKey,
    /// Its status now.
    pub status: ApplicationStatus,
    /// When it was last seen.
    pub last_seen: Option<Timestamp>,
}

/// What to do with an agent's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reconciled {
    /// Believe it.
    Apply(InventoryChange),
    /// Hold it: only the server's own row changes, and the sentence says why.
    Hold(InventoryChange, String),
}

/// Compares an agent's answer with what is known.
///
/// An answer that would take away more than [`PollPolicy::suspect_percent`] of the server's present
/// applications is held; the same answer a second time in a row is believed.
#[must_use]
pub fn reconcile(
    known: &KnownInventory,
    report: &InventoryReport,
    policy: PollPolicy,
    now: Timestamp,
) -> Reconciled {
    let mut seen: BTreeMap<(&str, ApplicationKind), &ObservedApplication> = BTreeMap::new();
    for observed in &report.applications {
        seen.insert((&observed.name, observed.kind), observed);
    }
    // The last believed inventory had it; whether it ran is another matter.
    let is_listed = |application: &&Application| application.last_seen == known.server.inventory_at;
    let is_seen = |application: &&Application| {
        seen.contains_key(&(
            application.observed.name.as_str(),
            application.observed.kind,
        ))
    };
    let listed = known.applications.iter().filter(is_listed).count();
    let vanished = known
        .applications
        .iter()
        .filter(is_listed)
        .filter(|application| !is_seen(application))
        .count();

    let print = fingerprint(seen.keys());
    let answered = answered(&known.server, report, now);
    let takes_much = exceeds(vanished, listed, policy.suspect_percent);
    // What could not be read may be what vanished.
    let may_be_unread = report.is_partial && vanished > 0;
    if (takes_much || may_be_unread) && known.server.suspect != Some(print) {
        let name = &known.server.name;
        let mut reason =
            format!("the agent of {name} no longer lists {vanished} of {listed} applications");
        if may_be_unread {
            reason.push_str(", and not all that it lists can be read");
        }
        reason.push_str("; held until the next poll says the same");
        return Reconciled::Hold(hold(known, report, &reason, now), reason);
    }

    let mut server = Server {
        suspect: None,
        inventory_at: Some(now),
        inventory_failures: 0,
        agent_ip: report.agent_ip.or(known.server.agent_ip),
        ..answered
    };
    let by_name: BTreeMap<(&str, ApplicationKind), &Application> = known
        .applications
        .iter()
        .map(|application| {
            (
                (
                    application.observed.name.as_str(),
                    application.observed.kind,
                ),
                application,
            )
        })
        .collect();
    let is_first = known.server.inventory_at.is_none();
    let upserts: Vec<ApplicationUpsert> = seen
        .iter()
        .filter_map(|(key, observed)| {
            let known = by_name.get(key).copied();
            let is_listed = known.is_some_and(|application| is_listed(&application));
            // Names that come and go make no groups. What a new server lists first has nothing before it.
            let make = is_listed || is_first;
            upsert(known, is_listed, observed, (make, policy.new_members), now)
        })
        .collect();
    // What vanished earlier is offline already, unless its server was away in between.
    let statuses = known
        .applications
        .iter()
        .filter(|application| !is_seen(application))
        .filter(|application| {
            is_listed(application) || application.observed.status != ApplicationStatus::Offline
        })
        .map(|application| StatusChange {
            application: application.key,
            status: ApplicationStatus::Offline,
            last_seen: application.last_seen,
        })
        .collect();
    let added = seen
        .keys()
        .filter(|key| !by_name.contains_key(*key))
        .count();
    let forget = make_room(known, listed, added, &mut server);
    let mut events = connection_events(&known.server, &server, now);
    if known.server.inventory_failures >= policy.no_data_after.max(1) {
        let description = format!("the agent of {} lists its applications again", server.name);
        events.push(event(&server, true, description, now));
    }
    Reconciled::Apply(InventoryChange {
        server,
        upserts,
        statuses,
        events,
        forget,
    })
}

/// The change of an answer that is held until the next poll says the same: only the server's own row, with the reason.
#[must_use]
pub fn hold(
    known: &KnownInventory,
    report: &InventoryReport,
    reason: &str,
    now: Timestamp,
) -> InventoryChange {
    let names: BTreeSet<(&str, ApplicationKind)> = report
        .applications
        .iter()
        .map(|observed| (observed.name.as_str(), observed.kind))
        .collect();
    let server = Server {
        suspect: Some(fingerprint(names.iter())),
        last_error: Some(bounded(reason)),
        ..answered(&known.server, report, now)
    };
    let events = connection_events(&known.server, &server, now);
    InventoryChange::of(server, events)
}

// How many of the gone are forgotten, with a complaint. Recalled ones are among the gone until the change is stored.
fn make_room(known: &KnownInventory, listed: usize, added: usize, server: &mut Server) -> usize {
    let kept = listed + known.gone + added;
    let forget = kept.saturating_sub(KNOWN_PER_SERVER_MAX).min(known.gone);
    if forget > 0 {
        let complaint = format!(
            "the agent of {} has named more than {KNOWN_PER_SERVER_MAX} applications; the {forget} that are gone longest \
             are forgotten",
            server.name
        );
        let all = server.last_error.iter().chain([&complaint]);
        server.last_error = Some(bounded(&all.cloned().collect::<Vec<_>>().join("; ")));
    }
    forget
}

fn bounded(reason: &str) -> String {
    reason.chars().take(Server::ERROR_MAX).collect()
}

fn without_data(known: &KnownInventory) -> Vec<StatusChange> {
    known
        .applications
        .iter()
        .filter(|application| application.observed.status != ApplicationStatus::NoData)
        .map(|application| StatusChange {
            application: application.key,
            status: ApplicationStatus::NoData,
            last_seen: application.last_seen,
        })
        .collect()
}

/// What changes when a server's agent cannot be reached.
///
/// After [`PollPolicy::offline_after`] failures in a row the server is offline and its applications
/// are without data; before that only the failure is counted.
#[must_use]
pub fn unreachable(
    known: &KnownInventory,
    reason: &str,
    policy: PollPolicy,
    now: Timestamp,
) -> InventoryChange {
    let failures = known.server.failures.saturating_add(1);
    let offline = failures >= policy.offline_after.max(1);
    let server = Server {
        failures,
        status: if offline {
            ServerStatus::Offline
        } else {
            known.server.status
        },
        last_check: Some(now),
        last_error: Some(bounded(reason)),
        suspect: None,
        ..known.server.clone()
    };
    let statuses = if offline {
        without_data(known)
    } else {
        Vec::new()
    };
    let events = connection_events(&known.server, &server, now);
    InventoryChange {
        statuses,
        ..InventoryChange::of(server, events)
    }
}

/// What changes when the agent answers, but its inventory cannot be read: the server is online.
///
/// After [`PollPolicy::no_data_after`] such polls in a row its applications are without data; before that they stay as
/// they are.
#[must_use]
pub fn unreadable(
    known: &KnownInventory,
    reason: &str,
    policy: PollPolicy,
    now: Timestamp,
) -> InventoryChange {
    let failures = known.server.inventory_failures.saturating_add(1);
    let limit = policy.no_data_after.max(1);
    let is_old = failures >= limit;
    let reason = if is_old {
        format!("no inventory in {failures} polls, so its applications have no data: {reason}")
    } else {
        reason.to_owned()
    };
    let server = Server {
        last_error: Some(bounded(&reason)),
        suspect: None,
        inventory_failures: failures,
        ..answered(&known.server, &InventoryReport::default(), now)
    };
    let mut events = connection_events(&known.server, &server, now);
    if failures == limit {
        let description = format!("the agent of {} answers, but {reason}", server.name);
        events.push(event(&server, false, description, now));
    }
    let statuses = if is_old {
        without_data(known)
    } else {
        Vec::new()
    };
    InventoryChange {
        statuses,
        ..InventoryChange::of(server, events)
    }
}

fn answered(server: &Server, report: &InventoryReport, now: Timestamp) -> Server {
    let complaints = report.complaints.join("; ");
    Server {
        status: ServerStatus::Online,
        failures: 0,
        last_check: Some(now),
        last_error: (!complaints.is_empty()).then(|| bounded(&complaints)),
        ..server.clone()
    }
}

fn upsert(
    known: Option<&Application>,
    is_listed: bool,
    observed: &ObservedApplication,
    (make, entry): (bool, GroupEntry),
    now: Timestamp,
) -> Option<ApplicationUpsert> {
    let stored = known
        .map(|application| application.observed.version.clone())
        .unwrap_or_default();
    let old = stored.known();
    let resolution = resolve_group(
        &observed.name,
        observed.kind,
        known.is_some_and(|application| application.catalog.is_some()),
        known.is_some_and(|application| {
            application.group.is_some() || application.proposed.is_some()
        }),
        make,
        entry,
    );
    // What the agent leaves out does not erase what is known of the version.
    let observed = ObservedApplication {
        version: keep_known(&old, &observed.version.clone().known()),
        ..observed.clone()
    };
    // One that comes back as it left is written all the same: it is seen again.
    let unchanged = is_listed
        && known.is_some_and(|application| application.observed == observed)
        && resolution.is_none();
    if unchanged {
        return None;
    }
    let version = version_change(&old, &observed.version).then(|| VersionChange {
        old,
        new: observed.version.clone(),
        changed_at: now,
        changed_by: ChangedBy::Agent,
        source: ChangeSource::Polling,
        rollout: None,
    });
    Some(ApplicationUpsert {
        observed,
        resolution,
        version,
    })
}

fn keep_known(old: &VersionState, new: &VersionState) -> VersionState {
    VersionState {
        version: new.version.clone().or_else(|| old.version.clone()),
        tag: new.tag.clone().or_else(|| old.tag.clone()),
        image: new.image.clone().or_else(|| old.image.clone()),
        distr_path: new.distr_path.clone().or_else(|| old.distr_path.clone()),
    }
}

// A new server connects without an event: it was never away.
fn connection_events(before: &Server, after: &Server, now: Timestamp) -> Vec<NewEvent> {
    let (kind, status, what) = match (before.status, after.status) {
        (ServerStatus::Offline, ServerStatus::Online) => {
            (EventKind::Connect, EventStatus::Success, "answers again")
        }
        (ServerStatus::Online, ServerStatus::Offline) => (
            EventKind::Disconnect,
            EventStatus::Failed,
            "does not answer",
        ),
        (ServerStatus::Unknown, _)
        | (_, ServerStatus::Unknown)
        | (ServerStatus::Online, ServerStatus::Online)
        | (ServerStatus::Offline, ServerStatus::Offline) => return Vec::new(),
    };
    let description = format!(
        "the agent of {} at {}:{} {what}",
        after.name, after.address, after.port
    );
    vec![NewEvent {
        at: now,
        kind,
        status,
        server: Some(after.key),
        application: None,
        description,
    }]
}

fn event(server: &Server, is_back: bool, description: String, now: Timestamp) -> NewEvent {
    let (kind, status) = if is_back {
        (EventKind::Connect, EventStatus::Success)
    } else {
        (EventKind::Disconnect, EventStatus::Failed)
    };
    NewEvent {
        at: now,
        kind,
        status,
        server: Some(server.key),
        application: None,
        description,
    }
}

fn exceeds(part: usize, whole: usize, percent: u32) -> bool {
    part > 0
        && part.saturating_mul(100)
            > whole.saturating_mul(usize::try_from(percent).unwrap_or(usize::MAX))
}

// FNV-1a over the sorted names: the same set gives the same print in every build and process.
fn fingerprint<'a>(names: impl Iterator<Item = &'a (&'a str, ApplicationKind)>) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let set: BTreeSet<(&str, &str)> = names.map(|(name, kind)| (*name, kind.as_str())).collect();
    for (name, kind) in set {
        for byte in name.bytes().chain([0]).chain(kind.bytes()).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    i64::from_ne_bytes(hash.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::SettingsLayer;
    use crate::{Key, Timestamp};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);
    const BEFORE: Timestamp = Timestamp::from_micros(500_000);

    fn server(status: ServerStatus) -> Server {
        Server {
            key: Key::new(1),
            name: "app01.example".to_owned(),
            address: "10.0.0.1".to_owned(),
            port: 5000,
            status,
            is_haproxy_node: false,
            failures: 0,
            last_check: None,
            inventory_at: Some(BEFORE),
            last_error: None,
            suspect: None,
            networks: Vec::new(),
            agent_ip: None,
            inventory_failures: 0,
            created_at: Timestamp::EPOCH,
        }
    }

    fn observed(name: &str, version: Option<&str>) -> ObservedApplication {
        ObservedApplication {
            name: name.to_owned(),
            kind: ApplicationKind::Service,
            status: ApplicationStatus::Online,
            version: VersionState {
                version: version.map(str::to_owned),
                ..VersionState::default()
            },
            address: None,
            port: None,
            pid: None,
            path: None,
            log_path: None,
            container_id: None,
            start_time: None,
        }
    }

    fn application(key: i64, name: &str, version: Option<&str>) -> Application {
        Application {
            key: Key::new(key),
            server: Some((Key::new(1), "app01.example".to_owned())),
            observed: observed(name, version),
            catalog: Some(Key::new(1)),
            group: Some((Key::new(1), "a".to_owned())),
            proposed: None,
            number: 1,
            settings: SettingsLayer::default(),
            last_seen: Some(BEFORE),
        }
    }

    fn known(applications: Vec<Application>) -> KnownInventory {
        KnownInventory {
            server: server(ServerStatus::Online),
            applications,
            gone: 0,
        }
    }

    fn report(applications: Vec<ObservedApplication>) -> InventoryReport {
        InventoryReport {
            server: None,
            applications,
            ..InventoryReport::default()
        }
    }

    fn applied(reconciled: Reconciled) -> InventoryChange {
        match reconciled {
            Reconciled::Apply(change) => change,
            Reconciled::Hold(_, reason) => panic!("held: {reason}"),
        }
    }

    #[test]
    fn a_poll_that_brings_nothing_new_is_quiet() {
        let known = known(vec![application(1, "a_1", Some("1.0"))]);
        let change = applied(reconcile(
            &known,
            &report(vec![observed("a_1", Some("1.0"))]),
            PollPolicy::default(),
            NOW,
        ));
        assert!(change.is_quiet());
        assert_eq!(change.server.last_check, Some(NOW));
    }

    #[test]
    fn a_first_report_is_resolved_and_its_version_recorded() {
        let known = KnownInventory {
            server: server(ServerStatus::Unknown),
            applications: Vec::new(),
            gone: 0,
        };
        let change = applied(reconcile(
            &known,
            &report(vec![observed("a_1", Some("1.0"))]),
            PollPolicy::default(),
            NOW,
        ));
        let [upsert] = change.upserts.as_slice() else {
            panic!("{change:?}")
        };
        assert_eq!(
            upsert
                .resolution
                .as_ref()
                .map(|resolution| resolution.base.as_str()),
            Some("a")
        );
        assert_eq!(
            upsert
                .version
                .as_ref()
                .and_then(|version| version.new.version.as_deref()),
            Some("1.0")
        );
        assert_eq!(change.events, []);
        assert_eq!(change.server.status, ServerStatus::Online);
    }

    #[test]
    fn a_version_the_agent_leaves_out_is_kept() {
        let known = known(vec![application(1, "a_1", Some("1.0"))]);
        let change = applied(reconcile(
            &known,
            &report(vec![observed("a_1", None)]),
            PollPolicy::default(),
            NOW,
        ));
        assert!(change.is_quiet(), "{change:?}");
    }

    #[test]
    fn a_version_that_says_unknown_changes_nothing_and_is_forgotten() {
        for word in ["unknown-no-match", "N/A", "-", "Unknown"] {
            let known = |version| known(vec![application(1, "a_1", Some(version))]);
            let seen = |version| {
                let seen = report(vec![observed("a_1", Some(version))]);
                applied(reconcile(&known("1.0"), &seen, PollPolicy::default(), NOW))
            };
            assert!(seen(word).upserts.is_empty(), "{word}");
            let seen = report(vec![observed("a_1", Some("2.0"))]);
            let change = applied(reconcile(&known(word), &seen, PollPolicy::default(), NOW));
            let row = change.upserts[0].version.as_ref().unwrap();
            assert_eq!(
                (&row.old.version, row.new.version.as_deref()),
                (&None, Some("2.0")),
                "{word}"
            );
        }
    }

    #[test]
    fn a_missing_application_goes_offline_and_keeps_the_time_it_was_seen() {
        let known = known(
            (0..10)
                .map(|number| application(number, &format!("a_{number}"), None))
                .collect(),
        );
        let rest = (1..10)
            .map(|number| observed(&format!("a_{number}"), None))
            .collect();
        let change = applied(reconcile(&known, &report(rest), PollPolicy::default(), NOW));
        let gone = StatusChange {
            application: Key::new(0),
            status: ApplicationStatus::Offline,
            last_seen: Some(BEFORE),
        };
        assert_eq!(change.statuses, [gone]);
    }

    #[test]
    fn an_application_that_was_listed_as_stopped_vanishes_like_any_other_and_only_once() {
        let mut known = known(
            (0..10)
                .map(|number| application(number, &format!("a_{number}"), None))
                .collect(),
        );
        known.applications[0].observed.status = ApplicationStatus::Offline;
        let rest = || {
            report(
                (1..10)
                    .map(|number| observed(&format!("a_{number}"), None))
                    .collect(),
            )
        };
        let change = applied(reconcile(&known, &rest(), PollPolicy::default(), NOW));
        assert_eq!(change.statuses.len(), 1);
        known.server = change.server;
        for application in &mut known.applications[1..] {
            application.last_seen = Some(NOW);
        }
        let again = applied(reconcile(
            &known,
            &rest(),
            PollPolicy::default(),
            NOW.after(std::time::Duration::from_secs(1)),
        ));
        assert!(again.is_quiet(), "{again:?}");
    }

    #[test]
    fn an_application_that_comes_back_as_it_left_is_seen_again() {
        let mut known = known(vec![application(1, "a_1", None)]);
        known.applications[0].last_seen = Some(Timestamp::EPOCH);
        let report = report(vec![observed("a_1", None)]);
        let change = applied(reconcile(&known, &report, PollPolicy::default(), NOW));
        assert_eq!(change.upserts.len(), 1);
    }

    #[test]
    fn an_answer_that_takes_too_much_away_is_held_once() {
        let mut known = known(
            (0..4)
                .map(|number| application(number, &format!("a_{number}"), None))
                .collect(),
        );
        let Reconciled::Hold(held, reason) =
            reconcile(&known, &report(Vec::new()), PollPolicy::default(), NOW)
        else {
            panic!("applied")
        };
        assert!(held.is_quiet() && reason.contains("4 of 4"), "{reason}");
        known.server = held.server;
        let change = applied(reconcile(
            &known,
            &report(Vec::new()),
            PollPolicy::default(),
            NOW,
        ));
        assert_eq!(change.statuses.len(), 4);
        assert_eq!(change.server.suspect, None);
    }

    #[test]
    fn a_different_answer_after_a_held_one_is_held_again() {
        let mut known = known(
            (0..4)
                .map(|number| application(number, &format!("a_{number}"), None))
                .collect(),
        );
        let Reconciled::Hold(held, _) =
            reconcile(&known, &report(Vec::new()), PollPolicy::default(), NOW)
        else {
            panic!("applied")
        };
        known.server = held.server;
        let other = report(vec![observed("a_1", None)]);
        assert!(matches!(
            reconcile(&known, &other, PollPolicy::default(), NOW),
            Reconciled::Hold(..)
        ));
    }

    #[test]
    fn a_held_answer_is_forgotten_when_the_next_poll_fails() {
        let mut known = known(
            (0..4)
                .map(|number| application(number, &format!("a_{number}"), None))
                .collect(),
        );
        let none = report(Vec::new());
        let Reconciled::Hold(held, _) = reconcile(&known, &none, PollPolicy::default(), NOW) else {
            panic!("applied")
        };
        known.server = held.server;
        for failed in [
            unreachable(&known, "refused", PollPolicy::default(), NOW),
            unreadable(&known, "no JSON", PollPolicy::default(), NOW),
        ] {
            known.server = failed.server;
            assert!(matches!(
                reconcile(&known, &none, PollPolicy::default(), NOW),
                Reconciled::Hold(..)
            ));
        }
    }

    #[test]
    fn a_server_is_offline_only_after_enough_failures() {
        let mut known = known(vec![application(1, "a_1", None)]);
        let first = unreachable(&known, "refused", PollPolicy::default(), NOW);
        assert!(first.is_quiet() && first.server.status == ServerStatus::Online);
        known.server = first.server;
        let second = unreachable(&known, "refused", PollPolicy::default(), NOW);
        assert_eq!(second.server.status, ServerStatus::Offline);
        assert_eq!(
            second.statuses.first().map(|change| change.status),
            Some(ApplicationStatus::NoData)
        );
        assert_eq!(
            second.events.first().map(|event| event.kind),
            Some(EventKind::Disconnect)
        );
        known.server = second.server;
        let third = unreachable(&known, "refused", PollPolicy::default(), NOW);
        assert_eq!(third.events, []);
        let back = applied(reconcile(
            &known,
            &report(vec![observed("a_1", None)]),
            PollPolicy::default(),
            NOW,
        ));
        assert_eq!(
            back.events.first().map(|event| event.kind),
            Some(EventKind::Connect)
        );
    }

    #[test]
    fn an_unreadable_inventory_changes_no_application() {
        let change = unreadable(
            &known(vec![application(1, "a_1", None)]),
            "not JSON",
            PollPolicy::default(),
            NOW,
        );
        assert!(change.is_quiet());
        assert_eq!(change.server.last_error.as_deref(), Some("not JSON"));
        assert_eq!(change.server.inventory_at, Some(BEFORE));
    }

    #[test]
    fn a_server_without_an_inventory_ages_to_no_data_and_says_so_once() {
        let mut known = known(vec![application(1, "a_1", None)]);
        let policy = PollPolicy {
            no_data_after: 3,
            ..PollPolicy::default()
        };
        for poll in 1..=2 {
            let change = unreadable(&known, "no answer within 1 s", policy, NOW);
            assert!(change.is_quiet(), "poll {poll}: {change:?}");
            known.server = change.server;
        }
        let third = unreadable(&known, "no answer within 1 s", policy, NOW);
        let statuses: Vec<_> = third.statuses.iter().map(|change| change.status).collect();
        assert_eq!(statuses, [ApplicationStatus::NoData]);
        assert_eq!(
            third.server.last_error.as_deref(),
            Some("no inventory in 3 polls, so its applications have no data: no answer within 1 s")
        );
        assert_eq!(third.server.status, ServerStatus::Online);
        let [event] = third.events.as_slice() else {
            panic!("{third:?}")
        };
        assert!(
            event
                .description
                .contains("answers, but no inventory in 3 polls"),
            "{event:?}"
        );
        known.server = third.server;
        known.applications[0].observed.status = ApplicationStatus::NoData;
        let fourth = unreadable(&known, "no answer within 1 s", policy, NOW);
        assert!(fourth.is_quiet());

        known.server = fourth.server;
        let back = applied(reconcile(
            &known,
            &report(vec![observed("a_1", None)]),
            policy,
            NOW,
        ));
        assert_eq!(back.server.inventory_failures, 0);
        assert_eq!(back.upserts.len(), 1);
        let [event] = back.events.as_slice() else {
            panic!("{back:?}")
        };
        assert!(
            event.description.contains("lists its applications again"),
            "{event:?}"
        );
    }

    #[test]
    fn an_inventory_between_unreadable_ones_starts_the_count_again() {
        let mut known = known(vec![application(1, "a_1", None)]);
        let policy = PollPolicy {
            no_data_after: 2,
            ..PollPolicy::default()
        };
        known.server = unreadable(&known, "no JSON", policy, NOW).server;
        let answer = report(vec![observed("a_1", None)]);
        let change = applied(reconcile(&known, &answer, policy, NOW));
        assert_eq!(change.events, []);
        known.server = change.server;
        assert!(unreadable(&known, "no JSON", policy, NOW).is_quiet());
    }

    #[test]
    fn an_answer_with_unread_entries_takes_nothing_away_the_first_time() {
        let mut known = known(
            (0..10)
                .map(|number| application(number, &format!("a_{number}"), None))
                .collect(),
        );
        let partial = InventoryReport {
            is_partial: true,
            ..report(
                (1..10)
                    .map(|number| observed(&format!("a_{number}"), None))
                    .collect(),
            )
        };
        let policy = PollPolicy::default();
        let Reconciled::Hold(held, reason) = reconcile(&known, &partial, policy, NOW) else {
            panic!("applied")
        };
        assert!(
            reason.contains("not all that it lists can be read"),
            "{reason}"
        );
        known.server = held.server;
        let change = applied(reconcile(&known, &partial, policy, NOW));
        assert_eq!(change.statuses.len(), 1);
    }

    #[test]
    fn a_new_name_makes_a_group_only_when_it_stays() {
        let mut known = known(Vec::new());
        let answer = report(vec![observed("a_1", None)]);
        let make = |known: &KnownInventory| {
            let change = applied(reconcile(known, &answer, PollPolicy::default(), NOW));
            let [upsert] = change.upserts.as_slice() else {
                panic!("{change:?}")
            };
            upsert.resolution.as_ref().unwrap().make
        };
        assert!(!make(&known));
        known.applications.push(Application {
            catalog: None,
            group: None,
            ..application(1, "a_1", None)
        });
        assert!(make(&known));
    }

    #[test]
    fn what_a_new_server_lists_first_makes_groups_at_once() {
        let known = KnownInventory {
            server: Server {
                inventory_at: None,
                ..server(ServerStatus::Unknown)
            },
            applications: Vec::new(),
            gone: 0,
        };
        let answer = report(vec![observed("a_1", None)]);
        let change = applied(reconcile(&known, &answer, PollPolicy::default(), NOW));
        assert!(change.upserts[0].resolution.as_ref().unwrap().make);
    }

    #[test]
    fn what_is_proposed_to_a_group_is_not_resolved_again() {
        let mut known = known(vec![application(1, "a_1", None)]);
        known.applications[0].proposed = known.applications[0].group.take();
        let answer = report(vec![observed("a_1", None)]);
        assert!(applied(reconcile(&known, &answer, PollPolicy::default(), NOW)).is_quiet());
    }

    #[test]
    fn more_names_than_are_kept_of_one_server_push_out_the_ones_gone_longest() {
        let mut known = known(vec![application(1, "a_1", None)]);
        known.gone = KNOWN_PER_SERVER_MAX - 2;
        let names = ["a_1", "b_1", "c_1", "d_1"];
        let answer = report(names.map(|name| observed(name, None)).to_vec());
        let change = applied(reconcile(&known, &answer, PollPolicy::default(), NOW));
        assert_eq!(change.forget, 2);
        let complaint = change.server.last_error.unwrap();
        assert!(
            complaint.contains("more than 20000 applications"),
            "{complaint}"
        );
    }

    proptest! {
        /// Whatever is reported, reporting it again right after changes nothing more.
        #[test]
        fn applying_a_report_twice_is_quiet(names in proptest::collection::btree_set("[a-z]{1,6}_[0-9]", 0..20)) {
            let empty = known(Vec::new());
            let report = report(names.iter().map(|name| observed(name, Some("1"))).collect());
            let change = applied(reconcile(&empty, &report, PollPolicy::default(), NOW));
            let applications = change.upserts.iter().enumerate().map(|(index, upsert)| Application {
                observed: upsert.observed.clone(),
                last_seen: change.server.inventory_at,
                ..application(i64::try_from(index).unwrap(), "", None)
            }).collect();
            let known = KnownInventory { server: change.server, applications, gone: 0 };
            let again = applied(reconcile(&known, &report, PollPolicy::default(), NOW));
            prop_assert!(again.is_quiet());
        }
    }
}
