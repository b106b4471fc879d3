//! Which deliveries were met already: 128 bits each instead of their texts.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

/// How deliveries become marks: two of them get the same with a chance of one in 10^26 among a million.
#[derive(Clone, Default)]
pub(crate) struct Marker([RandomState; 2]);

impl Marker {
    /// The mark of a delivery.
    pub(crate) fn mark(&self, pixel: &str, dedup_key: &str) -> u128 {
        let [high, low] = &self.0;
        u128::from(high.hash_one((pixel, dedup_key))) << 64 | u128::from(low.hash_one((pixel, dedup_key)))
    }
}

/// A set of deliveries. A million take 36 MB at most.
#[derive(Default)]
pub(crate) struct Told {
    marks: HashSet<u128>,
    marker: Marker,
}

impl Told {
    /// Takes one in; false if it was there.
    pub(crate) fn insert(&mut self, pixel: &str, dedup_key: &str) -> bool {
        self.marks.insert(self.marker.mark(pixel, dedup_key))
    }

    /// Whether it is there.
    pub(crate) fn contains(&self, pixel: &str, dedup_key: &str) -> bool {
        self.marks.contains(&self.marker.mark(pixel, dedup_key))
    }
}
