//! What the evidence says: sets of things that must not be. Any that is not empty is a failure.

mod effects;
mod events;
mod replay;
mod story;
mod verdicts;

use std::collections::BTreeMap;

use drover_domain::workflow::{Definition, Guarantee, TaskNo, TaskSpec, Work, WorkflowId};

use super::evidence::{Evidence, Stored};
use super::plan::{CHILD, Plan, SCHEDULED, SLOW_CHILD};
use story::Story;

macro_rules! sins {
    ($($(#[doc = $doc:literal])* $name:ident => $word:literal,)+) => {
        /// What must not be; the numbers are those of the design's invariants.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sin {
            $($(#[doc = $doc])* $name,)+
        }

        impl Sin {
            /// Every sin.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name in reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

sins! {
    /// I1: what was acknowledged is not there, or has not come to an end.
    Lost => "lost",
    /// I9: something exists without a request, or twice.
    Unexpected => "unexpected",
    /// I2: more effects than the class allows.
    Excess => "excess_effects",
    /// I3: a success without an effect, a failure without a refusal, or an end that was not planned.
    FalseVerdict => "false_verdicts",
    /// I3: something became unknown that can be repeated.
    Obscured => "unknown_beside_g4",
    /// I8: a move that does not exist, or a state that is not what the events say.
    IllegalMove => "illegal_transitions",
    /// I7 and I4: something ran before what it depends on, or was undone out of turn.
    OutOfOrder => "out_of_order",
    /// I8 and I10: readers of the log and of histories do not see the same.
    Gap => "event_gaps",
    /// I6: two tasks had one concurrency key at once.
    Overlap => "overlaps",
    /// I12: something of the dead is left, or the end took too long.
    Leftover => "leftovers",
}

/// What the evidence says.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// What must not be, each a sentence.
    pub(crate) sins: BTreeMap<Sin, Vec<String>>,
    /// How many tasks were acknowledged, those of children and schedules included.
    pub(crate) tasks: usize,
    /// Of those whose workflows were acknowledged: how many are lost.
    pub(crate) lost_tasks: usize,
    /// Excess effects by class.
    pub(crate) excess: BTreeMap<&'static str, usize>,
    /// Effects that were asked for again, as their class allows.
    pub(crate) repeats: BTreeMap<&'static str, usize>,
    /// How often a task was taken over from a worker that was gone.
    pub(crate) takeovers: usize,
    /// The number of unknown results.
    pub(crate) unknown: usize,
    /// How many moves were looked at.
    pub(crate) moves: usize,
    /// How many lines the ledger has.
    pub(crate) ledger_lines: usize,
}

impl Findings {
    pub(crate) fn add(&mut self, sin: Sin, what: String) {
        self.sins.entry(sin).or_default().push(what);
    }

    /// What must not be, each a sentence.
    #[must_use]
    pub fn of(&self, sin: Sin) -> &[String] {
        self.sins.get(&sin).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing is that must not be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sins.values().all(Vec::is_empty)
    }

    fn count(counts: &mut BTreeMap<&'static str, usize>, class: Guarantee, more: usize) {
        if more > 0 {
            *counts.entry(class.as_str()).or_default() += more;
        }
    }
}

/// Looks at everything.
pub(crate) fn check(evidence: &Evidence) -> Findings {
    let mut findings = Findings {
        ledger_lines: evidence.ledger.len(),
        ..Findings::default()
    };
    let stories = story::read(evidence);
    verdicts::check_acknowledged(evidence, &mut findings);
    events::check(evidence, &stories, &mut findings);
    let none = Story::default();
    for (id, stored) in &evidence.workflows {
        let Some(definition) = definition(evidence.plan, stored) else {
            let what = format!("workflow {id} ({}) is not of the plan", stored.record.name);
            findings.add(Sin::Unexpected, what);
            continue;
        };
        let subject = Subject {
            id: *id,
            stored,
            definition: &definition,
            story: stories.get(id).unwrap_or(&none),
        };
        findings.tasks += definition.tasks().len();
        replay::check(&subject, &mut findings);
        effects::check(&subject, &mut findings);
        verdicts::check(evidence, &subject, &mut findings);
    }
    effects::check_strangers(evidence, &mut findings);
    effects::check_locks(&evidence.ledger, &mut findings);
    for (what, count) in [
        ("leases", evidence.leftovers.leases),
        ("rows of the queue", evidence.leftovers.queue_rows),
    ] {
        if count > 0 {
            findings.add(Sin::Leftover, format!("{count} {what} are left"));
        }
    }
    findings
}

/// A workflow under examination.
struct Subject<'a> {
    id: WorkflowId,
    stored: &'a Stored,
    definition: &'a Definition,
    story: &'a Story<'a>,
}

impl Subject<'_> {
    fn work(&self, no: TaskNo) -> Option<&Work> {
        let mut numbered = self.definition.numbered();
        let (_, undoes, spec): (_, _, &TaskSpec) = numbered.find(|(found, _, _)| *found == no)?;
        match undoes {
            None => Some(&spec.work),
            Some(_) => spec.compensation.as_ref(),
        }
    }
}

fn definition(plan: Plan, stored: &Stored) -> Option<Definition> {
    let record = &stored.record;
    match record.name.as_str() {
        name @ (CHILD | SLOW_CHILD | SCHEDULED) => plan.stored(name, 0).ok(),
        _ => plan.definition(Plan::number(record.head.id)).ok(),
    }
}
