//! The benchmark: what RapidMetrics costs beside the barest thing that could do the same, in one run on one machine.
//!
//! `tests/load/run [NAME…]` prints a line `figure NAME VALUE UNIT` for each figure. Each is the median of three runs or more. In a
//! ratio both sides are measured in turn within each run, so that a noisy machine slows both. CPU is user plus system time of the
//! process that serves, which never is the one that makes the load.
//!
//! | figure | what |
//! |---|---|
//! | `ingest_single_ratio` | CPU of the door alone per event that is durable and answered, one event a request, over a bare axum handler that parses the same body: a browser's session, or a webhook with its key, whichever is worse |
//! | `ingest_batch20_ratio` | the same per event with 20 events in a browser's session, over the bare handler with one |
//! | `whole_path_ratio` | CPU of the whole process per tracked event until Meta in a box said 200 to it, over the same bare handler |
//! | `log_append_ratio` | durable appends per second with 256 waiting, over a plain file that is synced every 256 records |
//! | `processor_cost_ratio` | CPU per new tracked event from raw record to durable step, over bare puts of the same rows and records into the same engine |
//! | `processor_tracked_per_core_s` | new tracked events of one pixel a CPU second |
//! | `processor_purchases_per_core_s` | new orders of two pixels a CPU second |
//! | `processor_repeats_per_core_s` | webhooks of orders that are known a CPU second |
//! | `dedup_bits_per_key` | memory of the filter of order keys at the ends of its generations, 1 M, 5 M and 21 M keys; the worst |
//! | `dedup_false_positive_pct` | how often it takes an absent key for a known one, there; the worst |
//! | `webhook_p50_ms_at_50` and so on | a webhook's answer with its verdict at 10, 50 and 90 % of the highest rate, from when it was due to be sent |
//!
//! The sink, on a folder whose dispatch log was filled beforehand; Meta in a box is a process of its own. Where a figure is told for several
//! numbers of pixels (or of bad events), the name without a number is the worst of them.
//!
//! | figure | what |
//! |---|---|
//! | `sink_payload_us` | building one payload from a conversion, whose person is hashed already |
//! | `sink_dispatches_per_core_s` | dispatches read, sent and recorded with their outcome, a CPU second of the role `deliver`, with 1 and 1,000 pixels |
//! | `sink_cpu_ratio` | its CPU per delivered event over a bare loop that serialises the same events, a thousand a request, and sends them to the same box |
//! | `sink_requests_per_event` | requests to Meta per event of a full log, with 1 and 100 pixels |
//! | `sink_isolation_requests` | requests until 1, 10 and 100 bad events among a thousand are found, where Meta does not say which they are |
//! | `sink_neighbour_p95_ratio` | p95 from the dispatch to Meta's yes of 1,000 pixels that have a dead, a slow and a flooding neighbour, over the same without them, five rounds in turn |
//!
//! The same program as a cluster, on a real broker and a real CQL server that stand on the same machine and take their share of it:
//!
//! | figure | what |
//! |---|---|
//! | `kafka_ingest_single_ratio` | `ingest_single_ratio` of the ingest role |
//! | `kafka_ingest_batch_ratio` | CPU of the ingest role per event with 20 in a browser's session, over an idempotent producer that hands the same records to the same topic, 64 times 20 on their way in both |
//! | `kafka_processor_per_core_s` | new tracked events, each of a visitor never seen before, a CPU second of the process role: ledger rows and transaction included |
//! | `kafka_processor_scaling` | the highest throughput of two processes over the highest of one, with 1, 2 and 4 partitions that have work; all six, and what the machine had left, are told on standard error |
//! | `cql_reads_per_event` | every read that the process role sends to the CQL server, per new tracked event of visitors met within the last minute; a visitor who is not costs one read more |
//! | `cql_reads_per_event_cold` | the same with cold filters |
//! | `kafka_webhook_p50_ms_at_50`, `…p99…` | `webhook_p50_ms_at_50` through the roles ingest and process |

mod bare;
mod client;
mod cluster;
mod cpu;
mod dedup;
mod disk;
mod door;
mod figure;
mod judge;
mod log;
mod meta;
mod program;
mod puts;
mod sink;
mod traffic;
mod webhook;
mod whole;

use std::collections::BTreeSet;

use anyhow::{bail, ensure};
use cluster::Servers;
use figure::{Figure, Group};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// All figures, by what is measured together.
static GROUPS: [Group; 11] = [
    log::GROUP,
    dedup::GROUP,
    judge::TRACKED,
    judge::ORDERS,
    sink::payload::GROUP,
    sink::cost::GROUP,
    sink::isolation::GROUP,
    sink::neighbours::GROUP,
    door::GROUP,
    whole::GROUP,
    webhook::GROUP,
];

/// Those that need a broker and a CQL server.
static ON_SERVERS: [Group; 5] =
    [cluster::door::GROUP, cluster::judge::GROUP, cluster::scaling::GROUP, cluster::reads::GROUP, cluster::webhook::GROUP];

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some(bare::COMMAND) => return bare::serve(),
        Some(cluster::bare::COMMAND) => return cluster::bare::produce(&words[1..]),
        _ => {}
    }
    let wanted: BTreeSet<&str> = words.iter().map(String::as_str).collect();
    let all = || GROUPS.iter().chain(&ON_SERVERS).flat_map(|group| group.figures);
    if let Some(unknown) = wanted.iter().find(|name| all().all(|figure| figure.name != **name)) {
        bail!("there is no figure {unknown}; there are {}", all().map(|figure| figure.name).collect::<Vec<_>>().join(", "));
    }
    let is_wanted = |figure: &Figure| wanted.is_empty() || wanted.contains(figure.name);
    let wanted_of = |groups: &'static [Group]| groups.iter().filter(|group| group.figures.iter().any(is_wanted)).collect::<Vec<_>>();
    let mut groups = wanted_of(&GROUPS);
    let on_servers = wanted_of(&ON_SERVERS);
    if Servers::named().is_some() || on_servers.is_empty() {
        groups.extend(on_servers);
    } else {
        ensure!(wanted.is_empty(), "{}", Servers::MISSING);
        eprintln!("{}; their figures are left out", Servers::MISSING);
    }
    let measured: anyhow::Result<()> = groups.into_iter().try_for_each(|group| {
        for (figure, value) in group.figures.iter().zip((group.measure)()?) {
            if is_wanted(figure) {
                figure.print(value);
            }
        }
        Ok(())
    });
    let removed = match Servers::named() {
        Some(servers) => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(cluster::remove_all(&servers)),
        None => Ok(()),
    };
    measured.and(removed)
}
