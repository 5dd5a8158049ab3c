//! Tasks of kinds this process has no handler for.

use std::collections::HashMap;
use std::time::Duration;

use drover_domain::workflow::Kind;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
/// How many kinds are remembered; all further ones are left alone for the longest time.
const KINDS_MAX: usize = 1_000;

/// How long tasks of unknown kinds are kept before they are given back.
///
/// Given back at once, such a task would be claimed again at once, by the same process, for ever. A claim
/// cannot leave a kind out; so the task keeps its place under the queue's concurrency and is given back
/// after a while: 1 s, then twice as long each time, at most a minute. Others then have a head start on it
/// (see [`super::lanes`]).
#[derive(Debug, Default)]
pub(super) struct Strangers {
    kinds: HashMap<Kind, Seen>,
}

#[derive(Debug)]
struct Seen {
    wait: Duration,
    since: Instant,
}

impl Strangers {
    /// How long to keep a task of this kind.
    pub(super) fn meet(&mut self, kind: &Kind, now: Instant) -> Duration {
        if let Some(seen) = self.kinds.get_mut(kind) {
            if now >= seen.since + seen.wait {
                seen.wait = (seen.wait * 2).min(LONGEST);
                seen.since = now;
            }
            return seen.wait;
        }
        if self.kinds.len() >= KINDS_MAX {
            return LONGEST;
        }
        tracing::warn!(
            task.kind = %kind,
            "nothing here executes tasks of the kind `{kind}`; they are left to other workers"
        );
        let seen = Seen {
            wait: FIRST,
            since: now,
        };
        self.kinds.insert(kind.clone(), seen);
        FIRST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_left_alone_longer_each_time_it_comes_back() {
        let mut strangers = Strangers::default();
        let mut now = Instant::now();
        let kind = Kind::parse("unheard.of").unwrap();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = strangers.meet(&kind, now);
            // Another one of it at the same time waits as long.
            assert_eq!(strangers.meet(&kind, now), wait);
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut strangers = Strangers::default();
        let now = Instant::now();
        for number in 0..KINDS_MAX {
            let kind = Kind::parse(&format!("kind{number}")).unwrap();
            assert_eq!(strangers.meet(&kind, now), FIRST);
        }
        let one_more = Kind::parse("one.more").unwrap();
        assert_eq!(strangers.meet(&one_more, now), LONGEST);
        assert_eq!(strangers.kinds.len(), KINDS_MAX);
    }
}
