//! The graph of a workflow: levels, circles, who waits for whom.

use super::TaskNo;
use super::definition::number;

/// Who waits for whom. Numbers are places in the list of tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    dependencies: Vec<Vec<(TaskNo, bool)>>,
    dependants: Vec<Vec<(TaskNo, bool)>>,
    levels: Vec<usize>,
}

impl Graph {
    // Places become numbers: a definition has fewer tasks than there are numbers.
    pub(super) fn new(edges: &[Vec<(usize, bool)>], levels: Vec<usize>) -> Self {
        let numbered = |edges: &Vec<(usize, bool)>| {
            edges
                .iter()
                .filter_map(|(on, skipped)| Some((number(*on)?, *skipped)))
                .collect()
        };
        let dependencies = edges.iter().map(numbered).collect();
        let dependants = inverted(edges).iter().map(numbered).collect();
        Self {
            dependencies,
            dependants,
            levels,
        }
    }

    /// What a task waits for, and whether a skipped one releases it too.
    #[must_use]
    pub fn dependencies(&self, task: TaskNo) -> &[(TaskNo, bool)] {
        at(&self.dependencies, task)
    }

    /// Who waits for a task, and whether they also run when it was skipped.
    #[must_use]
    pub fn dependants(&self, task: TaskNo) -> &[(TaskNo, bool)] {
        at(&self.dependants, task)
    }

    /// The tasks that wait for nothing.
    pub fn roots(&self) -> impl Iterator<Item = TaskNo> {
        let all = self.dependencies.iter().enumerate();
        all.filter(|(_, edges)| edges.is_empty())
            .filter_map(|(task, _)| number(task))
    }

    /// How many tasks the longest chain before a task has; 0 for a root.
    #[must_use]
    pub fn level(&self, task: TaskNo) -> usize {
        self.levels
            .get(usize::from(task.get()))
            .copied()
            .unwrap_or(0)
    }
}

fn at<T>(lists: &[Vec<T>], task: TaskNo) -> &[T] {
    lists
        .get(usize::from(task.get()))
        .map_or(&[], Vec::as_slice)
}

fn inverted(edges: &[Vec<(usize, bool)>]) -> Vec<Vec<(usize, bool)>> {
    let mut inverted = vec![Vec::new(); edges.len()];
    for (task, edges) in edges.iter().enumerate() {
        for (on, skipped) in edges {
            if let Some(list) = inverted.get_mut(*on) {
                list.push((task, *skipped));
            }
        }
    }
    inverted
}

/// The level of every task (Kahn's algorithm), or the tasks along one circle, each waiting for the
/// next. `edges[task]` are the tasks it waits for.
pub(super) fn levels(edges: &[Vec<(usize, bool)>]) -> Result<Vec<usize>, Vec<usize>> {
    let dependants = inverted(edges);
    let mut open: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut levels = vec![0_usize; edges.len()];
    let mut ready: Vec<usize> = open
        .iter()
        .enumerate()
        .filter(|(_, open)| **open == 0)
        .map(|(task, _)| task)
        .collect();
    let mut done = 0;
    while let Some(task) = ready.pop() {
        done += 1;
        let next = levels.get(task).copied().unwrap_or(0) + 1;
        for (dependant, _) in dependants.get(task).into_iter().flatten() {
            if let Some(level) = levels.get_mut(*dependant) {
                *level = next.max(*level);
            }
            if let Some(open) = open.get_mut(*dependant) {
                *open -= 1;
                if *open == 0 {
                    ready.push(*dependant);
                }
            }
        }
    }
    if done == edges.len() {
        return Ok(levels);
    }
    Err(circle(edges, &open))
}

// Every task that is still open waits for an open one: following those must come around.
fn circle(edges: &[Vec<(usize, bool)>], open: &[usize]) -> Vec<usize> {
    let is_open = |task: usize| open.get(task).is_some_and(|open| *open > 0);
    let mut walk: Vec<usize> = Vec::new();
    let mut here = (0..edges.len()).find(|task| is_open(*task));
    while let Some(task) = here {
        if let Some(start) = walk.iter().position(|seen| *seen == task) {
            return walk.split_off(start);
        }
        walk.push(task);
        let waits_for = edges.get(task).into_iter().flatten();
        here = waits_for.map(|(on, _)| *on).find(|on| is_open(*on));
    }
    walk
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(edges: &[Vec<usize>]) -> Vec<Vec<(usize, bool)>> {
        edges
            .iter()
            .map(|edges| edges.iter().map(|on| (*on, false)).collect())
            .collect()
    }

    proptest! {
        #[test]
        fn a_graph_whose_edges_all_lead_back_has_levels_that_ascend_along_them(
            edges in prop::collection::vec(prop::collection::vec(0_usize..40, 0..4), 1..40),
        ) {
            let backwards: Vec<Vec<usize>> = edges
                .iter()
                .enumerate()
                .map(|(task, edges)| edges.iter().copied().filter(|on| *on < task).collect())
                .collect();
            let levels = levels(&plain(&backwards)).unwrap();
            for (task, edges) in backwards.iter().enumerate() {
                let expected = edges.iter().map(|on| levels[*on] + 1).max().unwrap_or(0);
                prop_assert_eq!(levels[task], expected);
            }
        }

        #[test]
        fn what_is_called_a_circle_is_one(
            edges in prop::collection::vec(prop::collection::btree_set(0_usize..12, 0..4), 12),
        ) {
            let edges: Vec<Vec<usize>> = edges.into_iter().map(|on| on.into_iter().collect()).collect();
            if let Err(circle) = levels(&plain(&edges)) {
                prop_assert!(!circle.is_empty());
                for (task, next) in circle.iter().zip(circle.iter().cycle().skip(1)) {
                    prop_assert!(edges[*task].contains(next), "{:?}", circle);
                }
            }
        }
    }
}
