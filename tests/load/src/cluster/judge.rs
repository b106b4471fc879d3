//! The judge of a cluster: raw records are judged by a process of its own, whose CPU time is counted meanwhile.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::ensure;
use schemas::topic::{Group as Consumer, Topic};

use super::{Cluster, Member, PARTITIONS};
use crate::{
    cpu,
    figure::{Figure, Goal, Group, median},
    judge::track_of,
    program::PATIENCE,
};

const RUNS: usize = 3;
const RECORDS: u64 = 40_000;
/// What brings code, caches and connections up to speed first.
const WARM_UP: u64 = 4_000;
/// Records appended at once while the log is filled.
const APPEND_RECORDS: usize = 2_000;
/// How often the committed offsets are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The group.
pub const GROUP: Group = Group {
    figures: &[Figure::new("kafka_processor_per_core_s", "per_s", Goal::AtLeast(15_000.0))],
    measure: || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(measure()),
};

async fn measure() -> anyhow::Result<Vec<f64>> {
    let mut values = Vec::new();
    for _ in 0..RUNS {
        let cluster = Cluster::make().await?;
        let judge = cluster.member("process", "judge", &[]).await?;
        judges(&judge, PARTITIONS as usize).await?;
        let all = (0..PARTITIONS).collect::<Vec<_>>();
        let mut work = Work::default();
        work.fill(&cluster, &all, WARM_UP).await?;
        work.judged(&cluster).await?;
        let before = judge.server.cpu()?;
        work.fill(&cluster, &all, RECORDS).await?;
        let per_s = work.judged(&cluster).await?;
        let us = cpu::us_per(judge.server.cpu()?.saturating_sub(before), RECORDS);
        let metrics = judge.metrics().await?;
        let value = |name: &str| metrics.iter().filter(|(is, _)| is.starts_with(name)).map(|(_, value)| value).sum::<f64>();
        let mean_ms = |name: &str| value(&format!("{name}_sum")) * 1e3 / value(&format!("{name}_count")).max(1.0);
        eprintln!(
            "kafka judge: {us:.1} us a tracked event, {per_s:.0} events/s; a transaction {:.1} ms, a step {:.1} ms with {:.0} records",
            mean_ms("rapidmetrics_kafka_transaction_seconds"),
            mean_ms("rapidmetrics_storage_step_seconds"),
            mean_ms("rapidmetrics_processor_batch_records") / 1e3,
        );
        values.push(1e6 / us);
        judge.end()?;
        cluster.end().await;
    }
    Ok(vec![median(values)])
}

/// Waits until a process judges so many partitions. Answers which. Their filters are warm once the first records were judged.
pub async fn judges(judge: &Member, partitions: usize) -> anyhow::Result<BTreeSet<u32>> {
    let began = Instant::now();
    loop {
        let number = |name: &str| name.strip_prefix("rapidmetrics_processor_filter_warm{partition=\"")?.split('"').next()?.parse().ok();
        let judged: BTreeSet<u32> = judge.metrics().await?.iter().filter_map(|(name, _)| number(name)).collect();
        if judged.len() >= partitions {
            return Ok(judged);
        }
        ensure!(began.elapsed() < PATIENCE, "{} of {partitions} partitions are judged after {PATIENCE:?}", judged.len());
        tokio::time::sleep(LOOK).await;
    }
}

/// Events in the log of one cluster, each with a number of its own.
#[derive(Default)]
pub struct Work {
    next: u64,
    filled: u64,
}

impl Work {
    /// Appends so many new events to those partitions, each by a visitor never seen before.
    pub async fn fill(&mut self, cluster: &Cluster, partitions: &[u32], records: u64) -> anyhow::Result<()> {
        self.fill_by(cluster, partitions, records, |number| number).await
    }

    /// Appends so many new events to those partitions, each by the visitor that is named.
    pub async fn fill_by(
        &mut self,
        cluster: &Cluster,
        partitions: &[u32],
        records: u64,
        visitor: impl Fn(u64) -> u64,
    ) -> anyhow::Result<()> {
        let appender = cluster.storage.appender();
        let (mut batch, mut left) = (Vec::with_capacity(APPEND_RECORDS), records);
        while left > 0 {
            let record = track_of(self.next, visitor(self.next));
            self.next += 1;
            if !partitions.contains(&cluster.storage.partition_of(Topic::Raw, &record.key)) {
                continue;
            }
            batch.push(record);
            left -= 1;
            if batch.len() == APPEND_RECORDS || left == 0 {
                appender.append(std::mem::take(&mut batch)).await?;
            }
        }
        self.filled += records;
        Ok(())
    }

    /// Waits until everything is judged: committed offsets say so. Answers how many a second from the first tenth on.
    pub async fn judged(&self, cluster: &Cluster) -> anyhow::Result<f64> {
        let first = judged_so_far(cluster).await?;
        let (began, mut from) = (Instant::now(), None);
        loop {
            let judged = judged_so_far(cluster).await?;
            let (from_at, from_judged) = *from.get_or_insert((Instant::now(), judged));
            if judged < first + (self.filled - first) / 10 {
                from = None;
            }
            if judged >= self.filled {
                return Ok((judged - from_judged) as f64 / from_at.elapsed().as_secs_f64());
            }
            ensure!(began.elapsed() < PATIENCE, "{judged} of {} events are judged after {PATIENCE:?}", self.filled);
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn judged_so_far(cluster: &Cluster) -> anyhow::Result<u64> {
    let mut judged = 0;
    for partition in 0..PARTITIONS {
        judged += cluster.storage.committed(Consumer::Processor, partition).await?.next_offset;
    }
    Ok(judged)
}
