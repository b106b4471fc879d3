//! How long a webhook's full answer takes in a cluster: through the door, the broker, the judge, the ledger, the broker and back.
//!
//! The sink takes no part in an answer and does not run: in a cluster it has machines of its own.

use std::time::Duration;

use super::{Cluster, PARTITIONS, judge::judges};
use crate::{
    client::{Target, Until, closed_loop},
    disk::Probe,
    door,
    figure::{Figure, Goal, Group, medians},
    webhook::{on_timetable, percentile},
};

/// The servers compile what is used most while they run, and need a third more CPU before that.
const WARM_UP_TIME: Duration = Duration::from_secs(60);
/// Our own processes are new in each run.
const RUN_WARM_UP_TIME: Duration = Duration::from_secs(3);
/// After the highest rate: what it left in the servers' memory is written out, and collected.
const CALM: Duration = Duration::from_secs(5);
const MAXIMUM_TIME: Duration = Duration::from_secs(5);
const RUN_TIME: Duration = Duration::from_secs(8);

/// The group.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("kafka_webhook_p50_ms_at_50", "ms", Goal::Told),
        Figure::new("kafka_webhook_p99_ms_at_50", "ms", Goal::AtMost(50.0)),
    ],
    measure: || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(measure()),
};

async fn measure() -> anyhow::Result<Vec<f64>> {
    let mut rows = Vec::new();
    for warm_up in [WARM_UP_TIME, RUN_WARM_UP_TIME, RUN_WARM_UP_TIME] {
        let cluster = Cluster::make().await?;
        let account = cluster.account().await?;
        let judge = cluster.member("process", "judge", &[]).await?;
        judges(&judge, PARTITIONS as usize).await?;
        let door = cluster.member("ingest", "door", &[]).await?;
        let target = Target::new(door.server.address, door::webhook(&account.funnel, &account.api_key), 200);
        closed_loop(&target, Until::Passed(warm_up)).await?;
        let highest = closed_loop(&target, Until::Passed(MAXIMUM_TIME)).await? as f64 / MAXIMUM_TIME.as_secs_f64();
        tokio::time::sleep(CALM).await;
        let disk = Probe::start()?;
        let mut waits = on_timetable(&target, highest / 2.0, RUN_TIME).await?;
        let disk = disk.end()?;
        waits.sort_unstable();
        let row = vec![percentile(&waits, 50), percentile(&waits, 99)];
        eprintln!(
            "kafka webhook: at most {highest:.0} a second; at half of it p50 {:.1} ms, p99 {:.1} ms, the disk alone {:.1} and {:.1} ms",
            row[0],
            row[1],
            percentile(&disk, 50),
            percentile(&disk, 99),
        );
        rows.push(row);
        door.end()?;
        judge.end()?;
        cluster.end().await;
    }
    Ok(medians(&rows))
}
