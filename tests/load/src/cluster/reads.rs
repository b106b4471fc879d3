//! What the judge asks the CQL server, with filters that are warm and with cold ones: every read of its process, whatever the table.
//!
//! Every event is new. Their visitors were met shortly before, so that what is asked is asked for the event; a visitor who was not met
//! in the last minute costs one more read, with either filter.

use super::{
    Cluster, Member, PARTITIONS,
    judge::{Work, judges},
};
use crate::figure::{Figure, Goal, Group, medians};

const RUNS: usize = 3;
/// Judged within the minute for which a judge remembers a visitor.
const RECORDS: u64 = 20_000;
const VISITORS: u64 = 2_000;

/// The group.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("cql_reads_per_event", "reads", Goal::AtMost(0.01)),
        Figure::new("cql_reads_per_event_cold", "reads", Goal::Told),
    ],
    measure: || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(measure()),
};

async fn measure() -> anyhow::Result<Vec<f64>> {
    let mut rows = Vec::new();
    for _ in 0..RUNS {
        let cluster = Cluster::make().await?;
        let mut work = Work::default();
        let warm = cluster.member("process", "warm", &[]).await?;
        judges(&warm, PARTITIONS as usize).await?;
        let with_filter = reads_per_event(&cluster, &warm, &mut work).await?;
        warm.end()?;
        let cold = cluster.member("process", "cold", &[("RAPIDMETRICS_PROCESSOR__FILTER_ALWAYS_COLD", "true")]).await?;
        let without = reads_per_event(&cluster, &cold, &mut work).await?;
        cold.end()?;
        cluster.end().await;
        rows.push(vec![with_filter, without]);
    }
    Ok(medians(&rows))
}

async fn reads_per_event(cluster: &Cluster, judge: &Member, work: &mut Work) -> anyhow::Result<f64> {
    let all: Vec<u32> = (0..PARTITIONS).collect();
    let visitor = |number| number % VISITORS;
    work.fill_by(cluster, &all, VISITORS, visitor).await?; // every visitor is met
    work.judged(cluster).await?;
    let before = reads(judge).await?;
    work.fill_by(cluster, &all, RECORDS, visitor).await?;
    work.judged(cluster).await?;
    let after = reads(judge).await?;
    let told: Vec<String> = after
        .iter()
        .map(|(statement, count)| {
            let earlier = before.iter().find(|(name, _)| name == statement).map_or(0.0, |(_, count)| *count);
            (statement, count - earlier)
        })
        .filter(|(_, count)| *count > 0.0)
        .map(|(statement, count)| format!("{statement} {count}"))
        .collect();
    eprintln!("cql reads: of {RECORDS} events {}", if told.is_empty() { "none".to_owned() } else { told.join(", ") });
    let total = |reads: &[(String, f64)]| reads.iter().map(|(_, count)| count).sum::<f64>();
    Ok((total(&after) - total(&before)) / RECORDS as f64)
}

/// Reads by statement. Writes are called `put_…`, `drop_…`, or by what they do to an owner.
async fn reads(judge: &Member) -> anyhow::Result<Vec<(String, f64)>> {
    const READS: [&str; 5] = ["get_", "list_", "scan_", "page_", "hour_"];
    let statement = |name: &str| Some(name.strip_prefix("rapidmetrics_cql_seconds_count{statement=\"")?.split('"').next()?.to_owned());
    let metrics = judge.metrics().await?.into_iter();
    let all = metrics.filter_map(|(name, count)| Some((statement(&name)?, count)));
    Ok(all.filter(|(statement, _)| READS.iter().any(|read| statement.starts_with(read))).collect())
}
