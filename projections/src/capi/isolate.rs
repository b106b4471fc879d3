//! Pure: how a refused batch is taken apart until the bad event stands alone.

/// What to do with a batch in which something was refused, when the answer does not say which event.
#[derive(Debug, PartialEq, Eq)]
pub enum Parts<T> {
    /// Nothing was in it.
    Nothing,
    /// It stood alone: it is the bad one.
    Alone(T),
    /// Each part is tried by itself.
    Halves(Vec<T>, Vec<T>),
}

/// Takes a refused batch apart. For k bad events in n this asks for about 2·k·log2(n/k) further requests; for 2·k where the answers
/// name the event at fault: that one is tried alone, and the others together.
pub fn isolate<T>(mut batch: Vec<T>, named: Option<usize>) -> Parts<T> {
    if batch.len() > 1 {
        if let Some(index) = named.filter(|index| *index < batch.len()) {
            return Parts::Halves(vec![batch.remove(index)], batch);
        }
        let second = batch.split_off(batch.len() / 2);
        return Parts::Halves(batch, second);
    }
    batch.pop().map_or(Parts::Nothing, Parts::Alone)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Parts, isolate};

    /// Sends a batch as the sink does, to somebody who names the first bad event or does not: answers who was found bad, who was
    /// delivered, and the number of requests.
    fn send(batch: Vec<usize>, bad: &BTreeSet<usize>, names: bool) -> (BTreeSet<usize>, Vec<usize>, usize) {
        let (mut rejected, mut delivered, mut requests) = (BTreeSet::new(), Vec::new(), 0);
        let mut groups = vec![batch];
        while let Some(group) = groups.pop() {
            requests += 1;
            if group.iter().any(|event| bad.contains(event)) {
                let named = group.iter().position(|event| bad.contains(event)).filter(|_| names);
                match isolate(group, named) {
                    Parts::Nothing => {}
                    Parts::Alone(event) => assert!(rejected.insert(event), "rejected once"),
                    Parts::Halves(first, second) => groups.extend([second, first]),
                }
            } else {
                delivered.extend(group);
            }
        }
        (rejected, delivered, requests)
    }

    proptest! {
        #[test]
        fn exactly_the_bad_ones_are_found_in_few_requests(n in 1_usize..=1_000, picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..30)) {
            let bad: BTreeSet<usize> = picks.iter().map(|pick| pick.index(n)).collect();
            for names in [false, true] {
                let (rejected, mut delivered, requests) = send((0..n).collect(), &bad, names);
                prop_assert_eq!(&rejected, &bad);
                delivered.sort_unstable();
                prop_assert_eq!(delivered, (0..n).filter(|event| !bad.contains(event)).collect::<Vec<_>>());
                let k = bad.len() as f64;
                let search = if names { 0.0 } else { (n as f64 / k).log2() };
                let bound = if bad.is_empty() { 1.0 } else { 1.0 + 2.0 * k * (search + 1.0) + 2.0 * k };
                prop_assert!(requests as f64 <= bound, "{} requests for {} in {}", requests, k, n);
            }
        }
    }
}
