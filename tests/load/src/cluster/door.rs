//! The door of a cluster: HTTP in, parsed, acknowledged by the broker, answered; beside the bare server, and beside the bare producer of
//! the very records that it left in the topic.

use std::path::Path;

use anyhow::{Context, ensure};
use schemas::topic::Topic;

use super::{Cluster, bare};
use crate::{
    client::Target,
    door::{us_per_event, webhook},
    figure::{Figure, Goal, Group, medians},
    program, traffic,
};

const RUNS: usize = 3;
/// Each run is the sum of so many short turns of each side: the machine is shared with the broker, and noisy.
const TURNS: usize = 4;
const BATCH: usize = 20;
/// Records that the bare producer has to offer.
const SAMPLE: usize = 4_000;

/// The group.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("kafka_ingest_single_ratio", "ratio", Goal::AtMost(2.2)),
        Figure::new("kafka_ingest_batch_ratio", "ratio", Goal::AtMost(2.5)),
    ],
    measure: || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(measure()),
};

async fn measure() -> anyhow::Result<Vec<f64>> {
    let bare = program::bare()?;
    let mut rows = Vec::new();
    for _ in 0..RUNS {
        let cluster = Cluster::make().await?;
        let account = cluster.account().await?;
        let door = cluster.member("ingest", "door", &[("RAPIDMETRICS_INGEST__VERDICT_TIMEOUT_MS", "0")]).await?;
        let single = traffic::post("/v1/session", &[], &traffic::session(&account.funnel, 1));
        let batch = traffic::post("/v1/session", &[], &traffic::session(&account.funnel, BATCH));
        let order = webhook(&account.funnel, &account.api_key);
        let ours = |request: &String, status| Target::new(door.server.address, request.clone(), status);
        let theirs = |request: &String| Target::new(bare.address, request.clone(), 200);
        let (bare_single, bare_order) = (theirs(&single), theirs(&order));
        let (single, batch, order) = (ours(&single, 200), ours(&batch, 200), ours(&order, 202));

        us_per_event(&bare, &bare_single).await?; // the first words warm both up
        us_per_event(&door.server, &batch).await?;
        let records = cluster.data("records.json");
        sample(&cluster, &records).await?;
        let mut sums = [0.0; 6];
        for _ in 0..TURNS {
            let turn = [
                us_per_event(&bare, &bare_single).await?,
                us_per_event(&door.server, &single).await?,
                us_per_event(&bare, &bare_order).await?,
                us_per_event(&door.server, &order).await?,
                produced(&cluster, &records)?,
                us_per_event(&door.server, &batch).await?,
            ];
            for (sum, us) in sums.iter_mut().zip(turn) {
                *sum += us / TURNS as f64;
            }
        }
        let [bare_session, session, bare_webhook, webhook, producer, batched] = sums;
        eprintln!(
            "kafka door: session {session:.1} us (bare {bare_session:.1}), webhook {webhook:.1} us (bare {bare_webhook:.1}), of {BATCH} {batched:.1} us an event (bare producer {producer:.1})"
        );
        rows.push(vec![(session / bare_session).max(webhook / bare_webhook), batched / producer]);
        door.end()?;
        cluster.end().await;
    }
    Ok(medians(&rows))
}

/// Keeps raw records as they stand in the topic.
async fn sample(cluster: &Cluster, file: &Path) -> anyhow::Result<()> {
    let mut records: bare::Records = Vec::new();
    for partition in 0..cluster.storage.partitions(Topic::Raw) {
        let mut reader = cluster.storage.reader(Topic::Raw, partition, 0);
        while records.len() < SAMPLE * (partition as usize + 1) / cluster.storage.partitions(Topic::Raw) as usize {
            let some = reader.available(SAMPLE / 8, usize::MAX).await?;
            ensure!(!some.is_empty(), "raw partition {partition} has too few records");
            for stored in some {
                records.push((String::from_utf8(stored.key.to_vec())?, String::from_utf8(stored.value.to_vec())?));
            }
        }
    }
    Ok(std::fs::write(file, serde_json::to_vec(&records)?)?)
}

/// CPU microseconds of the bare producer per record.
fn produced(cluster: &Cluster, records: &Path) -> anyhow::Result<f64> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args([bare::COMMAND, &cluster.servers.kafka, &cluster.topic(Topic::Raw)]).arg(records).arg(BATCH.to_string());
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (acknowledged, us) = text.trim().split_once(' ').context("the bare producer failed")?;
    Ok(us.parse::<f64>()? / acknowledged.parse::<f64>()?)
}
