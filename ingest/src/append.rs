//! One durable append: raw events in, nothing else; the answer is whether they are there for good.

use schemas::{key::DedupKey, raw::Raw, topic::Topic};
use storage::{Append, AppendError, Durable};

use crate::{Door, refuse::Refused};

/// A raw event as the record it becomes.
pub(crate) fn record(raw: &Raw<'_>, key: &DedupKey) -> Append {
    let mut value = Vec::with_capacity(raw.body.get().len() + 768); // the envelope and a page's context
    serde_json::to_writer(&mut value, raw).expect("a raw event is a struct of text and numbers, written to memory");
    Append { topic: Topic::Raw, key: key.partition_key().into(), value: value.into(), time: raw.received_at }
}

/// Appends; answers where they are once they would survive. Any doubt is [`Refused::Unavailable`].
pub(crate) async fn durably(door: &Door, records: Vec<Append>) -> Result<Durable, Refused> {
    let appended = tokio::time::timeout(door.config.append_timeout(), door.intake.append(records)).await;
    match appended {
        Ok(Ok(durable)) => return Ok(durable),
        Ok(Err(error @ AppendError::Lost(_))) => tracing::warn!(%error, "an append was lost"),
        // Full, closing, slow: true of every request until it is over. The metrics count them, readiness says it.
        Ok(Err(error @ (AppendError::Full | AppendError::Busy(_) | AppendError::Closed))) => {
            tracing::debug!(%error, "nothing was appended");
        }
        Err(elapsed) => tracing::debug!(error = %elapsed, "an append took too long"),
    }
    Err(Refused::Unavailable)
}
