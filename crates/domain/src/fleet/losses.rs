//! How much of the fleet vanished lately: many agents that lose their applications at once have one cause, and it is
//! seldom that the applications are gone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::Timestamp;

use super::ServerKey;

/// What the polls of a process found gone within a window of time.
#[derive(Debug, Clone, Default)]
pub struct FleetLosses {
    listed: BTreeMap<ServerKey, usize>,
    lost: VecDeque<(Timestamp, ServerKey, usize)>,
    /// Since when the answers of a server are held.
    held: BTreeMap<ServerKey, Timestamp>,
}

impl FleetLosses {
    /// Records a believed answer: the server had `listed` applications, and `vanished` of them are gone. `Err` with the
    /// reason if, together with what other servers lost within `window`, more than `percent` of the fleet's applications
    /// would be gone; then the answer is not to be believed yet. After one more `window` it is.
    ///
    /// # Errors
    ///
    /// A sentence with the numbers.
    pub fn admit(
        &mut self,
        server: ServerKey,
        (listed, vanished): (usize, usize),
        percent: u32,
        window: Duration,
        now: Timestamp,
    ) -> Result<(), String> {
        self.lost
            .retain(|(at, _, _)| *at <= now && now.since(*at) < window);
        let others: BTreeMap<ServerKey, usize> = self
            .lost
            .iter()
            .filter(|(_, other, _)| *other != server)
            .fold(BTreeMap::new(), |mut sums, (_, other, count)| {
                *sums.entry(*other).or_default() += count;
                sums
            });
        let lost: usize = others.values().sum();
        let total: usize = self
            .listed
            .iter()
            .filter(|(other, _)| **other != server)
            .map(|(_, listed)| listed)
            .sum::<usize>()
            + lost
            + listed;
        let all = lost + vanished;
        let percent = usize::try_from(percent).unwrap_or(usize::MAX);
        let is_much =
            vanished > 0 && lost > 0 && all.saturating_mul(100) > total.saturating_mul(percent);
        let since = self.held.get(&server).filter(|since| **since <= now);
        let since = since.copied().unwrap_or(now);
        if is_much && now.since(since) < window {
            self.held.insert(server, since);
            return Err(format!(
                "{vanished} of {listed} applications of this server and {lost} of {} other servers vanished within {} s, \
                 more than {percent} % of the {total} in the fleet; held for at most that long",
                others.len(),
                window.as_secs(),
            ));
        }
        self.held.remove(&server);
        self.listed.insert(server, listed.saturating_sub(vanished));
        if vanished > 0 {
            self.lost.push_back((now, server, vanished));
        }
        Ok(())
    }

    /// The server is no longer in the fleet.
    pub fn forget(&mut self, server: ServerKey) {
        self.listed.remove(&server);
        self.held.remove(&server);
        self.lost.retain(|(_, other, _)| *other != server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    const WINDOW: Duration = Duration::from_mins(3);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000 * (1_000 + seconds))
    }

    /// Five servers with four applications each.
    fn fleet() -> FleetLosses {
        let mut losses = FleetLosses::default();
        for server in 1..=5 {
            losses
                .admit(Key::new(server), (4, 0), 20, WINDOW, at(0))
                .unwrap();
        }
        losses
    }

    #[test]
    fn one_server_alone_loses_what_it_says() {
        let mut losses = fleet();
        losses
            .admit(Key::new(1), (4, 4), 20, WINDOW, at(1))
            .unwrap();
        losses
            .admit(Key::new(1), (0, 0), 20, WINDOW, at(61))
            .unwrap();
    }

    #[test]
    fn servers_that_lose_more_than_a_fifth_of_the_fleet_together_are_held() {
        let mut losses = fleet();
        losses
            .admit(Key::new(1), (4, 3), 20, WINDOW, at(1))
            .unwrap();
        losses
            .admit(Key::new(2), (4, 1), 20, WINDOW, at(2))
            .unwrap();
        let refusal = losses
            .admit(Key::new(3), (4, 1), 20, WINDOW, at(3))
            .unwrap_err();
        assert!(
            refusal.contains("4 of 2 other servers") && refusal.contains("20 % of the 20"),
            "{refusal}"
        );
        // It is no loss yet, and others that lose nothing are believed.
        losses
            .admit(Key::new(4), (4, 0), 20, WINDOW, at(4))
            .unwrap();
    }

    #[test]
    fn small_losses_again_and_again_add_up() {
        let mut losses = fleet();
        losses
            .admit(Key::new(1), (4, 4), 20, WINDOW, at(0))
            .unwrap();
        assert!(
            losses
                .admit(Key::new(2), (4, 1), 20, WINDOW, at(60))
                .is_err()
        );
        assert!(
            losses
                .admit(Key::new(2), (4, 1), 20, WINDOW, at(179))
                .is_err()
        );
        losses
            .admit(Key::new(2), (4, 1), 20, WINDOW, at(180))
            .unwrap();
    }

    #[test]
    fn what_is_said_for_a_whole_window_is_believed() {
        let mut losses = fleet();
        for seconds in [0, 60, 120] {
            losses
                .admit(Key::new(1), (4, 1), 20, WINDOW, at(seconds))
                .unwrap();
        }
        for seconds in [121, 181, 241, 300] {
            assert!(
                losses
                    .admit(Key::new(2), (4, 4), 20, WINDOW, at(seconds))
                    .is_err()
            );
            losses
                .admit(Key::new(1), (4, 1), 20, WINDOW, at(seconds))
                .unwrap();
        }
        losses
            .admit(Key::new(2), (4, 4), 20, WINDOW, at(301))
            .unwrap();
    }

    #[test]
    fn a_clock_that_goes_back_holds_nothing_for_ever() {
        let mut losses = fleet();
        losses
            .admit(Key::new(1), (4, 4), 20, WINDOW, at(500))
            .unwrap();
        losses
            .admit(Key::new(2), (4, 4), 20, WINDOW, at(1))
            .unwrap();
    }

    #[test]
    fn a_removed_server_counts_no_longer() {
        let mut losses = fleet();
        losses
            .admit(Key::new(1), (4, 4), 20, WINDOW, at(1))
            .unwrap();
        losses.forget(Key::new(1));
        losses
            .admit(Key::new(2), (4, 4), 20, WINDOW, at(2))
            .unwrap();
    }
}
