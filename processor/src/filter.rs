//! Bloom filters in front of the exact answer: "surely new" without a read. One per raw partition; it dies with the assignment.
//!
//! A filter may say "absent" at offset o only if it holds every key below o. While that is not known it is *cold*: every key asks
//! the ledger. Cold is slow, never wrong.

use bloomfilter::Bloom;
use schemas::{
    key::DedupKey,
    time::{DAY_US, Time},
};
use sha2::{Digest as _, Sha256};

/// False positives of all generations of one set together, at most: 0.15 %.
pub const FALSE_POSITIVES_MAX: f64 = 0.0015;
/// An event generation is dropped when its newest key was received that long before the current record: the thirty days of event
/// keys and two for clocks that disagree.
const EVENT_DAYS: i64 = 32;
/// Seed of every filter. Snapshots outlive the process, so it is fixed; keys are digests, so it need not be secret.
const SEED: [u8; 32] = *b"rapidmetrics bloom filter seed 1";

/// A key as filters hold it: the first half of its SHA-256. Two keys that share it would be a false positive, nothing worse.
pub type KeyDigest = [u8; 16];

/// The digest of a key's text.
pub fn digest(key: &str) -> KeyDigest {
    let full: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

/// One bloom filter of a set.
struct Generation {
    bloom: Bloom<KeyDigest>,
    capacity: u64,
    keys: u64,
    rate: f64,
    newest: Time,
}

impl Generation {
    fn new(capacity: u64, rate: f64) -> Self {
        let bloom = Bloom::new_for_fp_rate_with_seed(capacity as usize, rate, &SEED)
            .expect("capacity is at least 1 and the rate lies between 0 and 1");
        Self { bloom, capacity, keys: 0, rate, newest: Time::default() }
    }

    fn bytes(&self) -> u64 {
        self.bloom.len() / 8
    }
}

/// A growing set: each generation is larger than all before it, and takes half of what is left of the false-positive budget.
pub struct FilterSet {
    generations: Vec<Generation>,
    first_capacity: u64,
    drops_by_age: bool,
}

impl FilterSet {
    /// A set for order keys, which are kept for ever.
    pub fn orders(first_capacity: u64) -> Self {
        Self { generations: Vec::new(), first_capacity: first_capacity.max(1), drops_by_age: false }
    }

    /// A set for event keys, whose generations are dropped by age.
    pub fn events(first_capacity: u64) -> Self {
        Self { generations: Vec::new(), first_capacity: first_capacity.max(1), drops_by_age: true }
    }

    /// Whether the key may be in the set.
    pub fn may_hold(&self, key: &KeyDigest) -> bool {
        self.generations.iter().rev().any(|generation| generation.bloom.check(key))
    }

    /// Adds a key that was received at `at`. A key that the set seems to hold is not counted again.
    pub fn add(&mut self, key: &KeyDigest, at: Time) {
        if self.drops_by_age {
            self.generations.retain(|generation| at.since(generation.newest) < EVENT_DAYS * DAY_US);
        }
        // The newest generation is told even of a key that an older one holds, because the older one is dropped first.
        let known = self.drops_by_age && self.generations.len() > 1;
        if !known && self.may_hold(key) {
            if let Some(last) = self.generations.last_mut() {
                last.newest = last.newest.max(at);
            }
            return;
        }
        if self.generations.last().is_none_or(|last| last.keys >= last.capacity) {
            self.grow();
        }
        let last = self.generations.last_mut().expect("there is one: the set just grew if there was none");
        last.newest = last.newest.max(at);
        if !last.bloom.check_and_set(key) {
            last.keys += 1;
        }
    }

    fn grow(&mut self) {
        let held: u64 = self.generations.iter().map(|generation| generation.capacity).sum();
        // Four times the last for orders (held·3 + first is exactly that for 1, 4, 16…), and by what is still alive for events.
        let capacity = held.saturating_mul(3).saturating_add(self.first_capacity);
        let spent: f64 = self.generations.iter().map(|generation| generation.rate).sum();
        self.generations.push(Generation::new(capacity, (FALSE_POSITIVES_MAX - spent) / 2.0));
    }

    /// Keys held.
    pub fn keys(&self) -> u64 {
        self.generations.iter().map(|generation| generation.keys).sum()
    }

    /// Keys that fit until the newest generation is full.
    pub fn capacity(&self) -> u64 {
        self.generations.iter().map(|generation| generation.capacity).sum()
    }

    /// Bytes of all bitmaps.
    pub fn bytes(&self) -> u64 {
        self.generations.iter().map(Generation::bytes).sum()
    }

    fn encode(&self, to: &mut Vec<u8>) {
        to.extend((self.generations.len() as u32).to_le_bytes());
        for generation in &self.generations {
            for number in [generation.capacity, generation.keys, generation.rate.to_bits(), generation.newest.micros() as u64] {
                to.extend(number.to_le_bytes());
            }
            let bitmap = generation.bloom.as_slice();
            to.extend((bitmap.len() as u64).to_le_bytes());
            to.extend(bitmap);
        }
    }

    fn decode(&mut self, from: &mut &[u8]) -> Option<()> {
        let count = u32::from_le_bytes(take(from)?);
        for _ in 0..count {
            let mut number = || take(from).map(u64::from_le_bytes);
            let (capacity, keys, rate, newest) = (number()?, number()?, f64::from_bits(number()?), number()? as i64);
            let length = usize::try_from(number()?).ok()?;
            let bitmap;
            (bitmap, *from) = from.split_at_checked(length)?;
            let bloom = Bloom::from_slice(bitmap).ok()?;
            self.generations.push(Generation { bloom, capacity, keys, rate, newest: Time::from_micros(newest) });
        }
        Some(())
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*head)
}

/// The filter of one raw partition.
pub struct Filter {
    orders: FilterSet,
    events: FilterSet,
    warm: bool,
    bytes_max: u64,
}

/// Version of the snapshot's bytes. Another one is not read: the filter is then made warm by a scan.
const FORMAT: u8 = 1;

impl Filter {
    /// An empty filter, cold.
    pub fn cold(first_capacity: u64, bytes_max: u64) -> Self {
        Self { orders: FilterSet::orders(first_capacity), events: FilterSet::events(first_capacity), warm: false, bytes_max }
    }

    /// Declares that the filter now holds every key below the next offset.
    pub fn set_warm(&mut self) {
        self.warm = self.bytes() <= self.bytes_max;
    }

    /// Whether "absent" may be believed.
    pub fn is_warm(&self) -> bool {
        self.warm
    }

    /// Whether the key is surely new. Always false while cold.
    pub fn is_surely_new(&self, key: &DedupKey, digest: &KeyDigest) -> bool {
        self.warm && !self.set(key.is_order()).may_hold(digest)
    }

    /// Adds a key. Past its memory bound the filter is cold and stays so, because it would have to forget something.
    pub fn add(&mut self, is_order: bool, digest: &KeyDigest, at: Time) {
        if self.bytes() > self.bytes_max {
            self.warm = false;
            return;
        }
        if is_order { self.orders.add(digest, at) } else { self.events.add(digest, at) }
    }

    fn set(&self, is_order: bool) -> &FilterSet {
        if is_order { &self.orders } else { &self.events }
    }

    /// The set of order keys.
    pub fn orders(&self) -> &FilterSet {
        &self.orders
    }

    /// The set of event keys.
    pub fn events(&self) -> &FilterSet {
        &self.events
    }

    fn bytes(&self) -> u64 {
        self.orders.bytes() + self.events.bytes()
    }

    /// The bytes of a snapshot, with a digest over them.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        self.orders.encode(&mut bytes);
        self.events.encode(&mut bytes);
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        bytes
    }

    /// The filter of a snapshot, still cold; `None` if the bytes are damaged or of another format.
    pub fn decode(bytes: &[u8], first_capacity: u64, bytes_max: u64) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        if Sha256::digest(body).as_slice() != digest {
            return None;
        }
        let mut from = body.strip_prefix(&[FORMAT])?;
        let mut filter = Self::cold(first_capacity, bytes_max);
        filter.orders.decode(&mut from)?;
        filter.events.decode(&mut from)?;
        from.is_empty().then_some(filter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{id::FunnelId, order::OrderId};

    use super::*;

    fn order(n: u64) -> DedupKey {
        let order = OrderId::parse(&n.to_string()).expect("it fits").expect("it is not blank");
        DedupKey::Purchase(FunnelId::parse("fn_1").expect("an id"), order)
    }

    #[test]
    fn generations_grow_fourfold_and_share_the_false_positive_budget() {
        let mut set = FilterSet::orders(100);
        for n in 0..2_100_u64 {
            set.add(&digest(&n.to_string()), Time::default());
        }
        let capacities: Vec<u64> = set.generations.iter().map(|generation| generation.capacity).collect();
        assert_eq!(capacities, [100, 400, 1_600]);
        assert!(set.generations.iter().map(|generation| generation.rate).sum::<f64>() < FALSE_POSITIVES_MAX);
    }

    #[test]
    fn event_generations_are_dropped_by_age_and_order_generations_never() {
        let late = Time::from_micros(40 * DAY_US);
        for (mut set, dropped) in [(FilterSet::events(10), true), (FilterSet::orders(10), false)] {
            set.add(&digest("old"), Time::default());
            set.add(&digest("new"), late);
            assert_eq!(!set.may_hold(&digest("old")), dropped);
            assert!(set.may_hold(&digest("new")));
        }
    }

    #[test]
    fn a_damaged_snapshot_is_not_believed() {
        let mut filter = Filter::cold(10, u64::MAX);
        filter.add(true, &digest("k"), Time::default());
        let bytes = filter.encode();
        assert!(Filter::decode(&bytes, 10, u64::MAX).is_some());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Filter::decode(&damaged, 10, u64::MAX).is_none(), "byte {at}");
        }
        assert!(Filter::decode(&bytes[..bytes.len() - 1], 10, u64::MAX).is_none());
        assert!(Filter::decode(&[], 10, u64::MAX).is_none());
    }

    #[test]
    fn past_its_memory_bound_a_filter_is_cold() {
        let mut filter = Filter::cold(1_000, 1);
        filter.set_warm();
        assert!(filter.is_surely_new(&order(1), &digest("1")));
        filter.add(true, &digest("1"), Time::default());
        filter.add(true, &digest("2"), Time::default());
        assert!(!filter.is_surely_new(&order(3), &digest("3")));
    }

    proptest! {
        #[test]
        fn a_snapshot_and_the_keys_after_it_never_forget_a_key(
            keys in prop::collection::vec((any::<bool>(), 0_u64..500, 0_i64..60), 1..300),
            cut in 0_usize..300,
        ) {
            let cut = cut.min(keys.len());
            let mut times: Vec<i64> = keys.iter().map(|k| k.2).collect();
            times.sort_unstable();
            let keys: Vec<_> = keys.iter().zip(times).map(|((is_order, n, _), day)| (*is_order, *n, day)).collect();
            let mut filter = Filter::cold(7, u64::MAX);
            for (is_order, n, day) in &keys[..cut] {
                filter.add(*is_order, &digest(&n.to_string()), Time::from_micros(day * DAY_US));
            }
            let mut filter = Filter::decode(&filter.encode(), 7, u64::MAX).expect("it was just encoded");
            for (is_order, n, day) in &keys[cut..] {
                filter.add(*is_order, &digest(&n.to_string()), Time::from_micros(day * DAY_US));
            }
            let now = keys.last().map_or(0, |k| k.2);
            for (is_order, n, day) in &keys {
                if *is_order || now - day < 30 {
                    prop_assert!(filter.set(*is_order).may_hold(&digest(&n.to_string())), "{} of day {}", n, day);
                }
            }
        }
    }
}
