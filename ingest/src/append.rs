//! One durable append: raw events in, nothing else; the answer is whether they are there for good.

use schemas::{key::DedupKey, raw::Raw, topic::Topic};
use storage::Append;

use crate::{Door, refuse::Refused};

/// A raw event as the record it becomes.
pub(crate) fn record(raw: &Raw<'_>, key: &DedupKey) -> Append {
    let mut value = Vec::with_capacity(raw.body.get().len() + 768); // the envelope and a page's context
    serde_json::to_writer(&mut value, raw).expect("a raw event is a struct of text and numbers, written to memory");
    Append { topic: Topic::Raw, key: key.partition_key().into(), value: value.into(), time: raw.received_at }
}

/// Appends; answers once they would survive. Any doubt is [`Refused::Unavailable`].
pub(crate) async fn durably(door: &Door, records: Vec<Append>) -> Result<(), Refused> {
    match tokio::time::timeout(door.config.append_timeout(), door.appender.append(records)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "append failed");
            Err(Refused::Unavailable)
        }
        Err(_) => {
            tracing::warn!(timeout_ms = door.config.append_timeout_ms, "append timed out");
            Err(Refused::Unavailable)
        }
    }
}
