//! Deliberate defects, each of which the model must find. Those of the core exist only with the feature
//! `mutants`: `cargo xtask battery mutants` runs this with it, and so does CI.
#![expect(
    clippy::print_stdout,
    reason = "how long each defect lived is worth reading"
)]

use drover_battery::model::{Defect, StoreDefect, hunt};
use drover_domain::workflow::mutant::Mutant;

/// How many lives a defect may live through.
const SEEDS_MAX: u64 = 2_000;

/// Every defect, and what it would look like.
const MUTANTS: [(Defect, &str); 24] = [
    (
        Defect::Core(Mutant::NoFencing),
        "a report of an old attempt counts",
    ),
    (
        Defect::Core(Mutant::AttemptNotCounted),
        "taking a task makes no new attempt",
    ),
    (
        Defect::Core(Mutant::FailureReleases),
        "dependants of a failed task run",
    ),
    (
        Defect::Core(Mutant::FirstDependencyReleases),
        "a task runs behind its first dependency",
    ),
    (
        Defect::Core(Mutant::LostWakeUp),
        "the next attempt is never woken up",
    ),
    (
        Defect::Core(Mutant::RepeatsTheUnrepeatable),
        "what cannot be repeated is started again after a crash",
    ),
    (
        Defect::Core(Mutant::UndoesInForwardOrder),
        "compensation goes forward",
    ),
    (
        Defect::Core(Mutant::UndoesWhatNeverRan),
        "what never ran is compensated",
    ),
    (
        Defect::Core(Mutant::ForgetsUncertainty),
        "what nobody knows is not compensated",
    ),
    (
        Defect::Core(Mutant::NeverLate),
        "a workflow's deadline never comes",
    ),
    (
        Defect::Core(Mutant::EndlessDepth),
        "a definition that starts itself goes on for ever",
    ),
    (
        Defect::Core(Mutant::EndlessFamily),
        "a workflow has more below it than it may",
    ),
    (
        Defect::Core(Mutant::GrowsAfterCancel),
        "workflows are started below one that is cancelled",
    ),
    (
        Defect::Store(StoreDefect::AcksBeforeCommit),
        "acknowledged before the commit",
    ),
    (
        Defect::Store(StoreDefect::ClaimsWithoutLock),
        "two workers get one task",
    ),
    (
        Defect::Store(StoreDefect::ForgetsTakeOver),
        "tasks of a dead worker are forgotten",
    ),
    (
        Defect::Store(StoreDefect::ForgetsWakeUp),
        "a wake is taken out apart from what it does",
    ),
    (
        Defect::Store(StoreDefect::AppliesTwice),
        "a duplicate report is applied again",
    ),
    (
        Defect::Store(StoreDefect::ForgetsKeys),
        "an idempotency key is forgotten",
    ),
    (
        Defect::Store(StoreDefect::IgnoresConcurrencyKeys),
        "tasks with one concurrency key run together",
    ),
    (
        Defect::Store(StoreDefect::ServesPaused),
        "tasks of a paused workflow are claimed",
    ),
    (
        Defect::Store(StoreDefect::EventsApart),
        "events are written apart from the change",
    ),
    (
        Defect::Store(StoreDefect::ForgetsParent),
        "the parent is not told of its child's end",
    ),
    (
        Defect::Store(StoreDefect::ForgetsSignal),
        "an early signal is not kept",
    ),
];

#[test]
fn every_deliberate_defect_is_found() {
    let is_built = |(defect, _): &&(Defect, &str)| {
        cfg!(feature = "mutants") || matches!(defect, Defect::Store(_))
    };
    let listed: Vec<(Defect, &str)> = MUTANTS.iter().filter(is_built).copied().collect();
    let all: Vec<Defect> = Defect::all().collect();
    let named: Vec<Defect> = listed.iter().map(|(defect, _)| *defect).collect();
    assert_eq!(named, all, "left: the list here");
    let mut alive = Vec::new();
    for (defect, what) in listed {
        match hunt(defect, SEEDS_MAX) {
            Some(caught) => {
                let invariant = caught.broken.invariant.as_str();
                println!("{defect:?}: {what}: seed {}: {invariant}", caught.seeds - 1);
            }
            None => alive.push(defect),
        }
    }
    assert_eq!(alive, [], "not found in {SEEDS_MAX} lives");
}

#[test]
fn a_defect_ends_with_the_life_it_was_made_for() {
    for defect in Defect::all() {
        assert!(hunt(defect, SEEDS_MAX).is_some(), "{defect:?}");
        let life = drover_battery::model::live(0, None, false);
        assert_eq!(life.broken, None, "after {defect:?}");
    }
}
