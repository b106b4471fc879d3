//! `POST /api/v1/replay`: sends again what ended as rejected, unknown, expired or cancelled at a pixel within a span of time:
//! `{"pixel_id","outcome","since","until"?,"dry_run"?}`.
//!
//! With `"dry_run": true` the answer is one object of counts and changes nothing. Without, it is a stream: a line of the same counts now and
//! then, `replayed` rising, and a last line with `"done": true`. A replayed delivery keeps its id; the desk appends its frozen dispatch
//! to the topic once more with a note of the outcome that is taken back, and the sink opens the delivery again. What ended as rejected is
//! rendered anew from its fact by the rules of this build.
//!
//! It may be broken off and asked again at any time: what was replayed has that outcome no more.
//!
//! It costs one walk through the table `deliveries` and two through what the topic `dispatch` holds of the pixel's partition since the
//! first event concerned was received; more of both where more than 200,000 deliveries match. One replay or count runs at a time.

mod ask;
mod prepare;
mod search;
mod tally;

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use schemas::{dispatch::Replay, topic::Topic};
use serde::Serialize;
use storage::Append;

use crate::{
    Desk,
    lines::{self, Ended, Lines},
    refuse::Refused,
    wish::Wish,
};
use ask::Asked;
use search::Search;
use tally::Tally;

/// Deliveries looked for at a time: at about 60 bytes each, 12 MB.
const SOUGHT_MAX: usize = 200_000;

/// One line of the answer.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    asked: &'a Asked,
    #[serde(flatten)]
    tally: Tally,
    /// Whether this is the last line.
    done: bool,
    sentence: String,
}

impl<'a> Line<'a> {
    fn of(asked: &'a Asked, tally: Tally, done: bool) -> Self {
        Self { asked, tally, done, sentence: tally::sentence(asked, &tally, done) }
    }
}

pub(crate) async fn replay(State(desk): State<Arc<Desk>>, wish: Wish) -> Result<Response, Refused> {
    let asked = ask::checked(wish, &desk)?;
    if asked.dry_run {
        let _held = desk.counting.lock().await;
        let tally = run(&desk, &asked, None, SOUGHT_MAX).await;
        return match tally {
            Ok(tally) => Ok(Json(Line::of(&asked, tally, true)).into_response()),
            Err(Ended::Refused(refused)) => Err(refused),
            Err(Ended::Gone) => Err(Refused::whole(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the count was given up; ask again")),
        };
    }
    Ok(lines::answer(move |mut lines| async move {
        let _held = desk.counting.lock().await;
        let tally = run(&desk, &asked, Some(&mut lines), SOUGHT_MAX).await?;
        tracing::info!(pixel = %asked.pixel_id, outcome = asked.outcome.name(), replayed = tally.replayed, "deliveries were replayed");
        lines.value(&Line::of(&asked, tally, true)).await?;
        Ok(lines.flush().await?)
    }))
}

/// Counts, and with `lines` replays.
async fn run(desk: &Desk, asked: &Asked, mut lines: Option<&mut Lines>, sought_max: usize) -> Result<Tally, Ended> {
    let (storage, world) = (&desk.parts.storage, &*desk.parts.world);
    let id = world.new_id();
    let mut search = Search::new(storage, asked, sought_max);
    let mut tally = Tally::default();
    while let Some(mut found) = search.next(&mut tally).await? {
        while let Some(dispatches) = found.next(storage).await? {
            let mut records = Vec::with_capacity(dispatches.len());
            for (dispatch, settled_at) in dispatches {
                match prepare::prepared(dispatch, Replay { id, outcome: asked.outcome, settled_at }) {
                    Ok(dispatch) => {
                        tally.sendable += 1;
                        let key = Bytes::copy_from_slice(dispatch.pixel_id.as_str().as_bytes());
                        let value = serde_json::to_vec(&dispatch).expect("our own words serialise");
                        records.push(Append { topic: Topic::Dispatch, key, value: value.into(), time: world.now() });
                    }
                    Err(kept) => tally.keeps(kept),
                }
            }
            if let Some(lines) = lines.as_deref_mut().filter(|_| !records.is_empty()) {
                let count = records.len() as u64;
                storage.appender().append(records).await?;
                tally.replayed += count;
                lines.value(&Line::of(asked, tally, false)).await?;
                lines.flush().await?;
            }
        }
    }
    tally.not_in_log = tally.matched - tally.accounted();
    Ok(tally)
}

#[cfg(test)]
pub(crate) async fn count_at_most(desk: &Desk, wish: serde_json::Value, sought_max: usize) -> serde_json::Value {
    let asked = ask::checked(Wish::of(wish), desk).unwrap_or_else(|refused| panic!("{refused:?}"));
    let Ok(tally) = run(desk, &asked, None, sought_max).await else { panic!("the store can be read") };
    serde_json::to_value(tally).expect("plain numbers")
}
