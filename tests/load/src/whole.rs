//! The whole way of a tracked event, from HTTP to Meta's 200, in one process; beside the bare server in turn.

use crate::{
    client::{Target, Until, closed_loop},
    cpu, door,
    figure::{Figure, Goal, Group, median},
    meta,
    program::{self, House, Server},
    traffic,
};

const RUNS: usize = 3;
const EVENTS: u64 = 30_000;

/// The group.
pub const GROUP: Group = Group { figures: &[Figure::new("whole_path_ratio", "ratio", Goal::AtMost(4.0))], measure };

fn measure() -> anyhow::Result<Vec<f64>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(side_by_side())
}

async fn side_by_side() -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let meta = meta::start(&[meta::PIXEL]).await?;
    let house = House::start(&folder.path().join("data"), &[], &[("RAPIDMETRICS_CAPI__BASE_URL", &format!("http://{}", meta.address))])?;
    let bare = program::bare()?;
    let request = traffic::post("/v1/session", &[], &traffic::session(&house.funnel, 1));
    let ours = Target::new(house.server.address, request.clone(), 200);
    let theirs = Target::new(bare.address, request, 200);

    let mut ratios = Vec::new();
    let mut sent = 0;
    for run in 0..=RUNS {
        let bare = door::us_per_event(&bare, &theirs).await?;
        sent += EVENTS;
        let whole = us_per_event(&house.server, &ours, &meta, sent).await?;
        eprintln!("whole: {whole:.1} us an event (bare {bare:.1})");
        if run > 0 {
            ratios.push(whole / bare); // the first one warms both up
        }
    }
    Ok(vec![median(ratios)])
}

/// CPU microseconds of the process per event, until the box has taken all that were ever sent.
async fn us_per_event(server: &Server, target: &Target, meta: &Server, sent: u64) -> anyhow::Result<f64> {
    let before = server.cpu()?;
    closed_loop(target, Until::Answered(EVENTS)).await?;
    meta::all_taken(meta, sent).await?;
    Ok(cpu::us_per(server.cpu()?.saturating_sub(before), EVENTS))
}
