//! The bare producer: hands records to the broker and waits for its word, nothing else. It is a process of its own, so that its CPU time
//! can be told from that of the load; it counts it itself, from after its first words with the broker.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};

use crate::{client::CONNECTIONS, cpu};

/// The word by which this program is told to be the bare producer.
pub const COMMAND: &str = "produce-bare";
const RUN_TIME: Duration = Duration::from_millis(1_500);

/// Keys and values.
pub type Records = Vec<(String, String)>;

/// Produces to a topic at some brokers what stands in a file, so many records at once on each of as many tasks as the load has
/// connections. Prints how many were acknowledged and the CPU microseconds that took.
pub fn produce(words: &[String]) -> anyhow::Result<()> {
    let [brokers, topic, file, batch] = words else { anyhow::bail!("{COMMAND} BROKERS TOPIC FILE BATCH") };
    let records: Arc<Records> = Arc::new(serde_json::from_slice(&std::fs::read(file)?)?);
    let batch: usize = batch.parse()?;
    // The settings of our own appends: see storage/src/cluster/producer.rs.
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "1")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "131072")
        .create()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        send(&producer, topic, &records[..batch.min(records.len())]).await?;
        let (began, before) = (Instant::now(), cpu::used("self")?);
        let tasks: Vec<_> = (0..CONNECTIONS)
            .map(|task| {
                let (producer, records, topic) = (producer.clone(), records.clone(), topic.clone());
                tokio::spawn(async move {
                    let mut acknowledged = 0_u64;
                    for chunk in records.chunks(batch).cycle().skip(task * 7) {
                        if began.elapsed() >= RUN_TIME {
                            break;
                        }
                        send(&producer, &topic, chunk).await?;
                        acknowledged += chunk.len() as u64;
                    }
                    anyhow::Ok(acknowledged)
                })
            })
            .collect();
        let mut acknowledged = 0;
        for task in tasks {
            acknowledged += task.await??;
        }
        let used = cpu::used("self")?.saturating_sub(before);
        writeln!(std::io::stdout(), "{acknowledged} {}", used.as_micros())?;
        Ok(())
    })
}

/// Hands all over, then waits for each.
async fn send(producer: &FutureProducer, topic: &str, records: &[(String, String)]) -> anyhow::Result<()> {
    let mut waits = Vec::with_capacity(records.len());
    for (key, value) in records {
        waits.push(producer.send_result(FutureRecord::to(topic).key(key).payload(value)).map_err(|(error, _)| error)?);
    }
    for wait in waits {
        wait.await.context("the producer ended")?.map_err(|(error, _)| error)?;
    }
    Ok(())
}
