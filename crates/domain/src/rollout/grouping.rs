//! Which applications of one request share a rollout.

use std::collections::{HashMap, HashSet};

use crate::fleet::{ApplicationKey, GroupKey, ServerKey};

/// How the applications of a group are gathered into rollouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GroupingStrategy {
    /// One rollout for each playbook and group.
    #[default]
    ByGroup,
    /// One rollout for each playbook: an orchestrator playbook works across servers by itself.
    ByServer,
    /// One rollout for each playbook and instance name.
    ByInstanceName,
    /// One rollout for each application.
    NoGrouping,
}

impl GroupingStrategy {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [
        Self::ByGroup,
        Self::ByServer,
        Self::ByInstanceName,
        Self::NoGrouping,
    ];

    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByGroup => "by_group",
            Self::ByServer => "by_server",
            Self::ByInstanceName => "by_instance_name",
            Self::NoGrouping => "no_grouping",
        }
    }

    /// The strategy with this word; for any other word the default. Total, because groups may
    /// carry words of other products, and such a group must still be updatable.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        Self::find(word).unwrap_or_default()
    }

    /// The strategy with this word, if there is one.
    #[must_use]
    pub fn find(word: &str) -> Option<Self> {
        let mut strategies = Self::ALL.into_iter();
        strategies.find(|strategy| strategy.as_str() == word)
    }
}

/// One application to gather.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupingItem {
    /// The application.
    pub application: ApplicationKey,
    /// Where it runs; orchestrated updates never split by it.
    pub server: Option<ServerKey>,
    /// Its group.
    pub group: Option<GroupKey>,
    /// Its instance name.
    pub name: String,
    /// The update playbook that holds for it, with its `{parameters}`.
    pub playbook_path: String,
    /// The strategy of its group.
    pub strategy: GroupingStrategy,
}

/// The applications of one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutGroup {
    /// The update playbook they share, with its `{parameters}`.
    pub playbook_path: String,
    /// The applications, in the order they were asked for.
    pub applications: Vec<ApplicationKey>,
}

/// Gathers the applications of an orchestrated update into rollouts; rollouts stand in the order in
/// which their first application was given. An application given twice counts once.
#[must_use]
pub fn group_into_rollouts(targets: &[GroupingItem]) -> Vec<RolloutGroup> {
    let mut groups: Vec<RolloutGroup> = Vec::new();
    let mut places: HashMap<TaskKey<'_>, usize> = HashMap::new();
    let mut seen = HashSet::new();
    for target in targets
        .iter()
        .filter(|target| seen.insert(target.application))
    {
        let place = *places.entry(TaskKey::of(target)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.applications.push(target.application),
            None => groups.push(RolloutGroup {
                playbook_path: target.playbook_path.clone(),
                applications: vec![target.application],
            }),
        }
    }
    groups
}

/// What the applications of one rollout have in common.
#[derive(PartialEq, Eq, Hash)]
enum TaskKey<'a> {
    Group(&'a str, Option<GroupKey>),
    Playbook(&'a str),
    Name(&'a str, &'a str),
    Application(ApplicationKey),
}

impl<'a> TaskKey<'a> {
    fn of(target: &'a GroupingItem) -> Self {
        match target.strategy {
            GroupingStrategy::ByGroup => Self::Group(&target.playbook_path, target.group),
            GroupingStrategy::ByServer => Self::Playbook(&target.playbook_path),
            GroupingStrategy::ByInstanceName => Self::Name(&target.playbook_path, &target.name),
            GroupingStrategy::NoGrouping => Self::Application(target.application),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Key;

    fn item(
        key: i64,
        group: Option<i64>,
        name: &str,
        playbook: &str,
        strategy: GroupingStrategy,
    ) -> GroupingItem {
        GroupingItem {
            application: Key::new(key),
            server: Some(Key::new(key)),
            group: group.map(Key::new),
            name: name.to_owned(),
            playbook_path: playbook.to_owned(),
            strategy,
        }
    }

    fn keys(items: &[GroupingItem]) -> Vec<Vec<i64>> {
        let keys = |group: RolloutGroup| group.applications.into_iter().map(Key::get).collect();
        group_into_rollouts(items).into_iter().map(keys).collect()
    }

    #[test]
    fn words_read_back_and_unknown_ones_mean_by_group() {
        for strategy in GroupingStrategy::ALL {
            assert_eq!(GroupingStrategy::parse(strategy.as_str()), strategy);
        }
        for word in ["", "by_moon", "BY_SERVER"] {
            assert_eq!(
                GroupingStrategy::parse(word),
                GroupingStrategy::ByGroup,
                "{word}"
            );
        }
    }

    #[test]
    fn each_strategy_splits_by_its_own_key() {
        for (strategy, expected) in [
            (
                GroupingStrategy::ByGroup,
                vec![vec![1, 2], vec![3], vec![4], vec![5]],
            ),
            (GroupingStrategy::ByServer, vec![vec![1, 2, 3, 5], vec![4]]),
            (
                GroupingStrategy::ByInstanceName,
                vec![vec![1, 3], vec![2, 5], vec![4]],
            ),
            (
                GroupingStrategy::NoGrouping,
                vec![vec![1], vec![2], vec![3], vec![4], vec![5]],
            ),
        ] {
            let items = [
                item(1, Some(1), "a_1", "update.yml", strategy),
                item(2, Some(1), "a_2", "update.yml", strategy),
                item(3, Some(2), "a_1", "update.yml", strategy),
                item(4, Some(1), "a_1", "update.yml{mode}", strategy),
                item(5, None, "a_2", "update.yml", strategy),
            ];
            assert_eq!(keys(&items), expected, "{strategy:?}");
        }
    }

    #[test]
    fn strategies_of_different_groups_do_not_mix() {
        let items = [
            item(1, Some(1), "a", "u.yml", GroupingStrategy::ByServer),
            item(2, Some(2), "b", "u.yml", GroupingStrategy::ByGroup),
            item(3, Some(3), "c", "u.yml", GroupingStrategy::ByServer),
        ];
        assert_eq!(keys(&items), [vec![1, 3], vec![2]]);
    }

    #[test]
    fn an_application_given_twice_counts_once() {
        let twice = item(1, None, "a", "u.yml", GroupingStrategy::NoGrouping);
        assert_eq!(keys(&[twice.clone(), twice]), [vec![1]]);
    }

    proptest! {
        #[test]
        fn every_application_lands_in_exactly_one_task_with_its_playbook(
            drawn in prop::collection::vec((0_i64..3, 0_usize..3, 0_usize..4), 0..20),
        ) {
            let items: Vec<_> = (0_i64..)
                .zip(drawn)
                .map(|(key, (group, playbook, strategy))| {
                    item(key, Some(group), "a", ["x", "y", "z"][playbook], GroupingStrategy::ALL[strategy])
                })
                .collect();
            let rollouts = group_into_rollouts(&items);
            let mut landed = Vec::new();
            for rollout in &rollouts {
                prop_assert!(!rollout.applications.is_empty());
                for application in &rollout.applications {
                    let given = items.iter().find(|item| item.application == *application).unwrap();
                    prop_assert_eq!(&given.playbook_path, &rollout.playbook_path);
                    landed.push(application.get());
                }
            }
            landed.sort_unstable();
            let all: Vec<i64> = items.iter().map(|item| item.application.get()).collect();
            prop_assert_eq!(landed, all);
            let firsts: Vec<_> = rollouts.iter().filter_map(|rollout| rollout.applications.first().copied()).collect();
            prop_assert!(firsts.is_sorted());
        }
    }
}
