//! Building one payload: a conversion with everything that is known of it becomes Meta's event, checked and frozen. Hashing is apart: a
//! person is hashed once, however many events and pixels follow.

use std::hint::black_box;

use schemas::{fact::LegName, meta::freeze, world::World};

use super::event::Sale;
use crate::{
    cpu,
    figure::{Figure, Goal, Group, median},
    traffic::RealWorld,
};

const RUNS: usize = 5;
const SALES: u64 = 1_000;
/// How often each sale is frozen in a run.
const TURNS: u64 = 200;

/// The group.
pub const GROUP: Group = Group { figures: &[Figure::new("sink_payload_us", "us", Goal::AtMost(3.0))], measure };

fn measure() -> anyhow::Result<Vec<f64>> {
    let sales: Vec<Sale> = (0..SALES).map(|number| Sale::new(number, RealWorld.now())).collect();
    let mut values = Vec::new();
    let mut bytes = 0;
    for _ in 0..RUNS {
        let before = cpu::used("self")?;
        for _ in 0..TURNS {
            for sale in &sales {
                let frozen = freeze(black_box(&sale.conversion()), LegName::Server);
                bytes = black_box(&frozen).payload.as_ref().map_or(0, |payload| payload.get().len());
            }
        }
        values.push(cpu::us_per(cpu::used("self")?.saturating_sub(before), SALES * TURNS));
    }
    anyhow::ensure!(bytes > 0, "the sale is withheld");
    eprintln!("sink: a payload has {bytes} bytes");
    Ok(vec![median(values)])
}
