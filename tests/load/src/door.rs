//! The door alone: HTTP in, parsed, durable by group commit, answered; beside the bare server in turn.
//!
//! Two requests can bring a single event. A browser's session needs no key: its funnel is looked up. A webhook has its key checked and
//! would wait for a verdict, which never comes while no judge runs; with `ingest.verdict_timeout_ms = 0` it is answered as soon as it is
//! durable. Both are measured, each over the bare handler with the same request, and the worse one is told.

use std::time::Duration;

use crate::{
    client::{Target, Until, closed_loop},
    cpu,
    figure::{Figure, Goal, Group, medians},
    program::{self, House, Server},
    traffic,
};

const RUNS: usize = 9;
const RUN_TIME: Duration = Duration::from_millis(800);
const BATCH: usize = 20;

/// The group.
pub const GROUP: Group = Group {
    figures: &[
        Figure::new("ingest_single_ratio", "ratio", Goal::AtMost(2.0)),
        Figure::new("ingest_batch20_ratio", "ratio", Goal::AtMost(0.4)),
    ],
    measure,
};

fn measure() -> anyhow::Result<Vec<f64>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(side_by_side())
}

async fn side_by_side() -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let house = House::start(&folder.path().join("data"), &["ingest"], &[("RAPIDMETRICS_INGEST__VERDICT_TIMEOUT_MS", "0")])?;
    let bare = program::bare()?;
    let single = traffic::post("/v1/session", &[], &traffic::session(&house.funnel, 1));
    let batch = traffic::post("/v1/session", &[], &traffic::session(&house.funnel, BATCH));
    let order = webhook(&house.funnel, &house.api_key);
    let ours = |request: &String, status| Target::new(house.server.address, request.clone(), status);
    let theirs = |request: &String| Target::new(bare.address, request.clone(), 200);
    let (bare_single, bare_order) = (theirs(&single), theirs(&order));
    let (single, batch, order) = (ours(&single, 200), ours(&batch, 200), ours(&order, 202));

    let mut rows = Vec::new();
    for run in 0..=RUNS {
        let bare_session = us_per_event(&bare, &bare_single).await?;
        let session = us_per_event(&house.server, &single).await?;
        let batched = us_per_event(&house.server, &batch).await?;
        let bare_webhook = us_per_event(&bare, &bare_order).await?;
        let webhook = us_per_event(&house.server, &order).await?;
        eprintln!(
            "door: session {session:.1} us (bare {bare_session:.1}), of {BATCH} {batched:.1} us an event, webhook {webhook:.1} us (bare {bare_webhook:.1})"
        );
        if run > 0 {
            // the first one warms both up
            rows.push(vec![session / bare_session, webhook / bare_webhook, batched / bare_session]);
        }
    }
    let medians = medians(&rows);
    Ok(vec![medians[0].max(medians[1]), medians[2]])
}

/// An order by webhook, with its key.
pub fn webhook(funnel: &str, api_key: &str) -> String {
    traffic::post(&format!("/v1/webhook/custom/{funnel}"), &[("x-api-key", api_key)], &traffic::order())
}

/// CPU microseconds of the server per event.
pub async fn us_per_event(server: &Server, target: &Target) -> anyhow::Result<f64> {
    let before = server.cpu()?;
    let answered = closed_loop(target, Until::Passed(RUN_TIME)).await?;
    let used = server.cpu()?.saturating_sub(before);
    Ok(cpu::us_per(used, answered * target.template.events()))
}
