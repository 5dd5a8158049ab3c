//! What strikes: kills at random moments, kills at every point, and a PostgreSQL that breaks off.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use drover_domain::Timestamp;
use drover_domain::workflow::EventKind;
use drover_ports::Clock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::check::Sin;
use super::super::clock::SystemClock;
use super::super::order::Order;
use super::super::plan::Plan;
use super::super::point::{Fuse, Place, Point};
use super::{Driver, tell_people};
use crate::model::chance::Chance;

/// How many workers wait for their points at once; the others are killed at random.
const FUSES_MAX: usize = 2;
/// How long a worker may take to its point.
const FUSE_MAX: Duration = Duration::from_secs(4);
/// How long it waits for its point before there is more for it to do.
const PATIENT: Duration = Duration::from_millis(500);
/// How often people ask for what they ask for again and again.
const WISHES: Duration = Duration::from_millis(700);
/// How often progress is printed.
const TELL: Duration = Duration::from_secs(5);
/// How many percent of the tasks are there while workers are killed.
const KILL_SHARE: usize = 80;
/// How many workflows may be open before no more are started.
const OPEN_MAX: usize = 150;
/// How soon work must go on when PostgreSQL is there again.
const RESUME_MAX: Duration = Duration::from_secs(10);

/// What has struck, and what is to strike.
#[derive(Debug)]
pub(super) struct Strikes {
    /// Points at which no process has ended yet.
    left: VecDeque<Point>,
    pub(super) covered: usize,
    /// Points that no process reached in time, and that were tried again.
    pub(super) missed: Vec<String>,
    pub(super) random: u32,
    /// After how long work went on, each time PostgreSQL was there again.
    pub(super) resumed: Vec<Duration>,
    /// How long PostgreSQL was away each time.
    pub(super) away: Vec<Duration>,
    is_over: bool,
    tell_at: Instant,
    feed_at: Instant,
    wish_at: Instant,
    wishes: u64,
}

impl Strikes {
    pub(super) fn new(seed: u64) -> Self {
        let (mut points, mut chance) = (Point::all().collect::<Vec<_>>(), Chance::new(seed));
        let mut left = VecDeque::new();
        while !points.is_empty() {
            let at = chance.below(points.len());
            left.push_back(points.swap_remove(at));
        }
        Self {
            left,
            covered: 0,
            missed: Vec::new(),
            random: 0,
            resumed: Vec::new(),
            away: Vec::new(),
            is_over: false,
            tell_at: Instant::now(),
            feed_at: Instant::now(),
            wish_at: Instant::now(),
            wishes: 0,
        }
    }

    /// How many points there are.
    pub(super) fn points() -> usize {
        Point::all().count()
    }
}

impl Driver {
    /// Kills workers, one after the other, until each point and enough moments had their turn.
    pub(super) async fn kill(&mut self) -> Result<()> {
        let all = self.arguments.kills as usize + Strikes::points();
        let tasks = self.arguments.tasks * KILL_SHARE / 100;
        let mut next = Instant::now() + self.until_next_kill();
        loop {
            let done = self.strikes.random as usize + self.strikes.covered;
            let is_armed = self.crew.slots.iter().any(|slot| slot.fuse.is_some());
            if self.strikes.random >= self.arguments.kills
                && self.strikes.left.is_empty()
                && !is_armed
            {
                break;
            }
            // There is work until the last one, and no kill is wasted on idle workers.
            let is_worth_it = self.start_until(tasks * (done + 2) / all.max(1));
            self.feed_the_hungry();
            self.turn().await?;
            self.wish()?;
            self.see_to_fuses().await;
            if Instant::now() > self.strikes.tell_at {
                self.tell_strikes();
            }
            if Instant::now() > next && is_worth_it && self.is_time_for_random() {
                self.kill_somebody();
                next = Instant::now() + self.until_next_kill();
            }
        }
        self.strikes.is_over = true;
        self.start_until(tasks);
        Ok(())
    }

    fn tell_strikes(&mut self) {
        self.strikes.tell_at = Instant::now() + TELL;
        tell_people(&format!(
            "{} kills at random, {} of {} points, {} tasks asked for, {} workflows go on",
            self.strikes.random,
            self.strikes.covered,
            Strikes::points(),
            self.desk.tasks,
            self.watch.going_on(),
        ));
    }

    // Kills at random and at points keep step with each other.
    fn is_time_for_random(&self) -> bool {
        let kills = self.arguments.kills as usize;
        let random = self.strikes.random as usize;
        random < kills && random * Strikes::points() <= (self.strikes.covered + 3) * kills
    }

    fn is_time_for_fuse(&self) -> bool {
        let kills = self.arguments.kills as usize;
        let ahead = self.strikes.random as usize + 5;
        !self.strikes.is_over && self.strikes.covered * kills <= ahead * Strikes::points()
    }

    // A worker that has waited for its point with nothing to do gets something, beyond what was planned.
    fn feed_the_hungry(&mut self) {
        let is_idle = self.watch.going_on() < 5 && self.desk.is_idle();
        let is_hungry = self
            .crew
            .slots
            .iter()
            .any(|slot| slot.is_ready && slot.fuse.is_some() && slot.begun.elapsed() > PATIENT);
        if is_idle && is_hungry && Instant::now() > self.strikes.feed_at {
            self.strikes.feed_at = Instant::now() + PATIENT / 5;
            self.desk.start_until(self.desk.tasks + 1, 8);
        }
    }

    fn until_next_kill(&mut self) -> Duration {
        Duration::from_millis(50 + self.chance.below(450) as u64)
    }

    // Whether so many tasks have been asked for.
    fn start_until(&mut self, tasks: usize) -> bool {
        if self.watch.going_on() < OPEN_MAX {
            let per_call = 1 + self.chance.below(8) as u64;
            self.desk.start_until(tasks, per_call);
        }
        self.desk.tasks >= tasks
    }

    fn kill_somebody(&mut self) {
        let slots = self.crew.slots.iter().enumerate();
        let able = slots.filter(|(_, slot)| slot.fuse.is_none() && !slot.is_doomed);
        let able: Vec<usize> = able.map(|(at, _)| at).collect();
        if let Some(at) = self.chance.among(&able).copied() {
            self.crew.kill(at);
            self.strikes.random += 1;
        }
    }

    /// A worker is gone: another one takes its place at once.
    pub(super) fn replace(&mut self, at: usize, status: ExitStatus) -> Result<()> {
        self.crew.gone(at, status, &mut self.desk);
        let Some(slot) = self.crew.slots.get_mut(at) else {
            return Ok(());
        };
        if let Some(fuse) = slot.fuse.take() {
            if slot.has_burnt {
                self.strikes.covered += 1;
            } else {
                self.strikes.missed.push(fuse.point.to_string());
                self.strikes.left.push_back(fuse.point);
            }
        }
        if self.crew.is_finishing {
            return Ok(());
        }
        let fuse = self.next_fuse();
        self.crew.restart(at, fuse)
    }

    fn next_fuse(&mut self) -> Option<Fuse> {
        let armed = self.crew.slots.iter().filter(|slot| slot.fuse.is_some());
        if armed.count() >= FUSES_MAX || !self.is_time_for_fuse() {
            return None;
        }
        let point = self.strikes.left.pop_front()?;
        // What happens often is struck in the middle of things, not only at the start.
        let pass = match point.place {
            Place::Claim
            | Place::Report
            | Place::WakeDue
            | Place::TakeOver
            | Place::G1
            | Place::G2
            | Place::G3
                if self.strikes.missed.is_empty() =>
            {
                1 + self.chance.below(6)
            }
            _ => 1,
        };
        let pass = u32::try_from(pass).unwrap_or(1);
        Some(Fuse { point, pass })
    }

    async fn see_to_fuses(&mut self) {
        for at in 0..self.crew.slots.len() {
            let Some(slot) = self.crew.slots.get(at) else {
                continue;
            };
            let Some(fuse) = slot.fuse else { continue };
            let waited = slot.begun.elapsed();
            if waited > FUSE_MAX && !slot.is_doomed {
                self.crew.kill(at);
                continue;
            }
            if slot.is_ready && !slot.is_doomed {
                self.provoke(at, fuse.point.place, waited).await;
            }
        }
    }

    // Brings a worker to its point, where the point is not on everybody's way.
    async fn provoke(&mut self, at: usize, place: Place, waited: Duration) {
        self.strikes.wishes += 1;
        let number = self.strikes.wishes;
        let order = match place {
            Place::CloseLease if waited > Duration::from_millis(300) => {
                return self.crew.stop(at).await;
            }
            Place::Prune => Order::Prune,
            Place::Redrive => Order::Redrive,
            Place::PutDefinition => Order::Define {
                name: "versions".to_owned(),
                version: number,
            },
            Place::Limit => Order::Limit { concurrency: 4 },
            Place::PutSchedule => self.schedule(),
            Place::RemoveSchedule => Order::Unschedule { number: 1_000_000 },
            // Where nothing of the kind comes up by itself.
            Place::Decide if waited > FUSE_MAX / 2 => Order::Decide {
                task: Plan::id(0).task(drover_domain::workflow::TaskNo::FIRST),
                verdict: super::super::order::Verdict::Succeeded,
            },
            Place::Control if waited > FUSE_MAX / 2 => Order::Resume { number: 0 },
            _ => return,
        };
        let is_asked = self
            .crew
            .slots
            .get(at)
            .is_some_and(|slot| slot.is_asked(place));
        if !is_asked {
            let asked = self.desk.number(order);
            self.crew.give(at, asked).await;
        }
    }

    fn schedule(&mut self) -> Order {
        self.strikes.wishes += 1;
        Order::Schedule {
            number: self.strikes.wishes,
            at: SystemClock.now(),
        }
    }

    /// What people ask for again and again.
    fn wish(&mut self) -> Result<()> {
        if Instant::now() < self.strikes.wish_at {
            return Ok(());
        }
        self.strikes.wish_at = Instant::now() + WISHES;
        let schedule = self.schedule();
        self.desk.ask(schedule);
        let number = self.strikes.wishes;
        let concurrency = 2 + u32::try_from(self.chance.below(8)).unwrap_or_default();
        self.desk.ask(Order::Limit { concurrency });
        if number.is_multiple_of(4) {
            let name = "versions".to_owned();
            let version = number;
            self.desk.ask(Order::Define { name, version });
        }
        self.decide()
    }

    /// Has PostgreSQL break off and come back, while workers go on as they are.
    pub(super) async fn break_off(&mut self) -> Result<()> {
        while !self.crew.is_complete() {
            self.turn().await?;
        }
        let workers = self.crew.started;
        let (restarts, begun) = (self.arguments.restarts as usize, self.desk.tasks);
        let rest = self.arguments.tasks * (100 - KILL_SHARE) / 100;
        for round in 1..=restarts {
            let tasks = begun + rest * round / restarts;
            let enough = self.watch.told.len() + 50;
            let end = Instant::now() + RESUME_MAX;
            while Instant::now() < end && self.watch.told.len() < enough {
                self.start_until(tasks);
                self.turn().await?;
            }
            let accepted = self.restart_server(tasks).await?;
            let resumed = self.first_completion(accepted, tasks).await?;
            tell_people(&format!(
                "PostgreSQL broke off {round} times; work went on after {resumed:?}"
            ));
            self.strikes.resumed.push(resumed);
            if resumed > RESUME_MAX {
                let what = format!("nothing went on for {resumed:?} after PostgreSQL was back");
                self.findings.add(Sin::Leftover, what);
            }
        }
        while !self.start_until(self.arguments.tasks.max(begun + rest)) {
            self.turn().await?;
        }
        let more = self.crew.started - workers;
        if more > 0 {
            let what = format!("{more} workers had to be started again with PostgreSQL");
            self.findings.add(Sin::Leftover, what);
        }
        Ok(())
    }

    /// When it accepted connections again.
    async fn restart_server(&mut self, tasks: usize) -> Result<Timestamp> {
        let (cluster, database) = (Arc::clone(&self.cluster), Arc::clone(&self.database));
        // At times longer than a lease.
        let pause = Duration::from_millis(self.chance.below(3_000) as u64);
        let mut running = JoinSet::new();
        running.spawn_blocking(move || {
            let begun = Instant::now();
            cluster.break_off();
            std::thread::sleep(pause);
            std::thread::scope(|scope| {
                scope.spawn(|| cluster.start());
                while !database.is_reachable() {
                    std::thread::sleep(Duration::from_millis(2));
                }
                (SystemClock.now(), begun.elapsed())
            })
        });
        loop {
            if let Some(ended) = running.try_join_next() {
                let (accepted, away) = ended?;
                self.strikes.away.push(away);
                return Ok(accepted);
            }
            self.start_until(tasks);
            self.turn().await?;
        }
    }

    /// How long after `since` the first task was completed by a worker.
    async fn first_completion(&mut self, since: Timestamp, tasks: usize) -> Result<Duration> {
        let end = Instant::now() + RESUME_MAX * 3;
        let mut seen = self.watch.told.len();
        while Instant::now() < end {
            let news = self.watch.told.iter().skip(seen);
            let mut completed = news.filter(|(event, key)| {
                event.event.kind == EventKind::TaskCompleted
                    && event.at > since
                    // Timers and signals complete without a worker.
                    && key.as_ref().is_some_and(|key| !matches!(key.as_str(), "rest" | "wait"))
            });
            if let Some((event, _)) = completed.next() {
                return Ok(event.at.since(since));
            }
            seen = self.watch.told.len();
            self.start_until(tasks);
            self.turn().await?;
        }
        Ok(RESUME_MAX * 3)
    }
}
