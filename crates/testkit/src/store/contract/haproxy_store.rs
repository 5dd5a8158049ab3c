//! What [`HaproxyStore`](drover_ports::HaproxyStore) promises.

use std::time::Duration;

use drover_domain::Key;
use drover_domain::fleet::{ApplicationKey, Network, NewServer, ObservedApplication, ServerKey};
use drover_domain::haproxy::action::{ActionEnd, Evidence};
use drover_domain::haproxy::sync::{
    self, KnownHaproxy, ObservedBackends, ServerUpsert, ShownServers, SyncChange,
};
use drover_domain::haproxy::{
    FetchStatus, HaproxyInstanceKey, HaproxyProcess, HaproxyServer, HaproxyServerKey, MappingBasis,
    MappingCandidate, ObservedServer, ServerRole, Tracker,
};
use drover_domain::workflow::Json;
use drover_domain::workflow::run::Outcome;
use drover_ports::NewMapping;

use crate::store::World;
use crate::store::fixtures::actions::{action_on, start_actions, take_action};
use crate::store::fixtures::mappings::unmapping;
use crate::store::fixtures::{
    HOSTILE, Updater, at, fleet, haproxy, haproxy_server, new_server, observed, poll,
    sync as synced, sync_once,
};

async fn node(world: &World) -> ServerKey {
    let server = NewServer::new("lb01", "10.0.0.2", 5001, true).unwrap();
    world.servers().add(&server, at(0)).await.unwrap().key
}

async fn discovered(
    world: &World,
    server: ServerKey,
    names: &[&str],
) -> Vec<(HaproxyInstanceKey, String)> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let instances = world
        .haproxy()
        .record_instances(server, &names, at(1))
        .await
        .unwrap();
    instances
        .into_iter()
        .map(|instance| (instance.key, instance.name))
        .collect()
}

async fn servers(world: &World, instance: HaproxyInstanceKey) -> Vec<HaproxyServer> {
    world
        .haproxy()
        .load(instance)
        .await
        .unwrap()
        .unwrap()
        .servers
}

async fn server(world: &World, instance: HaproxyInstanceKey, name: &str) -> HaproxyServer {
    servers(world, instance)
        .await
        .into_iter()
        .find(|server| server.observed.name == name)
        .unwrap()
}

fn mapping(
    server: HaproxyServerKey,
    application: ApplicationKey,
    basis: MappingBasis,
) -> NewMapping {
    NewMapping {
        server,
        application,
        basis,
        at: at(5),
        cause: None,
    }
}

async fn actions(world: &World) -> Vec<(ApplicationKey, String)> {
    let history = world.side_door().mapping_history().await;
    history
        .into_iter()
        .map(|(_, application, action)| (application, action))
        .collect()
}

contract! { $ haproxy_store => haproxy_store_contract for World;
    /// Discovered instances are active, new, and in the order of their names.
    async fn discovered_instances_are_active(world) {
        let node = node(world).await;
        let names = ["b".to_owned(), "a".to_owned(), "b".to_owned()];
        let instances = world.haproxy().record_instances(node, &names, at(1)).await.unwrap();
        assert_eq!(instances.iter().map(|instance| instance.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let first = &instances[0];
        assert_eq!((first.server, first.server_name.as_str(), first.is_active), (node, "lb01", true));
        assert_eq!((first.last_sync, first.last_sync_status, &first.last_sync_error), (None, FetchStatus::Unknown, &None));
        assert_eq!((first.observed_at, &first.version, first.backends), (None, &None, 0));
        assert_eq!(world.haproxy().active_instances(node).await.unwrap(), instances);
    }

    /// An instance that is no longer listed becomes inactive; one that returns has its old key.
    async fn a_returning_instance_keeps_its_key(world) {
        let node = node(world).await;
        let before = discovered(world, node, &["a", "b"]).await;
        assert_eq!(discovered(world, node, &["b"]).await, before[1..]);
        let left = world.haproxy().load(before[0].0).await.unwrap().unwrap();
        assert!(!left.instance.is_active);
        assert_eq!(discovered(world, node, &["a", "b"]).await, before);
    }

    /// The instances of one server are not those of another; a server that is not there has none.
    async fn instances_belong_to_their_server(world) {
        let node = node(world).await;
        let other = NewServer::new("lb02", "10.0.0.3", 5001, true).unwrap();
        let other = world.servers().add(&other, at(0)).await.unwrap().key;
        let first = discovered(world, node, &["default"]).await;
        let second = discovered(world, other, &["default"]).await;
        assert_ne!(first, second);
        assert_eq!(discovered(world, node, &["default"]).await, first);
        assert_eq!(discovered(world, Key::new(404), &["default"]).await, []);
        assert_eq!(world.haproxy().active_instances(Key::new(404)).await.unwrap(), []);
    }

    /// A server that is no HAProxy node has no instances, whatever its agent lists.
    async fn a_server_that_is_no_node_has_no_instances(world) {
        let plain = world.servers().add(&new_server("app01"), at(0)).await.unwrap().key;
        assert_eq!(discovered(world, plain, &["default"]).await, []);
        world.servers().set_haproxy_node(plain, true).await.unwrap();
        let found = discovered(world, plain, &["default"]).await;
        assert_eq!(found.len(), 1);
        world.servers().set_haproxy_node(plain, false).await.unwrap();
        assert_eq!(discovered(world, plain, &["default"]).await, []);
        world.servers().set_haproxy_node(plain, true).await.unwrap();
        assert_eq!(discovered(world, plain, &["default"]).await, found);
    }

    /// An instance that is not there is absent.
    async fn an_unknown_instance_is_absent(world) {
        assert_eq!(world.haproxy().load(Key::new(404)).await.unwrap(), None);
    }

    /// What a sync stored is loaded equal.
    async fn what_was_stored_is_loaded_equal(world) {
        let up = ObservedServer { check_status: Some(HOSTILE.to_owned()), ..haproxy_server("up", "UP 1/3") };
        let bare = ObservedServer {
            admin: None,
            sessions: None,
            old_sessions: None,
            queue: None,
            check_status: None,
            address: None,
            port: None,
            ..haproxy_server("bare", "MAINT")
        };
        // How many of its sessions are in old workers is not stored.
        let told = ObservedServer { old_sessions: Some(1), ..up.clone() };
        let instance = haproxy(world, "lb01", &[("be", &[told, bare.clone()]), ("empty", &[])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!((known.instance.last_sync, known.instance.last_sync_status), (Some(at(2)), FetchStatus::Success));
        assert_eq!(known.instance.backends, 2);
        let backend = known.backends.iter().find(|backend| backend.name == "be").unwrap();
        assert_eq!((backend.instance, backend.servers, backend.ready, backend.removed_at), (instance, 2, 1, None));
        assert_eq!((backend.last_fetch_status, &backend.last_fetch_error), (FetchStatus::Success, &None));
        for expected in [up, bare] {
            let stored = server(world, instance, &expected.name).await;
            assert_eq!((stored.backend, stored.last_seen, stored.removed_at), (backend.key, Some(at(2)), None));
            assert_eq!((stored.observed, stored.application), (expected, None));
        }
    }

    /// A quiet change is the instance's row and nothing else.
    async fn a_quiet_change_is_the_instances_row_only(world) {
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let before = world.haproxy().load(instance).await.unwrap().unwrap();
        world.haproxy().store(&sync::failed(&before.instance, HOSTILE, at(50))).await.unwrap();
        let after = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!((after.instance.last_sync, after.instance.last_sync_status), (Some(at(50)), FetchStatus::Failed));
        assert_eq!(after.instance.last_sync_error.as_deref(), Some(HOSTILE));
        assert_eq!((after.backends, after.servers), (before.backends, before.servers));
    }

    /// The process that was seen last is kept, also when an answer has none.
    async fn the_process_is_kept(world) {
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let mut known = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!(known.instance.process, None);
        known.instance.process = Some(HaproxyProcess { pid: u32::MAX, started_at: at(3) });
        world.haproxy().store(&sync::failed(&known.instance, "", at(4))).await.unwrap();
        synced(world, instance, &[("be", &[haproxy_server("srv1", "DOWN")])], at(5)).await;
        let after = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!(after.instance.process, known.instance.process);
    }

    /// A pin ends when its time is over, unless it was renewed since the sync looked.
    async fn a_pin_ends_with_its_time(world) {
        let shown = ["a", "b"].map(|name| haproxy_server(name, "DRAIN"));
        let instance = haproxy(world, "lb01", &[("be", &shown)]).await;
        let worker = Updater::open(world.queue(), 1).await;
        let pin = async |number, name: &str, seconds| {
            let mut new = action_on(number, &server(world, instance, name).await);
            new.action.request.pin_for = Some(Duration::from_secs(10));
            start_actions(world, &[new]).await;
            let claim = take_action(&worker).await;
            let end = ActionEnd { at: at(seconds), failure: None };
            world.actions().finish(&claim, &end, &Evidence::default(), Some(&haproxy_server(name, "DRAIN"))).await.unwrap();
            worker.report(&claim, Outcome::Succeeded { result: Json::null() }).await;
        };
        pin(1, "a", 100).await;
        pin(2, "b", 100).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let seen = [("be".to_owned(), Ok(shown.to_vec()))].into_iter().collect();
        let early = sync::reconcile(&known, &seen, None, at(109));
        assert_eq!((early.lapsed.clone(), early.is_quiet()), (vec![], true));
        let late = sync::reconcile(&known, &seen, None, at(110));
        assert_eq!(late.lapsed.len(), 2);
        pin(3, "b", 105).await;
        world.haproxy().store(&late).await.unwrap();
        assert_eq!(server(world, instance, "a").await.pin, None);
        let renewed = server(world, instance, "b").await.pin;
        assert_eq!(renewed.and_then(|pin| pin.until), Some(at(115)));
    }

    /// A backend and a server that return keep their keys.
    async fn what_returns_keeps_its_key(world) {
        let srv = [haproxy_server("srv1", "UP")];
        let instance = haproxy(world, "lb01", &[("be", &srv), ("other", &[])]).await;
        let before = world.haproxy().load(instance).await.unwrap().unwrap();
        synced(world, instance, &[("other", &[])], at(10)).await;
        let gone = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!((gone.backends.len(), gone.servers.len(), gone.instance.backends), (1, 0, 1));
        synced(world, instance, &[("be", &srv), ("other", &[])], at(20)).await;
        let back = world.haproxy().load(instance).await.unwrap().unwrap();
        let keys = |known: &KnownHaproxy| known.backends.iter().map(|backend| backend.key).collect::<Vec<_>>();
        assert_eq!(keys(&back), keys(&before));
        assert_eq!((back.servers[0].key, back.servers[0].removed_at), (before.servers[0].key, None));
    }

    /// With a backend its servers are gone, whether the change names them or not.
    async fn with_a_backend_its_servers_are_gone(world) {
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let change = SyncChange {
            removed_backends: vec![known.backends[0].key],
            at: at(10),
            ..sync::failed(&known.instance, "", at(10))
        };
        world.haproxy().store(&change).await.unwrap();
        assert_eq!(servers(world, instance).await, []);
    }

    /// What HAProxy does not list is missed once, and does not count then; when it is listed again, nothing was.
    async fn what_is_missed_once_is_shown_as_missed(world) {
        let both = ["srv1", "srv2"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &both)]).await;
        sync_once(world, instance, &[("be", &both[..1])], at(10)).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!(known.instance.last_sync_status, FetchStatus::Partial);
        assert_eq!((known.backends[0].servers, known.backends[0].ready), (2, 1));
        let missed = server(world, instance, "srv2").await;
        assert_eq!((missed.missed_at, missed.removed_at, missed.observed_at), (Some(at(10)), None, Some(at(2))));
        assert_eq!(server(world, instance, "srv1").await.observed_at, Some(at(10)));
        sync_once(world, instance, &[("be", &both)], at(20)).await;
        let back = server(world, instance, "srv2").await;
        assert_eq!((back.missed_at, back.key), (None, missed.key));
        sync_once(world, instance, &[], at(30)).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!((known.backends[0].missed_at, known.servers.len()), (Some(at(30)), 2));
        sync_once(world, instance, &[], at(40)).await;
        assert_eq!(servers(world, instance).await, []);
    }

    /// A reading of which not all was read, and what is known of a version and an age, are stored.
    async fn how_a_reading_went_is_stored(world) {
        let srv = [haproxy_server("srv1", "UP")];
        let instance = haproxy(world, "lb01", &[("be", &srv), ("other", &[])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let shown = ShownServers {
            servers: srv.to_vec(),
            is_partial: true,
            complaints: vec![HOSTILE.to_owned()],
        };
        let observed = ObservedBackends {
            backends: [("be".to_owned(), Ok(shown)), ("other".to_owned(), Err("timeout".to_owned()))].into(),
            version: Some("2.6.12".to_owned()),
            ..ObservedBackends::default()
        };
        world.haproxy().store(&sync::reconcile(&known, &observed, None, at(10))).await.unwrap();
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!(known.instance.last_sync_status, FetchStatus::Partial);
        assert_eq!((known.instance.version.as_deref(), known.instance.observed_at), (Some("2.6.12"), Some(at(10))));
        let found: Vec<_> = known.backends.iter().map(|backend| (backend.last_fetch_status, backend.observed_at)).collect();
        assert_eq!(found, [(FetchStatus::Partial, Some(at(10))), (FetchStatus::Failed, Some(at(2)))]);
        assert_eq!(known.backends[0].last_fetch_error.as_deref(), Some(HOSTILE));
        // What was not read stays as old as it was.
        let observed = ObservedBackends { backends: [("be".to_owned(), Err(String::new()))].into(), is_partial: true, ..ObservedBackends::default() };
        world.haproxy().store(&sync::reconcile(&known, &observed, None, at(20))).await.unwrap();
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        assert_eq!((known.instance.observed_at, known.backends[0].observed_at), (Some(at(20)), Some(at(10))));
    }

    /// Backups and servers of weight 0 take no requests beside others; what a server tracks is stored.
    async fn what_takes_requests_is_counted_by_the_rule(world) {
        let role = |role: ServerRole, name: &str, word: &str| ObservedServer { role, ..haproxy_server(name, word) };
        let backup = || ServerRole { is_backup: true, ..ServerRole::default() };
        let tracks = ServerRole { tracks: Some("be/a".to_owned()), has_agent_check: true, ..ServerRole::default() };
        let idle = ObservedServer { weight: 0, ..haproxy_server("idle", "UP") };
        let shown = [haproxy_server("a", "UP"), idle.clone(), role(backup(), "b", "UP"), role(backup(), "c", "UP")];
        let spare = [haproxy_server("a", "DOWN"), idle.clone(), role(backup(), "b", "UP"), role(backup(), "c", "no check")];
        let follower = role(tracks, "a", "UP");
        let instance = haproxy(world, "lb01", &[("be", &shown), ("idle", &[idle]), ("spare", &spare), ("t", std::slice::from_ref(&follower))]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let ready: Vec<_> = known.backends.iter().map(|backend| (backend.name.as_str(), backend.ready)).collect();
        assert_eq!(ready, [("be", 1), ("idle", 0), ("spare", 1), ("t", 1)]);
        let of_t = known.servers.iter().find(|server| server.observed.role.tracks.is_some()).unwrap();
        assert_eq!(of_t.observed, follower);
        let summary = world.haproxy_view().summary(1).await.unwrap();
        assert_eq!((summary.servers.up, summary.servers.standby, summary.servers.down), (2, 7, 1));
        let short: Vec<_> = summary.short_backends.iter().map(|backend| (backend.name.as_str(), backend.ready)).collect();
        assert_eq!(short, [("idle", 0)]);
        let target = world.actions().targets(&[known.servers[0].key]).await.unwrap().pop().unwrap();
        let expected = Tracker { backend: "t".to_owned(), server: "a".to_owned(), tracks: "be/a".to_owned() };
        assert_eq!(target.trackers, [expected]);
    }

    /// A server that HAProxy lists twice is stored once; the last counts.
    async fn the_last_of_two_servers_counts(world) {
        let instance = haproxy(world, "lb01", &[("be", &[])]).await;
        let known = world.haproxy().load(instance).await.unwrap().unwrap();
        let upsert = |word| ServerUpsert { backend: "be".to_owned(), observed: haproxy_server("srv1", word) };
        let change = SyncChange { servers: vec![upsert("UP"), upsert("DOWN")], ..sync::failed(&known.instance, "", at(3)) };
        world.haproxy().store(&change).await.unwrap();
        let stored = servers(world, instance).await;
        assert_eq!(stored.iter().map(|server| server.observed.word.as_str()).collect::<Vec<_>>(), ["DOWN"]);
    }

    /// Status changes get history rows, in their order.
    async fn status_changes_get_history_rows(world) {
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        assert_eq!(world.side_door().status_history().await, []);
        for word in ["DRAIN", "MAINT"] {
            synced(world, instance, &[("be", &[haproxy_server("srv1", word)])], at(10)).await;
        }
        let key = server(world, instance, "srv1").await.key;
        let row = |old: &str, new: &str| (key, old.to_owned(), new.to_owned());
        assert_eq!(world.side_door().status_history().await, [row("UP", "DRAIN"), row("DRAIN", "MAINT")]);
    }

    /// Only present servers without an active mapping are unmapped.
    async fn unmapped_servers_are_present_and_without_a_mapping(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let all = ["mapped", "free", "gone"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &all), ("dead", &[haproxy_server("x", "UP")])]).await;
        let mapped = server(world, instance, "mapped").await.key;
        world.haproxy().map(&[mapping(mapped, keys[0], MappingBasis::Name)]).await.unwrap();
        synced(world, instance, &[("be", &all[..2])], at(10)).await;
        let free = server(world, instance, "free").await;
        assert_eq!(world.haproxy().unmapped(Some(instance)).await.unwrap(), [free]);
    }

    /// Unmapped servers of all instances are those of active ones, by key.
    async fn unmapped_servers_of_all_instances_are_of_active_ones(world) {
        let srv = [haproxy_server("srv1", "UP")];
        let mut instances = Vec::new();
        for name in ["lb01", "lb02", "lb03"] {
            instances.push(haproxy(world, name, &[("be", &srv)]).await);
        }
        let gone = world.haproxy().load(instances[1]).await.unwrap().unwrap().instance.server;
        world.haproxy().record_instances(gone, &[], at(9)).await.unwrap();
        let expected = [server(world, instances[0], "srv1").await, server(world, instances[2], "srv1").await];
        assert_eq!(world.haproxy().unmapped(None).await.unwrap(), expected);
    }

    /// An excluded server is not mapped, nor offered for it, until the exclusion has ended.
    async fn an_excluded_server_is_not_mapped_by_rule(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let srv1 = server(world, instance, "srv1").await.key;
        world.mappings().unmap(&unmapping(srv1, true, at(6))).await.unwrap();
        for of in [Some(instance), None] {
            assert_eq!(world.haproxy().unmapped(of).await.unwrap(), []);
        }
        // Who looked before the exclusion comes too late.
        for basis in [MappingBasis::Address, MappingBasis::Name, MappingBasis::Manual] {
            assert_eq!(world.haproxy().map(&[mapping(srv1, keys[0], basis)]).await.unwrap(), 0);
        }
        let found = [mapping(srv1, keys[0], MappingBasis::Address)];
        assert_eq!(server(world, instance, "srv1").await.application, None);
        world.mappings().unmap(&unmapping(srv1, false, at(7))).await.unwrap();
        assert_eq!(world.haproxy().map(&found).await.unwrap(), 1);
        assert_eq!(server(world, instance, "srv1").await.application, Some(keys[0]));
    }

    /// Candidates are the applications that are present on a server, with what may count as an address of theirs.
    async fn candidates_are_present_and_come_with_their_server(world) {
        let networks = vec![Network::parse("10.7.0.0/16").unwrap()];
        let new = new_server("app01.example").with_networks(networks.clone());
        let server = world.servers().add(&new, at(0)).await.unwrap();
        let own = ObservedApplication {
            address: Some("10.7.7.7".to_owned()),
            port: Some(8080),
            ..observed("own", None)
        };
        let gone = observed("gone", None);
        poll(world, server.key, &[observed("bare", None), gone], at(1)).await;
        poll(world, server.key, &[observed("bare", None), own], at(2)).await;
        let applications = world.inventory().load(server.key).await.unwrap().unwrap().applications;
        let candidate = |place: usize, name: &str, address: Option<&str>, port| MappingCandidate {
            application: applications[place].key,
            name: name.to_owned(),
            server: server.key,
            server_name: "app01.example".to_owned(),
            server_address: "10.0.0.1".to_owned(),
            agent_ip: None,
            networks: networks.clone(),
            address: address.map(str::to_owned),
            port,
        };
        let expected = [candidate(0, "bare", None, None), candidate(1, "own", Some("10.7.7.7"), Some(8080))];
        assert_eq!(world.haproxy().candidates().await.unwrap(), expected);
    }

    /// Doubtful are the mappings by address whose application is reported at another address than its server's.
    async fn mappings_by_a_reported_address_are_doubtful(world) {
        let server = world.servers().add(&new_server("app01"), at(0)).await.unwrap();
        let at_address = |name: &str, address: Option<&str>| ObservedApplication {
            address: address.map(str::to_owned),
            port: Some(8080),
            ..observed(name, None)
        };
        let listed = [
            at_address("a", Some("10.7.7.7")),
            at_address("b", Some("10.0.0.1")),
            at_address("c", None),
            at_address("d", Some("10.7.7.8")),
            at_address("e", Some("10.7.7.9")),
        ];
        poll(world, server.key, &listed, at(1)).await;
        let applications = world.inventory().load(server.key).await.unwrap().unwrap().applications;
        let shown = ["s1", "s2", "s3", "s4", "s5"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &shown)]).await;
        let servers = world.haproxy().load(instance).await.unwrap().unwrap().servers;
        let bases = [MappingBasis::Address, MappingBasis::Address, MappingBasis::Address, MappingBasis::Name, MappingBasis::Manual];
        let mappings: Vec<NewMapping> = (0..5).map(|place| mapping(servers[place].key, applications[place].key, bases[place])).collect();
        world.haproxy().map(&mappings).await.unwrap();
        for of in [Some(instance), None] {
            let doubtful = world.haproxy().doubtful(of).await.unwrap();
            let found: Vec<_> = doubtful.iter().map(|found| (found.server, found.server_name.as_str(), found.candidate.name.as_str())).collect();
            assert_eq!(found, [(servers[0].key, "s1", "a")]);
        }
        assert_eq!(world.haproxy().doubtful(Some(Key::new(404))).await.unwrap(), []);
    }

    /// Only what is still active with this application, and not by hand, is ended; each with a history row.
    async fn mappings_by_rule_are_ended_once(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        let shown = ["srv1", "srv2"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &shown)]).await;
        let srv1 = server(world, instance, "srv1").await.key;
        let srv2 = server(world, instance, "srv2").await.key;
        let made = [mapping(srv1, keys[0], MappingBasis::Address), mapping(srv2, keys[1], MappingBasis::Manual)];
        world.haproxy().map(&made).await.unwrap();
        assert_eq!(world.haproxy().end(&[(srv1, keys[1]), (srv2, keys[1])], at(5), None).await.unwrap(), 0);
        for expected in [1, 0] {
            assert_eq!(world.haproxy().end(&[(srv1, keys[0])], at(5), None).await.unwrap(), expected);
        }
        assert_eq!(server(world, instance, "srv1").await.application, None);
        assert_eq!(server(world, instance, "srv2").await.application, Some(keys[1]));
        assert_eq!(actions(world).await.last(), Some(&(keys[0], "deactivated".to_owned())));
    }

    /// A mapping is active once it is made; making it again changes nothing.
    async fn a_mapping_is_made_once(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let srv1 = server(world, instance, "srv1").await.key;
        let mut made = Vec::new();
        for _ in 0..2 {
            made.push(world.haproxy().map(&[mapping(srv1, keys[0], MappingBasis::Name)]).await.unwrap());
        }
        assert_eq!(made, [1, 0]);
        assert_eq!(server(world, instance, "srv1").await.application, Some(keys[0]));
        assert_eq!(world.side_door().mapping_history().await, [(srv1, keys[0], "created".to_owned())]);
        world.haproxy().map(&[mapping(srv1, keys[0], MappingBasis::Address)]).await.unwrap();
        assert_eq!(actions(world).await.last(), Some(&(keys[0], "updated".to_owned())));
    }

    /// Another application takes the place of the one before; every step has a history row.
    async fn another_mapping_replaces_the_one_before(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let srv1 = server(world, instance, "srv1").await.key;
        for application in [keys[0], keys[1], keys[0]] {
            world.haproxy().map(&[mapping(srv1, application, MappingBasis::Address)]).await.unwrap();
            assert_eq!(server(world, instance, "srv1").await.application, Some(application));
        }
        let expected = [
            (keys[0], "created"),
            (keys[0], "deactivated"),
            (keys[1], "created"),
            (keys[1], "deactivated"),
            (keys[0], "activated"),
        ];
        assert_eq!(actions(world).await, expected.map(|(application, action)| (application, action.to_owned())));
    }

    /// A manual mapping stays until a person changes it.
    async fn a_manual_mapping_stays(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let srv1 = server(world, instance, "srv1").await.key;
        world.haproxy().map(&[mapping(srv1, keys[0], MappingBasis::Manual)]).await.unwrap();
        world.haproxy().map(&[mapping(srv1, keys[1], MappingBasis::Address)]).await.unwrap();
        assert_eq!(server(world, instance, "srv1").await.application, Some(keys[0]));
        assert_eq!(actions(world).await, [(keys[0], "created".to_owned())]);
        world.haproxy().map(&[mapping(srv1, keys[1], MappingBasis::Manual)]).await.unwrap();
        assert_eq!(server(world, instance, "srv1").await.application, Some(keys[1]));
    }

    /// One application may stand behind several servers; what is gone is passed over.
    async fn mappings_are_made_together(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let both = ["srv1", "srv2"].map(|name| haproxy_server(name, "UP"));
        let instance = haproxy(world, "lb01", &[("be", &both)]).await;
        let found = servers(world, instance).await;
        let wanted = [
            mapping(found[0].key, keys[0], MappingBasis::Name),
            mapping(found[1].key, keys[0], MappingBasis::Name),
            mapping(Key::new(404), keys[0], MappingBasis::Name),
        ];
        assert_eq!(world.haproxy().map(&wanted).await.unwrap(), 2);
        assert!(servers(world, instance).await.iter().all(|server| server.application == Some(keys[0])));
        world.haproxy().map(&[mapping(found[0].key, Key::new(404), MappingBasis::Address)]).await.unwrap();
        assert!(servers(world, instance).await.iter().all(|server| server.application == Some(keys[0])));
    }

    /// A removed server keeps its mapping for its return.
    async fn a_removed_server_keeps_its_mapping(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let srv = [haproxy_server("srv1", "UP")];
        let instance = haproxy(world, "lb01", &[("be", &srv)]).await;
        let srv1 = server(world, instance, "srv1").await.key;
        world.haproxy().map(&[mapping(srv1, keys[0], MappingBasis::Name)]).await.unwrap();
        synced(world, instance, &[("be", &[])], at(10)).await;
        synced(world, instance, &[("be", &srv)], at(20)).await;
        assert_eq!(server(world, instance, "srv1").await.application, Some(keys[0]));
    }

    /// Two that map one server at once leave one active mapping.
    async fn one_server_has_one_active_mapping_however_many_try(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1", "jurws_2"]).await;
        let instance = haproxy(world, "lb01", &[("be", &[haproxy_server("srv1", "UP")])]).await;
        let srv1 = server(world, instance, "srv1").await.key;
        let wanted = [[mapping(srv1, keys[0], MappingBasis::Name)], [mapping(srv1, keys[1], MappingBasis::Name)]];
        let (one, other) = tokio::join!(world.haproxy().map(&wanted[0]), world.haproxy().map(&wanted[1]));
        one.and(other).unwrap();
        assert!(server(world, instance, "srv1").await.application.is_some());
        assert_eq!(actions(world).await.len(), 3);
    }
}
