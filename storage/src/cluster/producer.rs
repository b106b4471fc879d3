//! Appends outside any transaction: idempotent, acknowledged by all copies that must have a record.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use rdkafka::{
    ClientConfig, Message,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use schemas::envelope::Position;
use tokio::sync::oneshot;

use super::{
    client::{Observer, observed},
    names::Names,
};
use crate::log::{Append, AppendError};

/// The producer of this process, made anew when it can go on no more.
pub(super) struct Producer {
    settings: ClientConfig,
    observer: Observer,
    names: Arc<Names>,
    inner: ArcSwap<ThreadedProducer<Context>>,
    renewing: Mutex<()>,
}

/// Records of one append, until the last is acknowledged.
struct Batch {
    left: AtomicUsize,
    result: Mutex<(Vec<Position>, Option<AppendError>)>,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

/// One record of a batch, in the library's hands.
pub(super) struct Ticket {
    /// `None`: nobody waits for it.
    batch: Option<Arc<Batch>>,
    at: usize,
    generation: u32,
}

/// Hands acknowledgements to their batches, on the producer's own thread.
pub(super) struct Context(Observer);

observed!(Context, 0);

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let result = match result {
            Ok(message) => {
                self.0.health.well();
                Ok(Position { generation: ticket.generation, partition: message.partition() as u32, offset: message.offset() as u64 })
            }
            Err((error, _)) => {
                self.0.health.ill();
                Err(AppendError::Lost(error.to_string()))
            }
        };
        if let Some(batch) = ticket.batch {
            batch.acknowledged(ticket.at, result);
        }
    }
}

impl Batch {
    fn new(records: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, waits) = oneshot::channel();
        let nowhere = Position { generation: 0, partition: 0, offset: 0 };
        let batch =
            Self { left: AtomicUsize::new(records), result: Mutex::new((vec![nowhere; records], None)), done: Mutex::new(Some(done)) };
        (Arc::new(batch), waits)
    }

    fn acknowledged(&self, at: usize, result: Result<Position, AppendError>) {
        let mut so_far = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(position) => so_far.0[at] = position,
            Err(error) => so_far.1 = Some(error),
        }
        drop(so_far);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(done) = self.done.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            let _ = done.send(()); // who asked may have stopped waiting
        }
    }
}

impl Producer {
    pub(super) fn open(settings: ClientConfig, observer: Observer, names: Arc<Names>) -> Result<Self, KafkaError> {
        let inner = ArcSwap::from_pointee(make(&settings, &observer)?);
        Ok(Self { settings, observer, names, inner, renewing: Mutex::new(()) })
    }

    /// Appends all records; answers their positions once all are acknowledged.
    pub(super) async fn append(&self, records: &[Append]) -> Result<Vec<Position>, AppendError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let (batch, waits) = Batch::new(records.len());
        let producer = self.inner.load_full();
        let mut sent = 0;
        for (at, record) in records.iter().enumerate() {
            if let Err(error) = self.send(&producer, record, Some(&batch), at) {
                if sent == 0 {
                    return Err(error); // nothing left this process
                }
                batch.acknowledged(at, Err(AppendError::Lost(error.to_string())));
            } else {
                sent += 1;
            }
        }
        let came = waits.await;
        if producer.client().fatal_error().is_some() {
            self.renew(&producer);
        }
        if came.is_err() {
            return Err(AppendError::Closed);
        }
        let mut result = batch.result.lock().unwrap_or_else(PoisonError::into_inner);
        match result.1.take() {
            None => Ok(std::mem::take(&mut result.0)),
            Some(error) => Err(error),
        }
    }

    /// Hands a record over and does not wait: for what may be lost.
    pub(super) fn tell(&self, record: &Append, partition: u32) {
        let producer = self.inner.load();
        let (name, generation) = self.names.of(record.topic);
        let ticket = Box::new(Ticket { batch: None, at: 0, generation });
        let told = BaseRecord::with_opaque_to(name, ticket).partition(partition as i32).key(&record.key[..]).payload(&record.value[..]);
        if let Err((error, _)) = producer.send(told) {
            tracing::debug!(%error, topic = name, "a record was not told");
        }
    }

    fn send(
        &self,
        producer: &ThreadedProducer<Context>,
        record: &Append,
        batch: Option<&Arc<Batch>>,
        at: usize,
    ) -> Result<(), AppendError> {
        let (name, generation) = self.names.of(record.topic);
        let partition = self.names.partition_of(record.topic, &record.key);
        let ticket = Box::new(Ticket { batch: batch.cloned(), at, generation });
        let told = BaseRecord::with_opaque_to(name, ticket)
            .partition(partition as i32)
            .key(&record.key[..])
            .payload(&record.value[..])
            .timestamp(record.time.millis());
        producer.send(told).map_err(|(error, _)| {
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
                return AppendError::Busy("the brokers are slower than what comes in".to_owned());
            }
            self.observer.health.ill();
            if producer.client().fatal_error().is_some() {
                self.renew(&self.inner.load());
            }
            AppendError::Busy(error.to_string())
        })
    }

    /// A producer that met a fatal error (out of sequence, fenced) can go on no more: another takes its place.
    fn renew(&self, old: &Arc<ThreadedProducer<Context>>) {
        let _one = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&self.inner.load(), old) {
            return;
        }
        let why = old.client().fatal_error().map(|(code, why)| format!("{code}: {why}")).unwrap_or_default();
        match make(&self.settings, &self.observer) {
            Ok(new) => {
                tracing::warn!(why, "the producer met a fatal error and was made anew");
                self.inner.store(Arc::new(new));
            }
            Err(error) => tracing::error!(why, %error, "the producer met a fatal error and cannot be made anew"),
        }
    }

    /// Waits until everything handed over was acknowledged or refused. Blocks.
    pub(super) fn flush(&self, patience: std::time::Duration) {
        if let Err(error) = self.inner.load().flush(patience) {
            tracing::warn!(%error, left = self.inner.load().in_flight_count(), "not everything was acknowledged before closing");
        }
    }
}

fn make(settings: &ClientConfig, observer: &Observer) -> Result<ThreadedProducer<Context>, KafkaError> {
    ThreadedProducer::from_config_and_context(settings, Context(observer.clone()))
}

/// The settings of the appending producer, over those of every client.
pub(super) fn settings(mut settings: ClientConfig, delivery_timeout_ms: u32) -> ClientConfig {
    settings
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random") // for whoever reads our settings; we name partitions ourselves, by the same rule
        // A lone event should not wait for company. Under load requests in flight make their own batches.
        .set("linger.ms", "1")
        .set("compression.type", "lz4")
        .set("message.timeout.ms", delivery_timeout_ms.to_string())
        .set("request.timeout.ms", delivery_timeout_ms.to_string())
        // What may wait for brokers in memory: beyond it an append is refused at once.
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "131072");
    settings
}
