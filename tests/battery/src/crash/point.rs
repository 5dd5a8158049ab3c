//! The points at which a worker can be made to end: before, during and after everything that commits or
//! has an effect. One table has all of them.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::time::{Instant, sleep};

use crate::model::chance::Chance;

macro_rules! places {
    (ports { $($port:ident => $port_word:literal,)+ } kinds { $($kind:ident => $kind_word:literal,)+ }) => {
        /// Where something commits or has an effect.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Place {
            $(
                #[doc = concat!("The method `", $port_word, "` of a store's port.")]
                $port,
            )+
            $(
                #[doc = concat!("The handler of the kind `", $kind_word, "`.")]
                $kind,
            )+
        }

        impl Place {
            #[cfg(test)]
            /// Every method of the engine's ports that commits.
            pub(crate) const PORTS: &'static [Self] = &[$(Self::$port),+];
            /// Every place.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$port,)+ $(Self::$kind),+];

            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$port => $port_word,)+
                    $(Self::$kind => $kind_word,)+
                }
            }
        }
    };
}

places! {
    ports {
        OpenLease => "open_lease",
        Heartbeat => "heartbeat",
        Claim => "claim",
        Report => "report",
        CloseLease => "close_lease",
        WakeDue => "wake_due",
        TakeOver => "take_over",
        Prune => "prune",
        Start => "start",
        Control => "control",
        Decide => "decide",
        Signal => "signal",
        Redrive => "redrive",
        PutDefinition => "put_definition",
        Limit => "limit",
        PutSchedule => "put_schedule",
        RemoveSchedule => "remove_schedule",
        Fire => "fire",
    }
    kinds {
        G1 => "g1",
        G2 => "g2",
        G3 => "g3",
        G4 => "g4",
        Undo => "undo",
    }
}

/// When, at a place. Of a handler: before it begins, between the beginning and the effect, between the
/// effect and the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    Before,
    During,
    After,
}

impl Moment {
    const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

/// A point at which a worker can be made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) place: Place,
    pub(crate) moment: Moment,
}

impl Point {
    /// Every point.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let at = |place: &Place| {
            Moment::ALL.map(|moment| Self {
                place: *place,
                moment,
            })
        };
        Place::ALL.iter().flat_map(at)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.place.as_str(), self.moment.as_str())
    }
}

/// A point, and which pass of it is the last one; written `claim.before:3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fuse {
    pub(crate) point: Point,
    pub(crate) pass: u32,
}

impl fmt::Display for Fuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.point, self.pass)
    }
}

impl FromStr for Fuse {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fuse = text.split_once(':').and_then(|(name, pass)| {
            let point = Point::all().find(|point| point.to_string() == name)?;
            let pass = pass.parse().ok()?;
            Some(Self { point, pass })
        });
        fuse.ok_or_else(|| anyhow::anyhow!("`{text}` is no point with the number of a pass"))
    }
}

/// A process that passes a point reports it here, and may not return.
#[derive(Debug)]
pub(crate) struct Points {
    fuse: Option<Fuse>,
    left: AtomicU32,
    // How long a call usually takes, and when to end during the next one.
    during: Mutex<(Duration, Chance)>,
}

impl Points {
    /// Points of a process that ends at the given one.
    pub(crate) fn new(fuse: Option<Fuse>) -> Self {
        let seed = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
        Self {
            fuse,
            left: AtomicU32::new(fuse.map_or(0, |fuse| fuse.pass)),
            during: Mutex::new((Duration::from_millis(2), Chance::new(seed))),
        }
    }

    /// Passes a point.
    pub(crate) fn pass(&self, place: Place, moment: Moment) {
        if self.burns(place, moment) {
            self.end();
        }
    }

    /// Makes a call, and passes the points around it.
    pub(crate) async fn call<T>(&self, place: Place, call: impl Future<Output = T> + Send) -> T {
        self.pass(place, Moment::Before);
        let answer = if self.burns(place, Moment::During) {
            self.race(call).await
        } else {
            call.await
        };
        self.pass(place, Moment::After);
        answer
    }

    // A call that is quicker than its fuse is survived; the next one has another.
    async fn race<T>(&self, call: impl Future<Output = T> + Send) -> T {
        let wait = {
            let mut during = self.during.lock().unwrap_or_else(PoisonError::into_inner);
            let (usual, chance) = &mut *during;
            let micros = usize::try_from(usual.as_micros()).unwrap_or(usize::MAX);
            Duration::from_micros(chance.below(micros.max(1)) as u64)
        };
        let begun = Instant::now();
        let answer = tokio::select! {
            biased;
            answer = call => answer,
            () = sleep(wait) => self.end(),
        };
        let mut during = self.during.lock().unwrap_or_else(PoisonError::into_inner);
        during.0 = (during.0 + begun.elapsed()) / 2;
        answer
    }

    fn burns(&self, place: Place, moment: Moment) -> bool {
        let is_here = self
            .fuse
            .is_some_and(|fuse| fuse.point == Point { place, moment });
        let count = |left: u32| Some(left.saturating_sub(1));
        is_here
            && self
                .left
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, count)
                .is_ok_and(|left| left <= 1)
    }

    /// Ends the process as `kill -9` does. The line before it is in the pipe already.
    fn end(&self) -> ! {
        if let Some(fuse) = self.fuse {
            let mut output = std::io::stdout().lock();
            let said = writeln!(output, "at {}", fuse.point).and_then(|()| output.flush());
            let _nobody_listens = said.is_err();
        }
        loop {
            let _it_ends_here = kill_process(getpid(), Signal::KILL).is_ok();
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The ports of the engine, and the methods of them that only read.
    const PORTS: [&str; 4] = [
        include_str!("../../../../crates/ports/src/workflow/queue.rs"),
        include_str!("../../../../crates/ports/src/workflow/upkeep.rs"),
        include_str!("../../../../crates/ports/src/workflow/runs.rs"),
        include_str!("../../../../crates/ports/src/workflow/registry.rs"),
    ];
    const READING: [&str; 5] = ["held", "find", "list", "stats", "due"];
    /// Upkeep of one row or of rows that nothing reads again, which no order of the plan brings about.
    const APART: [&str; 2] = ["prune_keys", "watch_clock"];

    #[test]
    fn every_method_of_the_ports_that_commits_has_its_points() {
        let methods = PORTS
            .iter()
            .flat_map(|source| source.split("async fn ").skip(1))
            .filter_map(|rest| rest.split('(').next());
        let left_out = |name: &str| READING.contains(&name) || APART.contains(&name);
        let mut found: Vec<&str> = methods.filter(|name| !left_out(name)).collect();
        // The two of these that have one name.
        let first = found.iter().position(|name| *name == "put").unwrap();
        found[first] = "put_definition";
        let found: BTreeSet<&str> = found
            .into_iter()
            .map(|name| match name {
                // Both write a schedule and share its points.
                "put" | "replace" => "put_schedule",
                "remove" => "remove_schedule",
                other => other,
            })
            .collect();
        let listed: BTreeSet<&str> = Place::PORTS.iter().map(|place| place.as_str()).collect();
        assert_eq!(found, listed, "left: the ports, right: the table");
    }

    #[test]
    fn a_fuse_reads_what_it_prints() {
        for point in Point::all() {
            let fuse = Fuse { point, pass: 7 };
            assert_eq!(fuse.to_string().parse::<Fuse>().unwrap(), fuse);
        }
        assert!("claim.before".parse::<Fuse>().is_err());
        assert!("claim.sometime:1".parse::<Fuse>().is_err());
    }
}
