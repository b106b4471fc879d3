//! A memory of the newest things, bounded by their number and by their bytes.

use std::collections::VecDeque;

/// As many as can be asked for at once.
pub const ITEMS_MAX: usize = 10_000;
/// Batches of a thousand events are near a megabyte each; without this bound ten thousand of them would fill the machine.
const BYTES_MAX: usize = 128 << 20;

/// The newest things, oldest first.
#[derive(Debug)]
pub struct Ring<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Ring { items: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Ring<T> {
    /// Takes one more and lets go of the oldest where there is no room.
    pub fn push(&mut self, bytes: usize, item: T) {
        self.items.push_back((bytes, item));
        self.bytes += bytes;
        while self.items.len() > ITEMS_MAX || (self.bytes > BYTES_MAX && self.items.len() > 1) {
            self.bytes -= self.items.pop_front().map_or(0, |(bytes, _)| bytes);
        }
    }

    /// The newest that are wanted, at most `limit`, newest last.
    pub fn newest(&self, limit: usize, wanted: impl Fn(&T) -> bool) -> Vec<&T> {
        let mut found: Vec<&T> = self.items.iter().rev().map(|(_, item)| item).filter(|item| wanted(item)).take(limit).collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, ITEMS_MAX, Ring};

    #[test]
    fn neither_number_nor_bytes_grow_without_bound() {
        let mut ring = Ring::default();
        (0..ITEMS_MAX + 5).for_each(|n| ring.push(1, n));
        assert_eq!(ring.newest(usize::MAX, |_| true).len(), ITEMS_MAX);
        assert_eq!(ring.newest(2, |n| n % 2 == 0), [&(ITEMS_MAX + 2), &(ITEMS_MAX + 4)]);
        ring.push(BYTES_MAX, 1);
        assert_eq!(ring.newest(usize::MAX, |_| true), [&1]);
        ring.push(BYTES_MAX * 2, 2);
        assert_eq!(ring.newest(usize::MAX, |_| true), [&2], "the newest always stays");
    }
}
