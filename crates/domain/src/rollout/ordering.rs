//! The order in which instances are handed to a playbook that splits them by index parity.

use std::collections::BTreeMap;

/// What the order depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderItem {
    /// The instance name; instances of one name form one application over several servers.
    pub instance: String,
    /// The server's full name.
    pub server: String,
}

/// The indices of `items` in the order for the playbook: even places make one half, odd ones the other.
///
/// Never are all instances of an application that has two or more in one half. Where the
/// predecessor's order already keeps that, the result is the predecessor's.
#[must_use]
pub fn order_for_halves(items: &[OrderItem]) -> Vec<usize> {
    if items.len() <= 1 {
        return (0..items.len()).collect();
    }
    let buckets = buckets(items);
    let (mut even, mut odd) = halves(&buckets);
    let plain = interleave(&even, &odd);
    if is_safe(&plain, items) {
        return plain;
    }
    if odd.len() > even.len() {
        std::mem::swap(&mut even, &mut odd);
    }
    while even.len() - odd.len() > 1 {
        let movable = even.iter().rposition(|index| shares(&even, *index, items));
        let Some(index) = movable else { break };
        odd.push(even.remove(index));
    }
    interleave(&even, &odd)
}

// By instance name, inside a name by server; both in plain lexicographic order.
fn buckets(items: &[OrderItem]) -> Vec<Vec<usize>> {
    let mut buckets: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        buckets.entry(&item.instance).or_default().push(index);
    }
    let mut sorted: Vec<Vec<usize>> = buckets.into_values().collect();
    for bucket in &mut sorted {
        bucket.sort_by(|a, b| {
            items
                .get(*a)
                .map(|item| &item.server)
                .cmp(&items.get(*b).map(|item| &item.server))
        });
    }
    sorted
}

// A name with one instance goes to the shorter half; one with more alternates, and the next such
// name begins with the other half.
fn halves(buckets: &[Vec<usize>]) -> (Vec<usize>, Vec<usize>) {
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    let mut flipped = false;
    for bucket in buckets {
        if let [only] = bucket.as_slice() {
            if even.len() <= odd.len() {
                even.push(*only);
            } else {
                odd.push(*only);
            }
            continue;
        }
        for (place, index) in bucket.iter().enumerate() {
            // Places 0, 1, 2, 3, … go E, O, O, E, O, E, …: the first two part, the rest alternates.
            let to_even = match place {
                0 => !flipped,
                1 => flipped,
                _ => (place % 2 == 0) == flipped,
            };
            if to_even {
                even.push(*index);
            } else {
                odd.push(*index);
            }
        }
        flipped = !flipped;
    }
    (even, odd)
}

fn interleave(even: &[usize], odd: &[usize]) -> Vec<usize> {
    let mut order = Vec::with_capacity(even.len() + odd.len());
    for place in 0..even.len().max(odd.len()) {
        order.extend(even.get(place));
        order.extend(odd.get(place));
    }
    order
}

fn shares(half: &[usize], index: usize, items: &[OrderItem]) -> bool {
    let name = items.get(index).map(|item| &item.instance);
    half.iter()
        .filter(|other| items.get(**other).map(|item| &item.instance) == name)
        .count()
        >= 2
}

fn is_safe(order: &[usize], items: &[OrderItem]) -> bool {
    let mut parities: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (place, index) in order.iter().enumerate() {
        if let Some(item) = items.get(*index) {
            let counts = parities.entry(&item.instance).or_default();
            if place % 2 == 0 {
                counts.0 += 1;
            } else {
                counts.1 += 1;
            }
        }
    }
    parities
        .values()
        .all(|(even, odd)| even + odd < 2 || (*even > 0 && *odd > 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fleet(sizes: &[usize]) -> Vec<OrderItem> {
        let mut items = Vec::new();
        for (application, size) in sizes.iter().enumerate() {
            for server in 0..*size {
                items.push(OrderItem {
                    instance: format!("app{application}_1"),
                    server: format!("srv{server}"),
                });
            }
        }
        items
    }

    fn names(items: &[OrderItem]) -> Vec<String> {
        order_for_halves(items)
            .into_iter()
            .map(|index| format!("{}@{}", items[index].instance, items[index].server))
            .collect()
    }

    #[test]
    fn one_application_on_two_servers_is_parted() {
        assert_eq!(names(&fleet(&[2])), ["app0_1@srv0", "app0_1@srv1"]);
    }

    #[test]
    fn two_applications_on_three_servers_make_two_halves_of_three() {
        assert_eq!(
            names(&fleet(&[3, 3])),
            [
                "app0_1@srv0",
                "app0_1@srv1",
                "app1_1@srv1",
                "app0_1@srv2",
                "app1_1@srv2",
                "app1_1@srv0"
            ]
        );
    }

    #[test]
    fn the_smallest_unsafe_order_of_the_predecessor_is_repaired() {
        let items = fleet(&[3, 2]);
        let (even, odd) = halves(&buckets(&items));
        assert!(
            !is_safe(&interleave(&even, &odd), &items),
            "this fleet should need the repair"
        );
        assert!(is_safe(&order_for_halves(&items), &items));
    }

    #[test]
    fn near_names_are_applications_of_their_own_and_none_is_lost() {
        let mut items = Vec::new();
        for instance in ["jurws_01", "jurws_1", "jurws-01", "Jurws_1"] {
            for server in ["fdmz01", "fdmz1", "fdmz-01"] {
                items.push(OrderItem {
                    instance: instance.to_owned(),
                    server: server.to_owned(),
                });
            }
        }
        let order = order_for_halves(&items);
        assert!(is_safe(&order, &items));
        let mut all = order.clone();
        all.sort_unstable();
        assert_eq!(all, (0..items.len()).collect::<Vec<_>>());
        // The order of the request does not matter.
        let mut reversed = items.clone();
        reversed.reverse();
        assert_eq!(names(&items), names(&reversed));
    }

    #[test]
    fn nothing_and_one_stay_as_they_are() {
        assert_eq!(order_for_halves(&[]), Vec::<usize>::new());
        assert_eq!(order_for_halves(&fleet(&[1])), [0]);
    }

    #[test]
    fn every_fleet_of_up_to_five_applications_on_up_to_six_servers_is_safe() {
        let mut sizes = vec![1];
        let mut seen = 0;
        loop {
            let items = fleet(&sizes);
            let order = order_for_halves(&items);
            assert!(is_safe(&order, &items), "{sizes:?}: {order:?}");
            seen += 1;
            // Counts through 1..=6 in each place, then through one place more.
            let mut place = 0;
            while place < sizes.len() && sizes[place] == 6 {
                sizes[place] = 1;
                place += 1;
            }
            if place < sizes.len() {
                sizes[place] += 1;
            } else if sizes.len() < 5 {
                sizes.push(1);
            } else {
                break;
            }
        }
        assert_eq!(seen, 6 + 36 + 216 + 1_296 + 7_776);
    }

    proptest! {
        #[test]
        fn the_order_is_a_permutation_and_the_predecessors_where_that_is_safe(
            sizes in proptest::collection::vec(1_usize..=6, 1..=5), shuffle in any::<prop::sample::Index>(),
        ) {
            let mut items = fleet(&sizes);
            let middle = shuffle.index(items.len());
            items.rotate_left(middle);
            let order = order_for_halves(&items);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..items.len()).collect::<Vec<_>>());
            let (even, odd) = halves(&buckets(&items));
            let plain = interleave(&even, &odd);
            if items.len() > 1 && is_safe(&plain, &items) {
                prop_assert_eq!(order, plain);
            } else {
                prop_assert!(is_safe(&order, &items));
            }
        }
    }
}
