//! Pure: how a refused batch is taken apart until each bad event stands alone.

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

/// Takes a refused batch apart: in halves; or, where the answer names the event at fault, into that one alone and the others together.
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

/// Parts of refused batches that are still to be tried, the next one last.
///
/// For k bad events in n this asks for at most about 2·k·log2(n/k) further requests; for 2·k where the answers name the event at fault.
#[derive(Debug)]
pub struct Search<T>(Vec<Part<T>>);

#[derive(Debug)]
struct Part<T> {
    items: Vec<T>,
    /// Its whole was refused, and what stood before it in that is about to be tried: if all of that is good, the fault is here.
    is_suspect: bool,
}

impl<T> Default for Search<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Search<T> {
    /// Whether nothing is left to be tried.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The two parts of a refused batch come next, before anything else.
    pub fn refused(&mut self, first: Vec<T>, second: Vec<T>) {
        if let Some(next) = self.0.last_mut() {
            next.is_suspect = false; // the fault of their whole was found in the part before it
        }
        self.0.push(Part { items: second, is_suspect: true });
        self.0.push(Part { items: first, is_suspect: false });
    }

    /// Everything in the last part was good. The part after it, if it was refused together with that, is taken apart without asking: its
    /// answer is known. An event that is left alone is asked about all the same, because only then the answer is about it.
    pub fn good(&mut self) {
        if let Some(part) = self.0.pop_if(|next| next.is_suspect && next.items.len() > 1)
            && let Parts::Halves(first, second) = isolate(part.items, None)
        {
            self.refused(first, second);
        }
    }

    /// The next part.
    pub fn next_part(&mut self) -> Option<Vec<T>> {
        self.0.pop().map(|part| part.items)
    }

    /// Everything that is left, in order.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.0.iter().rev().flat_map(|part| &part.items)
    }

    /// The same, to be changed.
    pub fn items_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().rev().flat_map(|part| &mut part.items)
    }

    /// Gives the search up: everything that is left, in order.
    pub fn give_up(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.0).into_iter().rev().flat_map(|part| part.items)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Parts, Search, isolate};

    /// Sends a batch as the sink does, to somebody who names the first bad event or does not: answers who was found bad, who was
    /// delivered, and the number of requests.
    fn send(batch: Vec<usize>, bad: &BTreeSet<usize>, names: bool) -> (BTreeSet<usize>, Vec<usize>, usize) {
        let (mut rejected, mut delivered, mut requests) = (BTreeSet::new(), Vec::new(), 0);
        let mut search = Search::default();
        search.refused(batch, Vec::new());
        while let Some(group) = search.next_part().filter(|group| !group.is_empty()) {
            requests += 1;
            if group.iter().any(|event| bad.contains(event)) {
                let named = group.iter().position(|event| bad.contains(event)).filter(|_| names);
                match isolate(group, named) {
                    Parts::Nothing => {}
                    Parts::Alone(event) => assert!(rejected.insert(event), "rejected once"),
                    Parts::Halves(first, second) => search.refused(first, second),
                }
            } else {
                delivered.extend(group);
                search.good();
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
