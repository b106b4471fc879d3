//! The closed list of engines. Each answers the same questions; the rooms never learn which one they speak to.

use std::{pin::Pin, sync::Arc};

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
    claims::Claims,
    cluster::Cluster,
    embedded::{Cursor, Embedded},
    ledger::{Known, KnownWaiting, Page, TakenOver},
    log::{Append, AppendError, Committed, ReadError, Reader, Source},
    metrics::Metrics,
    pause::Pauses,
    step::{Begun, CommitError, Step},
};

/// One of the engines. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Engine {
    /// One process, one folder: `fjall` holds log and ledger.
    Embedded(Arc<Embedded>),
    /// Many processes: Kafka is the log, a CQL server the ledger.
    Cluster(Arc<Cluster>),
}

impl Engine {
    pub(crate) fn partitions(&self, topic: Topic) -> u32 {
        match self {
            Self::Embedded(engine) => engine.partitions(topic),
            Self::Cluster(engine) => engine.partitions(topic),
        }
    }

    pub(crate) fn generation(&self, topic: Topic) -> u32 {
        match self {
            Self::Embedded(engine) => engine.generation(topic),
            Self::Cluster(engine) => engine.generation(topic),
        }
    }

    pub(crate) fn accepts(&self) -> bool {
        match self {
            Self::Embedded(engine) => engine.accepts(),
            Self::Cluster(engine) => engine.accepts(),
        }
    }

    pub(crate) fn last_append_worked(&self) -> bool {
        match self {
            Self::Embedded(engine) => engine.accepts(), // one that fails ends the process
            Self::Cluster(engine) => engine.last_append_worked(),
        }
    }

    pub(crate) fn is_reached(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Cluster(engine) => engine.is_reached(),
        }
    }

    pub(crate) fn reader(&self, topic: Topic, partition: u32, from: u64) -> Reader {
        Reader(match self {
            Self::Embedded(engine) => Source::Embedded(Cursor::new(engine.clone(), topic, partition, from)),
            Self::Cluster(engine) => Source::Cluster(engine.lane(topic, partition, from)),
        })
    }

    /// Only an embedded store is ever emptied by its own process.
    pub(crate) fn refuse_events(&self, refuse: bool) {
        match self {
            Self::Embedded(engine) => engine.refuse_events(refuse),
            Self::Cluster(_) => {}
        }
    }

    pub(crate) fn claims(&self, group: Group) -> Result<Claims, ReadError> {
        match self {
            Self::Embedded(engine) => Ok(Claims::all(engine.partitions(group.topic()))),
            Self::Cluster(engine) => engine.claims(group),
        }
    }

    pub(crate) async fn answers(&self) -> Result<Answers, ReadError> {
        match self {
            Self::Embedded(engine) => Ok(engine.answers()),
            Self::Cluster(engine) => boxed(engine.answers()).await,
        }
    }

    pub(crate) fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        self.metrics().register(registry)?;
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Cluster(engine) => engine.register(registry),
        }
    }

    pub(crate) fn pauses(&self) -> &Pauses {
        match self {
            Self::Embedded(engine) => engine.pauses(),
            Self::Cluster(engine) => engine.pauses(),
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        match self {
            Self::Embedded(engine) => engine.metrics(),
            Self::Cluster(engine) => engine.metrics(),
        }
    }

    pub(crate) async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, AppendError> {
        match self {
            Self::Embedded(engine) => engine.append(records).await,
            Self::Cluster(engine) => boxed(engine.append(records)).await,
        }
    }

    pub(crate) async fn commit(&self, step: Step) -> Result<Vec<Position>, CommitError> {
        match self {
            Self::Embedded(engine) => engine.commit(step).await,
            Self::Cluster(engine) => boxed(engine.clone().commit(step)).await,
        }
    }

    pub(crate) async fn begin(&self, step: Step) -> Result<Begun, CommitError> {
        match self {
            Self::Embedded(engine) => {
                let positions = engine.commit(step).await; // one batch: the parts are not apart
                positions.map(|positions| Begun(Box::pin(std::future::ready(Ok(positions)))))
            }
            Self::Cluster(engine) => boxed(engine.clone().begin(step)).await,
        }
    }

    pub(crate) async fn failed(&self) -> String {
        match self {
            Self::Embedded(engine) => engine.failed().await,
            Self::Cluster(engine) => boxed(engine.failed()).await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Embedded(engine) => engine.close().await,
            Self::Cluster(engine) => boxed(engine.close()).await,
        }
    }

    pub(crate) async fn scan_seen(&self, partition: u32, each: &mut (dyn FnMut(&str, &Seen) + Send)) -> Result<(), ReadError> {
        match self {
            Self::Embedded(engine) => engine.scan_seen(partition, each).await,
            Self::Cluster(engine) => boxed(engine.scan_seen(partition, each)).await,
        }
    }
}

/// The cluster's answers are deep: each is put in a box, so that what awaits them stays small.
fn boxed<'a, T>(answer: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(answer)
}

/// The questions of the form "wait, then answer or say why not": written once per engine. Each is a step of the way by its name, for pauses
/// in tests.
macro_rules! reads {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        impl Engine {
            $(pub(crate) async fn $name(&self $(, $arg: $kind)*) -> Result<$answer, ReadError> {
                self.pauses().alone_at(stringify!($name), "before").await;
                let answer = match self {
                    Self::Embedded(engine) => engine.$name($($arg),*).await,
                    Self::Cluster(engine) => boxed(engine.$name($($arg),*)).await,
                };
                self.pauses().alone_at(stringify!($name), "after").await;
                answer
            })*
        }
    };
}

reads! {
    fn bounds(topic: Topic, partition: u32) -> (u64, u64);
    fn committed(group: Group, partition: u32) -> Committed;
    fn seen(keys: &[String]) -> Vec<Option<Seen>>;
    fn visitor(funnel: &FunnelId, visitor: &VisitorId) -> Option<Visitor>;
    fn person(funnel: &FunnelId, email: &Digest) -> Option<PersonRow>;
    fn person_keys(funnel: &FunnelId, email: &Digest) -> Vec<PersonKey>;
    fn filter_snapshots(partition: u32) -> Vec<FilterSnapshot>;
    fn delivery(pixel: &PixelId, dedup_key: &str) -> Option<Known>;
    fn waiting(pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Option<KnownWaiting>;
    fn due(partition: u32, pixel: Option<&PixelId>, now: Time, limit: usize) -> Vec<KnownWaiting>;
    fn open_intents(partition: u32, from: u64, below: u64) -> Vec<Intent>;
    fn take_over(partition: u32) -> TakenOver;
    fn purchases(after: Option<Vec<u8>>, limit: usize) -> Page<Purchase>;
    fn leads(after: Option<Vec<u8>>, limit: usize) -> Page<Lead>;
    fn deliveries(after: Option<Vec<u8>>, limit: usize) -> Page<Delivery>;
    fn look_at_delivery(pixel: &PixelId, dedup_key: &str) -> Option<Delivery>;
    fn purchase(funnel: &FunnelId, order_or_event_id: &str) -> Option<Purchase>;
    fn lead(funnel: &FunnelId, order_or_event_id: &str) -> Option<Lead>;
    fn look_at_seen(key: &str) -> Option<Seen>;
    fn look_at_waiting(pixel: &PixelId, deadline_hour: i64, dedup_key: &str) -> Option<Waiting>;
    fn look_at_waiting_of(pixel: &PixelId, after: Option<Vec<u8>>, limit: usize) -> Page<Waiting>;
    fn look_at_visitor(funnel: &FunnelId, visitor: &VisitorId) -> Option<Visitor>;
    fn look_at_person(funnel: &FunnelId, email: &Digest) -> Option<PersonRow>;
}
