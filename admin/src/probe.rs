//! Whether the last append worked. While that is not known, one append is tried every second, so that an idle process gets ready
//! by itself and comes back by itself when space was made.
//!
//! The record that is tried goes to `audit` under the key `readiness`: nobody folds that topic, and an operator who reads it sees
//! when the process could write again. One is written per start, and one per recovery.

use std::{sync::Arc, time::Duration};

use schemas::{envelope, topic::Topic, world::World};
use serde_json::json;
use storage::{Append, Appender, Intake};
use tokio_util::sync::CancellationToken;

use crate::Checks;

pub(crate) const NAME: &str = "append";
/// Why nothing is tried: it would only fill the volume further.
pub(crate) const REFUSED: &str = "the store takes no events: the volume is too full, or it is closing";
const EVERY: Duration = Duration::from_secs(1);
/// An append that takes longer than this is nothing to send traffic to. With the second between two looks, readiness says so within five.
const WAIT: Duration = Duration::from_secs(3);

/// Keeps the check `append` true until `stop` is cancelled. While a spool takes what the log does not, it is degraded.
pub async fn probe(intake: Intake, world: Arc<dyn World>, checks: Checks, stop: CancellationToken) {
    checks.fail(NAME, "no append has worked yet");
    let appender = intake.appender();
    let mut works = false;
    while !stop.is_cancelled() {
        let now = if !appender.accepts() {
            Err(REFUSED.to_owned())
        } else if works && appender.last_worked() {
            Ok(())
        } else {
            attempt(appender, &*world).await
        };
        if works != now.is_ok() {
            tracing::info!(works = now.is_ok(), "appends");
        }
        works = now.is_ok();
        match now {
            Ok(()) if intake.is_spooling() => checks.degrade(NAME, "events queue in the spool until it is drained"),
            Ok(()) => checks.pass(NAME),
            Err(why) if intake.has_spool() => checks.degrade(NAME, format!("events go to the spool: {why}")),
            Err(why) => checks.fail(NAME, why),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn attempt(appender: &Appender, world: &dyn World) -> Result<(), String> {
    match tokio::time::timeout(WAIT, appender.append(vec![record(world)])).await {
        Ok(tried) => tried.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("an append took longer than {WAIT:?}")),
    }
}

fn record(world: &dyn World) -> Append {
    let time = world.now();
    let value = json!({"id": world.new_id(), "type": "append_probe", "version": envelope::VERSION, "at": time});
    Append { topic: Topic::Audit, key: "readiness".into(), value: value.to_string().into(), time }
}
