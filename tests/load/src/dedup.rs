//! The filter of order keys, filled to the ends of its generations: bits a key, and false positives among absent keys.

use processor::filter::{FilterSet, digest};
use schemas::time::Time;

use crate::figure::{Figure, Goal, Group, medians};

/// The default of `processor.filter_first_keys`.
const FIRST_KEYS: u64 = 1_000_000;
/// Generations grow fourfold: 1 M, 5 M and 21 M keys in all, so 10 M lies between two ends.
const GENERATIONS: usize = 3;
const PROBES: u64 = 1_000_000;
const RUNS: u64 = 3;

/// The group.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("dedup_bits_per_key", "bits", Goal::AtMost(18.0)),
        Figure::new("dedup_false_positive_pct", "pct", Goal::AtMost(0.15)),
    ],
    measure,
};

fn measure() -> anyhow::Result<Vec<f64>> {
    // Nothing here is timed, so the runs may share the cores.
    let runs: Vec<_> = (0..RUNS).map(|run| std::thread::spawn(move || fill(run))).collect();
    let rows: Option<Vec<Vec<f64>>> = runs.into_iter().map(|run| run.join().ok()).collect();
    rows.map(|rows| medians(&rows)).ok_or_else(|| anyhow::anyhow!("a run broke down"))
}

/// The worst of all generation ends: bits per key, percent of absent keys that seem to be there.
fn fill(run: u64) -> Vec<f64> {
    let key = |number: u64| digest(&format!("fn_load|purchase|ORD-{run}-{number}"));
    let mut set = FilterSet::orders(FIRST_KEYS);
    let (mut bits, mut wrong) = (0.0_f64, 0.0_f64);
    let mut number = 0;
    for _ in 0..GENERATIONS {
        loop {
            set.add(&key(number), Time::default());
            number += 1;
            if set.keys() == set.capacity() {
                break;
            }
        }
        let mistaken = (0..PROBES).filter(|probe| set.may_hold(&key(u64::MAX - probe))).count();
        let here = (set.bytes() as f64 * 8.0 / set.keys() as f64, mistaken as f64 * 100.0 / PROBES as f64);
        eprintln!("dedup: {} keys, {:.2} bits a key, {:.4} % of absent keys mistaken", set.keys(), here.0, here.1);
        (bits, wrong) = (bits.max(here.0), wrong.max(here.1));
    }
    vec![bits, wrong]
}
