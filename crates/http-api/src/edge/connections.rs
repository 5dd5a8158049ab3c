//! The connections of one listener, and which of them gives way.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::EdgeLimits;

/// The connections of one listener.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: EdgeLimits,
    /// A permit is a connection whose socket is open.
    slots: Arc<Semaphore>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Connections without a request in hand. Those that never had one come first, and the longest wait is first among
    /// equals.
    waiting: BTreeMap<Turn, Waiting>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    has_asked: bool,
    since: u64,
}

#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    lost: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// For a header; it can lose its place.
    Waiting(Turn),
    /// A request is in hand, or its answer is not flushed, or the connection was upgraded.
    Busy,
    /// The answer is written as far as its body goes; the rest is in buffers.
    Flushing,
    /// It lost its place.
    Lost,
}

/// The place of one connection. It is free again when the last copy is dropped.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: Connections,
    address: IpAddr,
    state: Mutex<State>,
    lost: Arc<Notify>,
    _slot: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(limits: EdgeLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits,
                slots: Arc::new(Semaphore::new(
                    limits.connections.min(Semaphore::MAX_PERMITS),
                )),
                table: Mutex::default(),
            }),
        }
    }

    /// A place for a connection from `address`; waits until the connection that gives way is closed. `None` when every
    /// place, or every place of this address, has a request in hand.
    pub(super) async fn place(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let is_full_of_it = self.table().by_address.get(&address).copied().unwrap_or(0)
            >= self.shared.limits.per_address;
        if is_full_of_it && !self.evict(|waiting| waiting.address == address) {
            return None;
        }
        let slots = Arc::clone(&self.shared.slots);
        let slot = match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) if is_full_of_it || self.evict(|_| true) => slots.acquire_owned().await.ok()?,
            Err(_) => return None,
        };
        let mut table = self.table();
        *table.by_address.entry(address).or_default() += 1;
        let lost = Arc::<Notify>::default();
        let turn = table.wait(false, address, &lost);
        Some(Place(Arc::new(Inner {
            connections: self.clone(),
            address,
            state: Mutex::new(State::Waiting(turn)),
            lost,
            _slot: slot,
        })))
    }

    /// Takes the place of the connection that has waited longest, if one waits.
    pub(super) fn evict_oldest(&self) {
        self.evict(|_| true);
    }

    fn evict(&self, which: impl Fn(&Waiting) -> bool) -> bool {
        let mut table = self.table();
        let found = table.waiting.iter().find(|(_, waiting)| which(waiting));
        let Some(turn) = found.map(|(turn, _)| *turn) else {
            return false;
        };
        if let Some(waiting) = table.waiting.remove(&turn) {
            waiting.lost.notify_one();
        }
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn wait(&mut self, has_asked: bool, address: IpAddr, lost: &Arc<Notify>) -> Turn {
        self.next += 1;
        let turn = Turn {
            has_asked,
            since: self.next,
        };
        let lost = Arc::clone(lost);
        self.waiting.insert(turn, Waiting { address, lost });
        turn
    }
}

impl Place {
    /// A request begins. `false` when the place is lost: then nothing of the request may be done.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state();
        match *state {
            State::Waiting(turn) => {
                let is_ours = self.0.connections.table().waiting.remove(&turn).is_some();
                *state = if is_ours { State::Busy } else { State::Lost };
                is_ours
            }
            State::Busy | State::Flushing => {
                *state = State::Busy;
                true
            }
            State::Lost => false,
        }
    }

    /// The body of the answer is handed over.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        if *state == State::Busy {
            *state = State::Flushing;
        }
    }

    /// Everything that was written is with the kernel.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        if *state == State::Flushing {
            let mut table = self.0.connections.table();
            *state = State::Waiting(table.wait(true, self.0.address, &self.0.lost));
        }
    }

    /// Waits until another connection gets this place.
    pub(super) async fn lost(&self) {
        self.0.lost.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = *self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.connections.table();
        if let State::Waiting(turn) = state {
            table.waiting.remove(&turn);
        }
        if let Some(count) = table.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                table.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: one host has many of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn connections(connections: usize, per_address: usize) -> Connections {
        Connections::new(EdgeLimits {
            per_address,
            ..EdgeLimits::new(connections)
        })
    }

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn the_longest_silence_gives_way_and_requests_do_not() {
        let connections = connections(3, 3);
        let busy = connections.place(from(1)).await.unwrap();
        assert!(busy.begin());
        let older = connections.place(from(1)).await.unwrap();
        let newer = connections.place(from(2)).await.unwrap();
        let next = connections.place(from(3));
        tokio::pin!(next);
        assert!(
            next.as_mut().now_or_never().is_none(),
            "the older one is still open"
        );
        assert!(older.lost().now_or_never().is_some());
        assert!(newer.lost().now_or_never().is_none());
        assert!(!older.begin(), "a request on a lost place has no effect");
        drop(older);
        let next = next.await.unwrap();
        assert!(next.begin() && newer.begin());
        assert!(connections.place(from(4)).await.is_none());
        // It is idle only when the answer is flushed, and then it gives way.
        busy.answered();
        assert!(connections.place(from(4)).now_or_never().unwrap().is_none());
        busy.flushed();
        assert!(connections.place(from(4)).now_or_never().is_none());
        assert!(busy.lost().now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_never_asked_gives_way_before_who_did() {
        let connections = connections(2, 2);
        let asked = connections.place(from(1)).await.unwrap();
        assert!(asked.begin());
        asked.answered();
        asked.flushed();
        let silent = connections.place(from(1)).await.unwrap();
        assert!(connections.place(from(2)).now_or_never().is_none());
        assert!(silent.lost().now_or_never().is_some());
        assert!(asked.lost().now_or_never().is_none());
    }

    #[tokio::test]
    async fn one_address_displaces_its_own_connections_only() {
        let connections = connections(4, 2);
        let stranger = connections.place(from(9)).await.unwrap();
        let first = connections.place(from(1)).await.unwrap();
        let second = connections.place(from(1)).await.unwrap();
        let third = connections.place(from(1)).await.unwrap();
        assert!(first.lost().now_or_never().is_some());
        assert!(stranger.lost().now_or_never().is_none());
        drop(first);
        assert!(second.begin() && third.begin());
        assert!(connections.place(from(1)).await.is_none());
        assert!(connections.place(from(2)).await.is_some());
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), from(1));
    }
}
