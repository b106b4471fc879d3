//! Pure: which offsets of a partition are done, and the mark below which all of them are.

use std::collections::VecDeque;

/// Offsets that were taken, in order, and whether each is done. Offsets may have gaps.
#[derive(Debug)]
pub struct Offsets {
    taken: VecDeque<(u64, bool)>,
    next: u64,
}

impl Offsets {
    /// Everything below `next` is done.
    pub fn new(next: u64) -> Self {
        Self { taken: VecDeque::new(), next }
    }

    /// The offset was read; it is done later. They are taken in rising order.
    pub fn take(&mut self, offset: u64) {
        debug_assert!(offset >= self.next, "offsets rise");
        self.taken.push_back((offset, false));
        self.next = offset + 1;
    }

    /// The offset is done. Doing it twice changes nothing.
    pub fn done(&mut self, offset: u64) {
        if let Some(at) = self.place(offset) {
            self.taken[at].1 = true;
        }
        while self.taken.front().is_some_and(|(_, done)| *done) {
            self.taken.pop_front();
        }
    }

    /// Where a taken offset stands. Mostly there are no gaps, and it stands where its distance from the first says.
    fn place(&self, offset: u64) -> Option<usize> {
        let distance = offset.checked_sub(self.taken.front()?.0)? as usize;
        match self.taken.get(distance) {
            Some((taken, _)) if *taken == offset => Some(distance),
            _ => self.taken.binary_search_by_key(&offset, |(taken, _)| *taken).ok(),
        }
    }

    /// Everything below this offset is done.
    pub fn low(&self) -> u64 {
        self.taken.front().map_or(self.next, |(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Offsets;

    proptest! {
        #[test]
        fn the_mark_stands_at_the_first_offset_that_is_not_done(
            gaps in proptest::collection::vec(1_u64..4, 1..60),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let mut offsets = Offsets::new(10);
            let taken: Vec<u64> = gaps.iter().scan(9, |at, gap| { *at += gap; Some(*at) }).collect();
            for offset in &taken {
                offsets.take(*offset);
            }
            let mut done = std::collections::BTreeSet::new();
            for pick in order {
                let offset = taken[pick.index(taken.len())];
                offsets.done(offset);
                done.insert(offset);
                let expected = taken.iter().find(|offset| !done.contains(offset)).copied();
                prop_assert_eq!(offsets.low(), expected.unwrap_or(taken[taken.len() - 1] + 1));
            }
        }
    }

    #[test]
    fn offsets_that_were_never_taken_move_nothing() {
        let mut offsets = Offsets::new(5);
        offsets.done(3);
        offsets.done(9);
        assert_eq!(offsets.low(), 5);
    }
}
