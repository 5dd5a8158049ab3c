//! The tasks of a workflow as a drawing.
//!
//! What stands one below the other happens one after the other; what hangs side by side on `├─` and `└─` may
//! happen at the same time. A task hangs below the last task that everything it waits for has in common (its
//! immediate dominator), so what follows a fork as a whole comes back to the line of the fork. Where that
//! does not say all, the task says what it comes after.

use std::collections::HashMap;

use serde_json::Value;

use super::output::text;

/// How many forks inside of each other are indented.
const NESTED_MAX: usize = 8;

/// Where a task is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which task, by its place in the list.
    pub(crate) task: usize,
    /// What stands before it.
    pub(crate) stem: String,
    /// What stands before the lines that belong to it.
    pub(crate) rest: String,
    /// The tasks it comes after, where the drawing does not say so.
    pub(crate) after: Vec<usize>,
}

/// Where each of these tasks is drawn, from top to bottom. Each is drawn once, whatever the list says.
pub(crate) fn places(tasks: &[&Value]) -> Vec<Place> {
    let graph = Graph::new(tasks);
    let mut places = Vec::with_capacity(tasks.len());
    // A list of its own and no recursion: chains are long.
    let mut open = vec![Lane {
        at: None,
        stem: String::new(),
        rest: String::new(),
        nested: 0,
    }];
    while let Some(lane) = open.pop() {
        let children = graph.below(lane.at);
        if let Some(task) = lane.at {
            places.push(Place {
                task,
                stem: lane.stem.clone(),
                rest: lane.rest.clone(),
                after: graph.unsaid(task, lane.nested),
            });
        }
        let (branches, tail) = graph.forked(children);
        // What is drawn first is put down last.
        open.extend(tail.map(|at| Lane {
            at: Some(at),
            stem: lane.rest.clone(),
            rest: lane.rest.clone(),
            nested: lane.nested,
        }));
        let last = branches.len().saturating_sub(1);
        for (place, at) in branches.iter().enumerate().rev() {
            let (fork, on) = if place == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            let is_deep = lane.nested >= NESTED_MAX;
            open.push(Lane {
                at: Some(*at),
                stem: format!("{}{fork}", lane.rest),
                rest: format!("{}{}", lane.rest, if is_deep { "" } else { on }),
                nested: lane.nested + 1,
            });
        }
    }
    places
}

/// A task that is to be drawn, and what stands before it; without a task, the whole.
struct Lane {
    at: Option<usize>,
    stem: String,
    rest: String,
    nested: usize,
}

struct Graph {
    /// What each waits for.
    dependencies: Vec<Vec<usize>>,
    /// How many tasks at least come one after the other before each.
    level: Vec<usize>,
    /// What each hangs below.
    above: Vec<Option<usize>>,
    /// What hangs below the whole, and then below each.
    children: Vec<Vec<usize>>,
}

impl Graph {
    fn new(tasks: &[&Value]) -> Self {
        let by_key: HashMap<&str, usize> = tasks
            .iter()
            .enumerate()
            .map(|(at, task)| (text(task, "key"), at))
            .collect();
        let mut dependencies: Vec<Vec<usize>> = tasks
            .iter()
            .enumerate()
            .map(|(at, task)| {
                let keys = task.get("depends_on").and_then(Value::as_array);
                let keys = keys.into_iter().flatten().filter_map(Value::as_str);
                let found = keys.filter_map(|key| by_key.get(key).copied());
                found.filter(|on| *on != at).collect()
            })
            .collect();
        let order = sorted(&dependencies);
        let mut rank = vec![0; tasks.len()];
        for (place, at) in order.iter().enumerate() {
            if let Some(rank) = rank.get_mut(*at) {
                *rank = place;
            }
        }
        for (at, on) in dependencies.iter_mut().enumerate() {
            on.retain(|on| rank.get(*on) < rank.get(at));
        }
        let mut graph = Self {
            level: vec![0; tasks.len()],
            above: vec![None; tasks.len()],
            children: vec![Vec::new(); tasks.len() + 1],
            dependencies,
        };
        let mut depth = vec![0_usize; tasks.len()];
        for at in order {
            let on = graph.dependencies.get(at).cloned().unwrap_or_default();
            let before = on.iter().filter_map(|on| graph.level.get(*on)).max();
            let level = before.map_or(0, |level| level + 1);
            let mut above = on.first().copied();
            for other in on.iter().skip(1) {
                above = graph.common(above, Some(*other), &depth);
            }
            let below = above.and_then(|above| depth.get(above)).copied();
            for (list, value) in [
                (&mut graph.level, level),
                (&mut depth, below.unwrap_or(0) + 1),
            ] {
                if let Some(place) = list.get_mut(at) {
                    *place = value;
                }
            }
            if let Some(place) = graph.above.get_mut(at) {
                *place = above;
            }
            if let Some(children) = graph.children.get_mut(slot(above)) {
                children.push(at);
            }
        }
        for children in &mut graph.children {
            children.sort_by_key(|at| (graph.level.get(*at).copied(), *at));
        }
        graph
    }

    /// The last task that both hang below, themselves included; `None` is the whole.
    fn common(&self, one: Option<usize>, other: Option<usize>, depth: &[usize]) -> Option<usize> {
        let (mut one, mut other) = (one, other);
        let deep = |at: Option<usize>| at.and_then(|at| depth.get(at)).copied().unwrap_or(0);
        while one != other {
            let up = |at: Option<usize>| at.and_then(|at| self.above.get(at).copied().flatten());
            if deep(one) >= deep(other) {
                one = up(one);
            } else {
                other = up(other);
            }
        }
        one
    }

    fn below(&self, at: Option<usize>) -> &[usize] {
        self.children.get(slot(at)).map_or(&[], Vec::as_slice)
    }

    /// What hangs side by side, and what comes after all of it in the line of the fork.
    fn forked<'a>(&self, children: &'a [usize]) -> (&'a [usize], Option<usize>) {
        let Some((last, others)) = children.split_last() else {
            return (&[], None);
        };
        let level = |at: &usize| self.level.get(*at);
        if others.last().map(level) == Some(level(last)) {
            return (children, None);
        }
        (others, Some(*last))
    }

    /// What a task waits for, unless it is just what it hangs below.
    fn unsaid(&self, at: usize, nested: usize) -> Vec<usize> {
        let above = self.above.get(at).copied().flatten();
        let on = self.dependencies.get(at).cloned().unwrap_or_default();
        let is_said = nested <= NESTED_MAX && on.iter().all(|on| Some(*on) == above);
        if is_said { Vec::new() } else { on }
    }
}

const fn slot(at: Option<usize>) -> usize {
    match at {
        None => 0,
        Some(at) => at + 1,
    }
}

/// All tasks, each after what it waits for. Those that wait for each other, which the service never
/// sends, come last.
fn sorted(dependencies: &[Vec<usize>]) -> Vec<usize> {
    let mut dependants = vec![Vec::new(); dependencies.len()];
    let mut left: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    for (at, on) in dependencies.iter().enumerate() {
        for on in on {
            if let Some(dependants) = dependants.get_mut(*on) {
                dependants.push(at);
            }
        }
    }
    let free = left.iter().enumerate().filter(|(_, left)| **left == 0);
    let mut order: Vec<usize> = free.map(|(at, _)| at).collect();
    let mut next = 0;
    while let Some(at) = order.get(next).copied() {
        next += 1;
        for dependant in dependants.get(at).into_iter().flatten() {
            if let Some(left) = left.get_mut(*dependant) {
                *left -= 1;
                if *left == 0 {
                    order.push(*dependant);
                }
            }
        }
    }
    let stuck = left.iter().enumerate().filter(|(_, left)| **left > 0);
    order.extend(stuck.map(|(at, _)| at));
    order
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Draws tasks given as `key` or `key: what, it, waits, for`.
    fn drawn(tasks: &[&str]) -> Vec<String> {
        let tasks: Vec<Value> = tasks
            .iter()
            .map(|task| {
                let (key, on) = task.split_once(": ").unwrap_or((task, ""));
                let on: Vec<&str> = on.split(", ").filter(|on| !on.is_empty()).collect();
                json!({"key": key, "depends_on": on})
            })
            .collect();
        let tasks: Vec<&Value> = tasks.iter().collect();
        let key = |at: &usize| text(tasks[*at], "key");
        places(&tasks)
            .iter()
            .map(|place| {
                let after: Vec<&str> = place.after.iter().map(key).collect();
                let after = if after.is_empty() {
                    String::new()
                } else {
                    format!(" after {}", after.join(", "))
                };
                format!("{}{}{after}", place.stem, key(&place.task))
            })
            .collect()
    }

    #[test]
    fn a_chain_is_a_line() {
        assert_eq!(drawn(&["a", "b: a", "c: b"]), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_independent_hangs_side_by_side() {
        assert_eq!(drawn(&["a", "b", "c"]), ["├─ a", "├─ b", "└─ c"]);
    }

    #[test]
    fn what_follows_a_fork_comes_back_to_its_line() {
        assert_eq!(
            drawn(&["fetch", "x: fetch", "y: fetch", "join: x, y", "end: join"]),
            ["fetch", "├─ x", "└─ y", "join after x, y", "end"]
        );
    }

    #[test]
    fn forks_nest() {
        assert_eq!(
            drawn(&[
                "a",
                "b: a",
                "b1: b",
                "b2: b",
                "c: a",
                "c1: c",
                "end: b1, b2, c1"
            ]),
            [
                "a",
                "├─ b",
                "│  ├─ b1",
                "│  └─ b2",
                "└─ c",
                "   c1",
                "end after b1, b2, c1",
            ]
        );
    }

    #[test]
    fn an_edge_across_is_said() {
        assert_eq!(
            drawn(&["a", "b", "a1: a", "ab: a, b", "b1: b"]),
            ["├─ a", "│  a1", "└─ b", "   b1", "ab after a, b"]
        );
    }

    #[test]
    fn long_chains_and_deep_forks_stay_within_the_screen() {
        let chain: Vec<String> = (0..1_000)
            .map(|at| match at {
                0 => "t0".to_owned(),
                _ => format!("t{at}: t{}", at - 1),
            })
            .collect();
        let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
        assert!(drawn(&chain).iter().all(|line| line.len() <= 4));
        let forks: Vec<String> = (0..60)
            .flat_map(|at| match at {
                0 => vec!["a0".to_owned()],
                _ => vec![format!("a{at}: a{}", at - 1), format!("b{at}: a{}", at - 1)],
            })
            .collect();
        let forks: Vec<&str> = forks.iter().map(String::as_str).collect();
        let lines = drawn(&forks);
        assert_eq!(lines.len(), forks.len());
        assert!(lines.iter().all(|line| line.chars().count() < 45));
    }

    #[test]
    fn nonsense_is_drawn_once_each() {
        assert_eq!(drawn(&["a: b", "b: a", "c: nobody", "d: d"]).len(), 4);
    }
}
