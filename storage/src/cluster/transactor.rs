//! Records and consumed offsets become true together: one Kafka transaction after another, on a thread of its own.
//!
//! While one transaction is on its way the next steps gather, so transactions grow with the load. A transaction that is told to abort is
//! made again from the same steps, which are values: nothing need be read again. Steps whose partition was lost meanwhile are told so.
//! After a commit whose fate is unknown the producer is replaced, which settles the old transaction one way or the other, and what the
//! group has committed says which.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use schemas::{envelope::Position, topic::Group};
use tokio::sync::oneshot;

use super::{
    client::{Observer, observed},
    membership::Membership,
    metrics::Metrics,
    names::Names,
    offsets::Asker,
};
use crate::{
    log::{Append, Committed},
    step::{CommitError, Consumed},
};

/// How long one call to the brokers may take before it is looked at again.
const CALL: Duration = Duration::from_secs(5);
/// How many of its own times a transaction may take. The brokers abort it after one, so whoever still waits after this waits for nothing:
/// another producer settles it.
const TIMES_MAX: u32 = 2;
/// How often deliveries are looked for: a transaction's take some milliseconds.
const LOOK: Duration = Duration::from_micros(250);
/// How long to rest after a transaction: the brokers still mark its end in every partition, and refuse the next one meanwhile, for 20 ms at
/// a time. Nobody waits for a transaction; steps gather.
const REST: Duration = Duration::from_millis(20);
/// How long to wait before a transaction is tried again, at first and at most.
const AGAIN_MIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// One step's share of a transaction.
struct Job {
    records: Vec<Append>,
    consumed: Vec<Consumed>,
    answer: oneshot::Sender<Result<Vec<Position>, CommitError>>,
}

impl Job {
    fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.key.len() + record.value.len()).sum()
    }
}

/// Where a job's answer comes; nothing comes if the store closes.
pub(super) type Answered = oneshot::Receiver<Result<Vec<Position>, CommitError>>;

/// The way to the thread.
pub(super) struct Transactor {
    jobs: Mutex<Option<mpsc::Sender<Job>>>, // bounded by the steps that judges and sinks have on their way
}

/// What a transactor is made of.
pub(super) struct Parts {
    pub(super) settings: ClientConfig,
    pub(super) observer: Observer,
    pub(super) names: Arc<Names>,
    pub(super) asker: Asker,
    /// The group whose offsets go along; `None` for steps that consume nothing.
    pub(super) group: Option<Group>,
    /// The membership of that group, once this process has joined.
    pub(super) membership: Arc<Mutex<Option<Arc<Membership>>>>,
    pub(super) bytes_max: usize,
    /// The brokers abort a transaction after that.
    pub(super) transaction_timeout: Duration,
    /// Whether the store closes: whatever is not true by then is given up.
    pub(super) closed: tokio::sync::watch::Receiver<bool>,
}

/// Notes where records landed, on the transactor's own thread.
pub(super) struct Context {
    observer: Observer,
    landed: Mutex<Landed>,
}

#[derive(Default)]
struct Landed {
    positions: Vec<(u32, u64)>,
    failed: Option<KafkaError>,
}

observed!(Context, observer);

impl ProducerContext for Context {
    /// The record's number in its transaction.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, at: usize) {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                if let Some(slot) = landed.positions.get_mut(at) {
                    *slot = (message.partition() as u32, message.offset() as u64);
                }
            }
            Err((error, _)) => landed.failed = Some(error.clone()),
        }
    }
}

/// What came of one try.
enum Tried {
    /// It is true; where its records stand.
    True(Vec<Position>),
    /// It is not true, and may be tried again with the same producer.
    Aborted(KafkaError),
    /// The producer can go on no more; whether the transaction is true is unknown.
    Unknown(KafkaError),
}

impl Transactor {
    /// Starts the thread.
    pub(super) fn start(parts: Parts) -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        let name = parts.group.map_or("steps", Group::name);
        std::thread::Builder::new().name(format!("commit-{name}")).spawn(move || {
            Worker { metrics: parts.observer.metrics.clone(), parts, producer: None, rested_at: Instant::now() }.run(&jobs);
        })?;
        Ok(Self { jobs: Mutex::new(Some(sender)) })
    }

    /// Makes records and offsets true together, after whatever was handed in before. What is answered says when.
    pub(super) fn begin(&self, records: Vec<Append>, consumed: Vec<Consumed>) -> Result<Answered, CommitError> {
        let (answer, answered) = oneshot::channel();
        let sent = {
            let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let jobs = jobs.as_ref().ok_or(CommitError::Closed)?;
            jobs.send(Job { records, consumed, answer })
        };
        sent.map_err(|_| CommitError::Closed)?; // the thread has ended
        Ok(answered)
    }

    /// Takes no more; what is at hand is finished or given up.
    pub(super) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

struct Worker {
    parts: Parts,
    metrics: Metrics,
    producer: Option<Transacting>,
    /// When the brokers are ready for the next transaction.
    rested_at: Instant,
}

impl Worker {
    fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            match jobs.recv_timeout(CALL) {
                Ok(first) => {
                    std::thread::sleep(self.rested_at.saturating_duration_since(Instant::now()));
                    self.transact(gather(first, jobs, self.parts.bytes_max));
                    self.rested_at = Instant::now() + REST;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(live) = &self.producer {
                        live.producer.poll(Duration::ZERO); // logs, errors, statistics
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Makes all of these jobs true, however long the brokers are away, and answers them.
    fn transact(&mut self, mut jobs: Vec<Job>) {
        let mut pause = AGAIN_MIN;
        let mut is_said = false;
        loop {
            if *self.parts.closed.borrow() {
                return answer_all(jobs, &CommitError::Closed);
            }
            self.drop_lost(&mut jobs);
            if jobs.is_empty() {
                return;
            }
            let began = Instant::now();
            match self.attempt(&jobs) {
                Tried::True(positions) => {
                    self.count("committed");
                    self.metrics.transaction_seconds.observe(began.elapsed().as_secs_f64());
                    return answer(jobs, positions);
                }
                Tried::Aborted(error) => {
                    self.count("aborted");
                    tracing::debug!(%error, "a transaction was aborted and is made again");
                    // One or two are everyday; what does not end is seen by a human.
                    if pause >= AGAIN_MAX && !std::mem::replace(&mut is_said, true) {
                        let group = self.parts.group.map_or("none", Group::name);
                        tracing::warn!(group, %error, "a transaction is aborted again and again; it is tried on");
                    }
                }
                Tried::Unknown(error) => {
                    self.count("unknown");
                    tracing::warn!(%error, "a transaction's fate is not known; another producer settles it");
                    self.producer = None;
                    if self.settle(&mut jobs) {
                        return;
                    }
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    fn count(&self, outcome: &str) {
        let group = self.parts.group.map_or("none", Group::name);
        self.metrics.transactions.with_label_values(&[group, outcome]).inc();
    }

    fn membership(&self) -> Option<Arc<Membership>> {
        self.parts.membership.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Steps of partitions that are no longer ours are another's to make; so are those of partitions that were lost meanwhile and are ours
    /// again: whoever works on them now began from what was committed then.
    fn drop_lost(&self, jobs: &mut Vec<Job>) {
        let Some(membership) = self.membership() else { return };
        for at in (0..jobs.len()).rev() {
            if jobs[at].consumed.iter().any(|consumed| !membership.holds(consumed)) {
                let _ = jobs.remove(at).answer.send(Err(CommitError::Fenced)); // who asked may have stopped waiting
            }
        }
    }

    fn attempt(&mut self, jobs: &[Job]) -> Tried {
        let until = Instant::now() + self.parts.transaction_timeout * TIMES_MAX;
        let live = match self.producer() {
            Ok(live) => live,
            Err(error) => return Tried::Aborted(error), // nothing was begun
        };
        let producer = live.producer.clone();
        if let Err(error) = producer.begin_transaction() {
            return undo(&producer, error);
        }
        match self.fill(&live, jobs, until) {
            Ok(()) => {}
            Err(error) if live.offsets.is_given_up() => return Tried::Unknown(error),
            Err(error) => return undo(&producer, error),
        }
        loop {
            match producer.commit_transaction(CALL) {
                Ok(()) => return Tried::True(self.positions(&producer, jobs)),
                Err(error) if is(&error, rdkafka::error::RDKafkaError::is_retriable) => {
                    if Instant::now() > until {
                        return Tried::Unknown(error);
                    }
                }
                Err(error) => return undo(&producer, error),
            }
        }
    }

    /// Everything of a transaction but its end.
    fn fill(&self, live: &Transacting, jobs: &[Job], until: Instant) -> Result<(), KafkaError> {
        let producer = &*live.producer;
        let records = jobs.iter().flat_map(|job| &job.records);
        *lock(producer) = Landed { positions: vec![(0, 0); records.clone().count()], failed: None };
        for (at, record) in records.enumerate() {
            let (name, _) = self.parts.names.of(record.topic);
            let partition = self.parts.names.partition_of(record.topic, &record.key);
            let mut told = BaseRecord::with_opaque_to(name, at)
                .partition(partition as i32)
                .key(&record.key[..])
                .payload(&record.value[..])
                .timestamp(record.time.millis());
            loop {
                match producer.send(told) {
                    Ok(()) => break,
                    Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                        producer.poll(Duration::from_millis(10));
                        told = back;
                    }
                    Err((error, _)) => return Err(error),
                }
            }
        }
        // Until all are delivered, and their reports freed: the commit would otherwise wait in steps of 100 ms.
        await_deliveries(producer, until)?;
        if let Some(error) = lock(producer).failed.take() {
            return Err(error);
        }
        self.send_offsets(&live.offsets, jobs, until)
    }

    fn send_offsets(&self, way: &OffsetsWay, jobs: &[Job], until: Instant) -> Result<(), KafkaError> {
        let Some(group) = self.parts.group else { return Ok(()) };
        let mut offsets: HashMap<u32, &Consumed> = HashMap::new();
        for consumed in jobs.iter().flat_map(|job| &job.consumed) {
            offsets.insert(consumed.partition, consumed); // of two steps of one partition the later stands
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let (topic, _) = self.parts.names.of(group.topic());
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, consumed) in offsets {
            list.add_partition_offset(topic, partition as i32, Offset::Offset(consumed.next_offset as i64))?;
            if let Some(mut element) = list.find_partition(topic, partition as i32) {
                element.set_metadata(consumed.metadata.as_deref().unwrap_or_default());
            }
        }
        // First the fence, then the look: a partition that was lost before the fence was taken is seen here, one that is lost after it
        // makes the fence false.
        let membership = self.membership();
        let fence = match &membership {
            Some(membership) => membership.metadata(),
            None => self.parts.asker.nobody(group),
        };
        let fence = Arc::new(fence.ok_or(KafkaError::Canceled)?);
        if let Some(membership) = &membership
            && jobs.iter().flat_map(|job| &job.consumed).any(|consumed| !membership.holds(consumed))
        {
            return Err(KafkaError::Canceled);
        }
        loop {
            match way.send(list.clone(), fence.clone()) {
                Err(error) if is(&error, rdkafka::error::RDKafkaError::is_retriable) && Instant::now() < until => {}
                done => return done,
            }
        }
    }

    fn positions(&self, producer: &BaseProducer<Context>, jobs: &[Job]) -> Vec<Position> {
        let landed = std::mem::take(&mut lock(producer).positions);
        let records = jobs.iter().flat_map(|job| &job.records);
        let position = |(record, (partition, offset)): (&Append, (u32, u64))| Position {
            generation: self.parts.names.of(record.topic).1,
            partition,
            offset,
        };
        records.zip(landed).map(position).collect()
    }

    /// After a transaction of unknown fate: a new producer settles it, and then the group's offsets tell which jobs are true. Those are
    /// answered and leave the list. Whether none is left.
    fn settle(&mut self, jobs: &mut Vec<Job>) -> bool {
        let mut pause = AGAIN_MIN;
        while !*self.parts.closed.borrow() {
            let settled = self.producer().map(drop).and_then(|()| self.tell_true(jobs));
            match settled {
                Ok(()) => return jobs.is_empty(),
                Err(error) => tracing::debug!(%error, "the fate of a transaction is still unknown"),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(AGAIN_MAX);
        }
        false
    }

    fn tell_true(&self, jobs: &mut Vec<Job>) -> Result<(), KafkaError> {
        let mut known: HashMap<u32, Committed> = HashMap::new();
        for at in (0..jobs.len()).rev() {
            let (Some(group), Some(consumed)) = (self.parts.group, jobs[at].consumed.first()) else {
                // Nothing tells its fate. Whoever asked may make it again.
                let lost = CommitError::Lost("the brokers did not say whether it became true".to_owned());
                let _ = jobs.remove(at).answer.send(Err(lost));
                continue;
            };
            let partition = consumed.partition;
            let committed = match known.get(&partition) {
                Some(committed) => committed.clone(),
                None => self.parts.asker.committed_now(group, partition)?,
            };
            if is_reached(&committed, consumed) {
                let positions = Vec::new(); // where its records stand is no longer known, and nobody who consumes asks
                let _ = jobs.remove(at).answer.send(Ok(positions));
            }
            known.insert(partition, committed);
        }
        Ok(())
    }

    fn producer(&mut self) -> Result<Transacting, KafkaError> {
        if self.producer.is_none() {
            let context = Context { observer: self.parts.observer.clone(), landed: Mutex::default() };
            let producer = BaseProducer::from_config_and_context(&self.parts.settings, context)?;
            producer.init_transactions(CALL)?;
            let producer = Arc::new(producer);
            let offsets = OffsetsWay::start(producer.clone()).map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
            self.producer = Some(Transacting { producer, offsets: Arc::new(offsets) });
        }
        self.producer.clone().ok_or(KafkaError::Canceled)
    }
}

/// A producer, and the way of offsets into its transactions.
#[derive(Clone)]
struct Transacting {
    producer: Arc<BaseProducer<Context>>,
    offsets: Arc<OffsetsWay>,
}

/// A thread on which offsets go into a transaction. The library keeps no time in this call (librdkafka 2.12, `rd_kafka_coord_req`): when
/// it asks for the group's coordinator while brokers change and the answer is lost, it waits for a broker's state to change, which may
/// never happen. Whoever waits here gives it up, and the producer with it; thread and producer then end when the library lets go.
struct OffsetsWay {
    calls: mpsc::Sender<(TopicPartitionList, Arc<ConsumerGroupMetadata>)>,
    answers: Mutex<mpsc::Receiver<Result<(), KafkaError>>>,
    is_given_up: AtomicBool,
}

impl OffsetsWay {
    fn start(producer: Arc<BaseProducer<Context>>) -> std::io::Result<Self> {
        let (calls, called) = mpsc::channel::<(TopicPartitionList, Arc<ConsumerGroupMetadata>)>(); // one at a time
        let (answer, answers) = mpsc::channel();
        std::thread::Builder::new().name("commit-offsets".to_owned()).spawn(move || {
            for (list, fence) in called {
                if answer.send(producer.send_offsets_to_transaction(&list, &fence, CALL)).is_err() {
                    return; // it was given up
                }
            }
        })?;
        Ok(Self { calls, answers: Mutex::new(answers), is_given_up: AtomicBool::new(false) })
    }

    /// Puts offsets into the transaction.
    fn send(&self, list: TopicPartitionList, fence: Arc<ConsumerGroupMetadata>) -> Result<(), KafkaError> {
        self.calls.send((list, fence)).map_err(|_| KafkaError::Canceled)?;
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.recv_timeout(CALL * 2).unwrap_or_else(|_| {
            self.is_given_up.store(true, Relaxed);
            Err(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut))
        })
    }

    /// Whether a call was given up: it may still be on its way, and the producer is of no more use.
    fn is_given_up(&self) -> bool {
        self.is_given_up.load(Relaxed)
    }
}

/// Whether the group has committed this, or more. A note that is the same only when the step is the same tells steps apart that move no
/// offset.
fn is_reached(committed: &Committed, consumed: &Consumed) -> bool {
    committed.next_offset > consumed.next_offset
        || (committed.next_offset == consumed.next_offset && committed.metadata == consumed.metadata)
}

/// Takes the transaction back, or says that the producer cannot.
fn undo(producer: &BaseProducer<Context>, error: KafkaError) -> Tried {
    if producer.client().fatal_error().is_some() || is(&error, rdkafka::error::RDKafkaError::is_fatal) {
        return Tried::Unknown(error);
    }
    if is(&error, |error| !error.txn_requires_abort() && !error.is_retriable()) {
        return Tried::Unknown(error); // the library's own advice: as if it were fatal
    }
    let until = Instant::now() + CALL;
    loop {
        match producer.abort_transaction(CALL) {
            Ok(()) => break,
            Err(again) if is(&again, rdkafka::error::RDKafkaError::is_retriable) && Instant::now() < until => {}
            Err(cause) => return Tried::Unknown(cause),
        }
    }
    match await_deliveries(producer, Instant::now() + CALL) {
        Ok(()) => Tried::Aborted(error),
        Err(cause) => Tried::Unknown(cause),
    }
}

/// Until every record is delivered or given up, and every report freed.
///
/// The thread sleeps by itself: `poll` goes on until its time is over whatever comes, and asks the library to wait for whole milliseconds
/// only, so that the last one of each call, which with a call of 1 ms is all of it, would be spent spinning.
fn await_deliveries(producer: &BaseProducer<Context>, until: Instant) -> Result<(), KafkaError> {
    let mut left = producer.in_flight_count();
    while left > 0 {
        if Instant::now() > until {
            return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut));
        }
        producer.poll(Duration::ZERO);
        let now = producer.in_flight_count();
        if now == left {
            std::thread::sleep(LOOK);
        }
        left = now;
    }
    Ok(())
}

fn is(error: &KafkaError, what: impl Fn(&rdkafka::error::RDKafkaError) -> bool) -> bool {
    matches!(error, KafkaError::Transaction(error) if what(error))
}

fn lock(producer: &BaseProducer<Context>) -> std::sync::MutexGuard<'_, Landed> {
    producer.context().landed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that waits, up to about that many bytes.
fn gather(first: Job, jobs: &mpsc::Receiver<Job>, bytes_max: usize) -> Vec<Job> {
    let mut bytes = first.bytes();
    let mut all = vec![first];
    while bytes < bytes_max {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job.bytes();
        all.push(job);
    }
    all
}

fn answer(jobs: Vec<Job>, positions: Vec<Position>) {
    let mut positions = positions.into_iter();
    for job in jobs {
        let own = positions.by_ref().take(job.records.len()).collect();
        let _ = job.answer.send(Ok(own)); // who asked may have stopped waiting
    }
}

fn answer_all(jobs: Vec<Job>, error: &CommitError) {
    for job in jobs {
        let _ = job.answer.send(Err(error.clone()));
    }
}

/// The settings of a transactional producer, over those of every client.
pub(super) fn settings(mut settings: ClientConfig, id: &str, transaction_timeout_ms: u32) -> ClientConfig {
    settings
        .set("transactional.id", id)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("transaction.timeout.ms", transaction_timeout_ms.to_string())
        // Lower than the transaction's own time, as the library asks.
        .set("message.timeout.ms", (transaction_timeout_ms / 2).max(1_000).to_string())
        // "Still busy with your last transaction" is an ordinary answer here: ask again soon, not after the default of 100 ms.
        .set("retry.backoff.ms", "5")
        .set("retry.backoff.max.ms", "500")
        // The records of a transaction are all handed over at once; but until its partitions are registered they wait, and with less than
        // this the library looks for them without a pause.
        .set("linger.ms", "5")
        .set("compression.type", "lz4");
    settings
}
