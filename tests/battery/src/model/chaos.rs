//! The first part of a life: anything may happen.

use std::time::Duration;

use super::invariant::Broken;
use super::sim::World;
use super::tally::Fault;

impl World {
    pub(super) fn chaos(&mut self) -> Result<(), Broken> {
        for _ in 0..self.orders.len() {
            self.order();
        }
        for _ in 0..100 + self.chance.below(400) {
            self.tally.steps += 1;
            let micros = self.chance.below(250_000);
            self.passes(Duration::from_micros(micros as u64));
            self.one_step()?;
        }
        Ok(())
    }

    fn one_step(&mut self) -> Result<(), Broken> {
        let what = self.chance.below(1_000);
        self.trace.mix(what as u64);
        let now = self.now;
        self.trace.note(|| format!("{now}"));
        let at = self.chance.below(self.workers.len());
        match what {
            0..=419 => {
                for _ in 0..=self.chance.below(3) {
                    self.deliver_one()?;
                }
            }
            420..=819 => self.act(at)?,
            820..=869 => {
                let most = 1 + self.chance.below(3);
                self.wake_due(most)?;
            }
            870..=894 => {
                let most = 1 + self.chance.below(3);
                self.take_over(most)?;
            }
            895..=924 => self.order(),
            925..=959 => self.interfere(),
            960..=969 => self.read_on(),
            970..=979 => {
                self.tally.fault(Fault::ClockJump);
                let jump = self.chance.seconds(5, 60);
                self.passes(jump);
            }
            980..=987 => {
                self.tally.fault(Fault::WorkerStalled);
                let pause = self.chance.seconds(5, 40);
                self.workers[at].stalled_until = Some(self.now.after(pause));
            }
            988..=994 => {
                self.tally.fault(Fault::WorkerCrash);
                self.crash(at);
            }
            _ => self.retire(at),
        }
        Ok(())
    }

    pub(super) fn passes(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }
}
