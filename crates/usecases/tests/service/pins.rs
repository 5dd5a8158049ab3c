//! Pins of servers in HAProxy, over an HAProxy that forgets them in a reload.

use std::time::Duration;

use drover_domain::haproxy::action::{ActionStatus, HaproxyAction};
use drover_domain::haproxy::{AdminState, HaproxyServer, ObservedProcess};
use drover_domain::page::PageRequest;
use drover_ports::{ActionFilter, ActionView, HaproxyStore};

use crate::actions::{SECOND, Scene, set};

const HOUR: Duration = Duration::from_hours(1);

impl Scene {
    async fn server(&self, number: usize) -> HaproxyServer {
        let store: &dyn HaproxyStore = &self.harness.store;
        let known = store.load(self.instance).await.unwrap().unwrap();
        known.servers[number - 1].clone()
    }

    async fn sync(&self) {
        let actions = &self.harness.service.actions;
        let synced = actions.sync(self.instance).await.unwrap();
        assert!(synced.is_some());
    }

    /// HAProxy is this process, with this uptime.
    fn runs(&self, pid: u32, uptime: Duration) {
        self.harness.agents.change(&self.agent, |sight| {
            let process = ObservedProcess { pid, uptime };
            sight.processes.insert("default".to_owned(), process);
        });
    }

    fn shows(&self, word: &str, bits: u32) {
        self.harness.agents.change(&self.agent, |sight| {
            set(sight, "s1_a_1", word, Some(bits), Some(0));
        });
    }

    /// A new process that knows nothing of what was asked before.
    async fn reload(&self, pid: u32) {
        self.harness.clock.advance(HOUR);
        self.runs(pid, SECOND * 10);
        self.shows("UP", 0);
        self.sync().await;
    }

    async fn latest(&self) -> HaproxyAction {
        let view: &dyn ActionView = &self.harness.store;
        let server = Some(self.servers[0]);
        let filter = ActionFilter {
            server,
            ..ActionFilter::default()
        };
        let mut listed = view.list(&filter, PageRequest::first()).await.unwrap();
        listed.items.remove(0).1
    }

    async fn drained() -> Self {
        let scene = Self::new().await;
        scene.runs(7, HOUR);
        scene.sync().await;
        let mut order = scene.order(1, AdminState::Drain);
        order.request.reason = Some("new disks".to_owned());
        order.request.pin_for = Some(HOUR * 10);
        let action = scene.carry_out(order).await;
        assert_eq!(action.status, ActionStatus::Success);
        scene
    }

    /// What was done by itself.
    async fn restored(&self) -> HaproxyAction {
        let worker = self.harness.work("w2");
        let action = self.until_over(self.latest().await.id).await;
        worker.stop().await;
        assert!(action.request.restores, "{action:?}");
        action
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_reload_forgot_is_said_again_in_the_name_of_its_owner() {
    let scene = Scene::drained().await;
    let pin = scene.server(1).await.pin.unwrap();
    assert_eq!((pin.state, pin.owner.as_str()), (AdminState::Drain, "ann"));
    for pid in [8, 9] {
        scene.reload(pid).await;
        let restored = scene.restored().await;
        assert_eq!(restored.status, ActionStatus::Success, "{restored:?}");
        assert_eq!(restored.origin.actor, "drover");
        assert_eq!(restored.request.reason.as_deref(), Some("new disks"));
        let server = scene.server(1).await;
        assert_eq!(server.observed.word.as_str(), "DRAIN");
        assert_eq!(server.pin.as_ref(), Some(&pin));
    }
    assert_eq!(scene.states(), [AdminState::Drain; 3]);
    // To the same process it is said once, whatever becomes of it.
    scene.shows("UP", 0);
    scene.sync().await;
    scene.sync().await;
    assert_eq!(scene.latest().await.status, ActionStatus::Success);
    let server = scene.server(1).await;
    assert!(server.pin.unwrap().differs_from(&server.observed));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changed_at_haproxy_is_left_alone() {
    let scene = Scene::drained().await;
    scene.harness.clock.advance(HOUR);
    scene.runs(7, HOUR * 2);
    scene.shows("UP", 0);
    scene.sync().await;
    assert!(!scene.latest().await.request.restores);
    let server = scene.server(1).await;
    assert!(server.pin.unwrap().differs_from(&server.observed));
}

#[tokio::test(start_paused = true)]
async fn who_returned_a_server_meanwhile_is_not_overruled() {
    let scene = Scene::drained().await;
    let returned = scene.ask(scene.order(1, AdminState::Ready)).await;
    scene.reload(8).await;
    let restored = scene.restored().await;
    let failure = restored.end.unwrap().failure.unwrap();
    assert_eq!(failure.0, "superseded");
    assert_eq!(
        scene.until_over(returned).await.status,
        ActionStatus::Success
    );
    assert_eq!(scene.states(), [AdminState::Drain]);
    assert_eq!(scene.server(1).await.pin, None);
}

#[tokio::test(start_paused = true)]
async fn a_pin_that_ended_is_not_applied_again() {
    let scene = Scene::drained().await;
    scene.harness.clock.advance(HOUR * 10);
    scene.reload(8).await;
    assert!(!scene.latest().await.request.restores);
    assert_eq!(scene.server(1).await.pin, None);
}

#[tokio::test(start_paused = true)]
async fn the_last_servers_are_not_drained_by_themselves_either() {
    let scene = Scene::drained().await;
    for name in ["s2_a_1", "s3_a_1"] {
        scene.harness.agents.change(&scene.agent, |sight| {
            set(sight, name, "DOWN", Some(0), Some(0));
        });
    }
    scene.reload(8).await;
    assert!(!scene.latest().await.request.restores);
    assert_eq!(scene.states(), [AdminState::Drain]);
}
