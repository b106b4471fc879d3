//! The closed list of engines. Each answers the same questions; the rooms never learn which one they speak to.

use std::sync::Arc;

use schemas::{
    delivery::Delivery,
    envelope::Position,
    fact::{Lead, Purchase},
    id::{FunnelId, PixelId, VisitorId},
    person::Digest,
    row::{FilterSnapshot, Intent, PersonKey, PersonRow, Seen, Visitor, Waiting},
    time::Time,
    topic::{Group, Topic},
};

use crate::{
    answers::Answers,
    embedded::Embedded,
    ledger::Page,
    log::{Append, AppendError, Committed, ReadError, Stored},
    metrics::Metrics,
    step::{CommitError, Step},
};

/// One of the engines. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Engine {
    /// One process, one folder: `fjall` holds log and ledger.
    Embedded(Arc<Embedded>),
}

impl Engine {
    pub(crate) fn partitions(&self, topic: Topic) -> u32 {
        match self {
            Self::Embedded(engine) => engine.partitions(topic),
        }
    }

    pub(crate) fn generation(&self, topic: Topic) -> u32 {
        match self {
            Self::Embedded(engine) => engine.generation(topic),
        }
    }

    pub(crate) fn accepts(&self) -> bool {
        match self {
            Self::Embedded(engine) => engine.accepts(),
        }
    }

    pub(crate) fn answers(&self) -> Answers {
        match self {
            Self::Embedded(engine) => engine.answers(),
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        match self {
            Self::Embedded(engine) => engine.metrics(),
        }
    }

    pub(crate) async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, AppendError> {
        match self {
            Self::Embedded(engine) => engine.append(records).await,
        }
    }

    pub(crate) async fn commit(&self, step: Step) -> Result<Vec<Position>, CommitError> {
        match self {
            Self::Embedded(engine) => engine.commit(step).await,
        }
    }

    pub(crate) async fn failed(&self) -> String {
        match self {
            Self::Embedded(engine) => engine.failed().await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Embedded(engine) => engine.close().await,
        }
    }

    pub(crate) async fn scan_seen(&self, partition: u32, each: &mut (dyn FnMut(&str, &Seen) + Send)) -> Result<(), ReadError> {
        match self {
            Self::Embedded(engine) => engine.scan_seen(partition, each).await,
        }
    }
}

/// The questions of the form "wait, then answer or say why not": written once per engine.
macro_rules! reads {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        impl Engine {
            $(pub(crate) async fn $name(&self $(, $arg: $kind)*) -> Result<$answer, ReadError> {
                match self {
                    Self::Embedded(engine) => engine.$name($($arg),*).await,
                }
            })*
        }
    };
}

reads! {
    fn read(topic: Topic, partition: u32, from: u64, records_max: usize, bytes_max: usize) -> Vec<Stored>;
    fn grown(topic: Topic, partition: u32, next: u64) -> ();
    fn bounds(topic: Topic, partition: u32) -> (u64, u64);
    fn committed(group: Group, partition: u32) -> Committed;
    fn seen(keys: &[String]) -> Vec<Option<Seen>>;
    fn visitor(funnel: &FunnelId, visitor: &VisitorId) -> Option<Visitor>;
    fn person(funnel: &FunnelId, email: &Digest) -> Option<PersonRow>;
    fn person_keys(funnel: &FunnelId, email: &Digest) -> Vec<PersonKey>;
    fn filter_snapshots(partition: u32) -> Vec<FilterSnapshot>;
    fn delivery(pixel: &PixelId, dedup_key: &str) -> Option<Delivery>;
    fn waiting(pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Option<Waiting>;
    fn due(partition: u32, pixel: Option<&PixelId>, now: Time, limit: usize) -> Vec<Waiting>;
    fn next_due(partition: u32) -> Option<Time>;
    fn open_intents(partition: u32) -> Vec<Intent>;
    fn next_attempt(partition: u32) -> u64;
    fn purchases(after: Option<Vec<u8>>, limit: usize) -> Page<Purchase>;
    fn leads(after: Option<Vec<u8>>, limit: usize) -> Page<Lead>;
    fn deliveries(after: Option<Vec<u8>>, limit: usize) -> Page<Delivery>;
    fn purchase(funnel: &FunnelId, order_or_event_id: &str) -> Option<Purchase>;
}
