//! How throughput grows with partitions that have work and with processes.
//!
//! With the servers on the same machine it grows no further than the cores reach: how busy they were is told beside each throughput.

use super::{
    Cluster, Member, PARTITIONS,
    judge::{Work, judges},
};
use crate::figure::{Figure, Goal, Group, medians};

const RUNS: usize = 3;
const RECORDS: u64 = 20_000;
const WARM_UP: u64 = 2_000;
/// Partitions that have work.
const BUSY: [usize; 3] = [1, 2, 4];

/// The group.
pub const GROUP: Group = Group {
    figures: &[Figure::new("kafka_processor_scaling", "ratio", Goal::Told)],
    measure: || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(measure()),
};

async fn measure() -> anyhow::Result<Vec<f64>> {
    let mut rows = Vec::new();
    for _ in 0..RUNS {
        let cluster = Cluster::make().await?;
        let mut work = Work::default();
        let first = cluster.member("process", "first", &[]).await?;
        judges(&first, PARTITIONS as usize).await?;
        let second = cluster.member("process", "second", &[]).await?;
        let of_second = judges(&second, PARTITIONS as usize / 2).await?;
        // In turn one of each process, so that two partitions with work are work for both.
        let of_first = (0..PARTITIONS).filter(|partition| !of_second.contains(partition));
        let partitions: Vec<u32> = of_first.zip(&of_second).flat_map(|(first, second)| [first, *second]).collect();
        work.fill(&cluster, &partitions, WARM_UP).await?;
        work.judged(&cluster).await?;
        let by_two = throughputs(&cluster, &mut work, &partitions, &[&first, &second]).await?;
        second.end()?;
        work.fill(&cluster, &partitions, WARM_UP).await?;
        work.judged(&cluster).await?;
        let by_one = throughputs(&cluster, &mut work, &partitions, &[&first]).await?;
        first.end()?;
        cluster.end().await;
        rows.push([by_one, by_two].concat());
    }
    let medians = medians(&rows);
    let (by_one, by_two) = medians.split_at(BUSY.len());
    let best = |row: &[f64]| row.iter().copied().fold(0.0, f64::max);
    eprintln!("kafka scaling: events/s with work in {BUSY:?} partitions: one process {by_one:.0?}, two {by_two:.0?} (medians)");
    Ok(vec![best(by_two) / best(by_one)])
}

/// Events a second, for each number of partitions that have work.
async fn throughputs(cluster: &Cluster, work: &mut Work, partitions: &[u32], judges: &[&Member]) -> anyhow::Result<Vec<f64>> {
    let mut row = Vec::new();
    for busy in BUSY {
        let ours = || judges.iter().try_fold(0.0, |sum, judge| anyhow::Ok(sum + judge.server.cpu()?.as_secs_f64()));
        let before = (ours()?, Machine::now()?);
        work.fill(cluster, &partitions[..busy], RECORDS).await?;
        let per_s = work.judged(cluster).await?;
        let (ours, machine) = (ours()? - before.0, Machine::now()?);
        let (busy_s, all_s) = (machine.busy_s - before.1.busy_s, machine.all_s - before.1.all_s);
        eprintln!(
            "kafka scaling: {} processes, {busy} partitions: {per_s:.0} events/s; the machine's cores were {:.0} % busy, {:.0} % of it by us",
            judges.len(),
            busy_s * 100.0 / all_s,
            ours * 100.0 / busy_s
        );
        row.push(per_s);
    }
    Ok(row)
}

/// CPU time of all cores since the machine started, in seconds.
struct Machine {
    busy_s: f64,
    all_s: f64,
}

impl Machine {
    fn now() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let ticks: Vec<f64> = text.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        let all: f64 = ticks.iter().take(8).sum(); // what follows is counted in the first ones already
        let idle: f64 = ticks.iter().skip(3).take(2).sum(); // idle, and waiting for a disk
        Ok(Self { busy_s: (all - idle) / 100.0, all_s: all / 100.0 })
    }
}
