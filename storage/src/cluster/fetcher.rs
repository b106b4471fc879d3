//! Reading: one consumer per topic fetches for all readers of that topic, each partition into an inbox of its own.
//!
//! A thread polls and never waits for a reader: a partition whose inbox is full is paused and goes on when the reader has made room.
//!
//! A consumer serves a partition to one reader and never to another: what was fetched for the first may still be on its way, and the
//! second, who begins elsewhere, could not tell it from its own. The next reader gets another consumer, and one that serves nobody ends.
//! Membership of groups is somebody else's (`membership`): here partitions are assigned by whoever reads them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::BorrowedMessage,
};
use schemas::{envelope::Position, time::Time, topic::Topic};
use tokio::sync::Notify;

use super::{client::Observer, names::Names, offsets::Asker};
use crate::log::{ReadError, Stored};

/// How long the thread sleeps when nothing comes: it looks whether it should end.
const POLL: Duration = Duration::from_millis(200);

/// All fetchers of this process.
pub(super) struct Fetchers {
    settings: ClientConfig,
    observer: Observer,
    names: Arc<Names>,
    asker: Asker,
    inbox_bytes_max: usize,
    list: Mutex<Vec<Arc<Fetcher>>>,
    closed: AtomicBool,
}

/// One consumer and its thread.
struct Fetcher {
    topic: Topic,
    name: String,
    generation: u32,
    consumer: BaseConsumer<Observer>,
    /// By partition; `None` where its one reader has gone.
    inboxes: Mutex<HashMap<u32, Option<Arc<Inbox>>>>,
    stop: AtomicBool,
}

/// What was fetched of one partition and not read yet.
#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Default)]
struct State {
    /// The lowest offset wanted: nothing is handed out twice.
    from: u64,
    queue: VecDeque<Stored>,
    bytes: usize,
    is_paused: bool,
    /// The end was reached, and nothing came since.
    is_at_end: bool,
    failed: Option<ReadError>,
}

/// A reader of one partition.
pub(crate) struct Lane {
    fetchers: Arc<Fetchers>,
    topic: Topic,
    partition: u32,
    next: u64,
    seat: Option<Seat>,
}

/// A reader's place at a fetcher; dropping it ends the fetching.
struct Seat {
    fetchers: Arc<Fetchers>,
    fetcher: Arc<Fetcher>,
    partition: u32,
    inbox: Arc<Inbox>,
    bytes_max: usize,
}

impl Fetchers {
    pub(super) fn new(settings: ClientConfig, observer: Observer, names: Arc<Names>, asker: Asker, inbox_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { settings, observer, names, asker, inbox_bytes_max, list: Mutex::default(), closed: AtomicBool::new(false) })
    }

    pub(super) fn lane(self: &Arc<Self>, topic: Topic, partition: u32, from: u64) -> Lane {
        Lane { fetchers: self.clone(), topic, partition, next: from, seat: None }
    }

    /// Ends all threads; whoever reads is told.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
        for fetcher in lock(&self.list).drain(..) {
            fetcher.stop.store(true, Relaxed);
            for inbox in lock(&fetcher.inboxes).values().flatten() {
                inbox.fail(ReadError::Closed);
            }
        }
    }

    /// A place at a fetcher of the topic that never served the partition.
    fn seat(self: &Arc<Self>, topic: Topic, partition: u32, from: u64) -> Result<Seat, ReadError> {
        let mut list = lock(&self.list);
        if self.closed.load(Relaxed) {
            return Err(ReadError::Closed);
        }
        let free = |fetcher: &&Arc<Fetcher>| fetcher.topic == topic && !lock(&fetcher.inboxes).contains_key(&partition);
        let fetcher = if let Some(fetcher) = list.iter().find(free) {
            fetcher.clone()
        } else {
            let fetcher = self.start(topic).map_err(|error| ReadError::Failed(error.to_string()))?;
            list.push(fetcher.clone());
            fetcher
        };
        let inbox = Arc::new(Inbox { state: Mutex::new(State { from, ..State::default() }), bell: Notify::new() });
        lock(&fetcher.inboxes).insert(partition, Some(inbox.clone()));
        drop(list);
        let seat = Seat { fetchers: self.clone(), fetcher, partition, inbox, bytes_max: self.inbox_bytes_max };
        seat.assign(from).map_err(|error| ReadError::Failed(error.to_string()))?;
        Ok(seat)
    }

    fn start(&self, topic: Topic) -> Result<Arc<Fetcher>, KafkaError> {
        let (name, generation) = self.names.of(topic);
        let consumer = self.settings.create_with_context(self.observer.clone())?;
        let fetcher = Arc::new(Fetcher {
            topic,
            name: name.to_owned(),
            generation,
            consumer,
            inboxes: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let polls = fetcher.clone();
        let thread = std::thread::Builder::new().name(format!("fetch-{}", topic.name()));
        thread.spawn(move || polls.run()).map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(fetcher)
    }
}

impl Fetcher {
    fn run(&self) {
        while !self.stop.load(Relaxed) {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => self.came(&message),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(Some(inbox)) = lock(&self.inboxes).get(&(partition as u32)) {
                        inbox.lock().is_at_end = true;
                        inbox.bell.notify_one();
                    }
                }
                // The library goes on by itself; what it cannot mend shows in lag.
                Some(Err(error)) => tracing::debug!(topic = self.topic.name(), %error, "fetching"),
            }
        }
    }

    fn came(&self, message: &BorrowedMessage<'_>) {
        let partition = message.partition() as u32;
        let Some(inbox) = lock(&self.inboxes).get(&partition).cloned().flatten() else { return };
        let offset = message.offset() as u64;
        let mut state = inbox.lock();
        if offset < state.from {
            return;
        }
        let bytes = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice).unwrap_or_default();
        let stored = Stored {
            position: Position { generation: self.generation, partition, offset },
            key: bytes(message.key()),
            value: bytes(message.payload()),
            time: Time::from_millis(message.timestamp().to_millis().unwrap_or(0)),
        };
        state.from = offset + 1;
        state.bytes += size(&stored);
        state.queue.push_back(stored);
        state.is_at_end = false;
        drop(state);
        inbox.bell.notify_one();
    }

    fn one(&self, partition: u32, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.name, partition as i32, offset)?;
        Ok(list)
    }
}

impl State {
    fn is_told_to_the_end(&self) -> bool {
        self.is_at_end && self.queue.is_empty()
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: ReadError) {
        self.lock().failed = Some(why);
        self.bell.notify_one();
    }
}

impl Seat {
    fn assign(&self, from: u64) -> Result<(), KafkaError> {
        self.fetcher.consumer.incremental_assign(&self.fetcher.one(self.partition, Offset::Offset(from as i64))?)
    }

    fn unassign(&self) -> Result<(), KafkaError> {
        self.fetcher.consumer.incremental_unassign(&self.fetcher.one(self.partition, Offset::Invalid)?)
    }

    /// Takes what fits; at least one record if there is one.
    fn take(&self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        let mut state = self.inbox.lock();
        if let Some(why) = &state.failed {
            return Err(why.clone());
        }
        let mut bytes = 0;
        let mut taken = Vec::with_capacity(state.queue.len().min(records_max));
        while let Some(first) = state.queue.front() {
            let fits = taken.len() < records_max && bytes + size(first) <= bytes_max;
            if !fits && !taken.is_empty() {
                break;
            }
            bytes += size(first);
            taken.extend(state.queue.pop_front());
        }
        state.bytes -= bytes;
        let (was_paused, left) = (state.is_paused, state.bytes);
        let turn = if was_paused { left < self.bytes_max / 2 } else { left > self.bytes_max };
        if turn {
            state.is_paused = !was_paused;
            drop(state);
            self.pause(!was_paused);
        }
        Ok(taken)
    }

    fn pause(&self, paused: bool) {
        let done = self
            .fetcher
            .one(self.partition, Offset::Invalid)
            .and_then(|list| if paused { self.fetcher.consumer.pause(&list) } else { self.fetcher.consumer.resume(&list) });
        if let Err(error) = done {
            tracing::debug!(topic = self.fetcher.topic.name(), partition = self.partition, %error, "pausing");
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Err(error) = self.unassign() {
            tracing::debug!(topic = self.fetcher.topic.name(), partition = self.partition, %error, "giving a partition up");
        }
        let mut list = lock(&self.fetchers.list);
        let mut inboxes = lock(&self.fetcher.inboxes);
        inboxes.insert(self.partition, None);
        if inboxes.values().all(Option::is_none) {
            self.fetcher.stop.store(true, Relaxed);
            list.retain(|fetcher| !Arc::ptr_eq(fetcher, &self.fetcher));
        }
    }
}

impl Lane {
    pub(crate) async fn next(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        let seat = self.seat()?;
        let inbox = seat.inbox.clone();
        loop {
            let taken = seat.take(records_max, bytes_max)?;
            if let Some(last) = taken.last() {
                self.next = last.position.offset + 1;
                return Ok(taken);
            }
            inbox.bell.notified().await; // one reader per inbox: the permit is ours, and a ring before we listen is kept
        }
    }

    pub(crate) async fn available(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        let (_, end) = self.fetchers.asker.bounds(self.topic, self.partition).await?;
        if self.next >= end {
            return Ok(Vec::new());
        }
        // An end that was told before the question says nothing of what came since: a new seat is told anew.
        if self.seat.as_ref().is_some_and(|seat| seat.inbox.lock().is_told_to_the_end()) {
            self.seat = None;
        }
        let seat = self.seat()?;
        let inbox = seat.inbox.clone();
        loop {
            let taken = seat.take(records_max, bytes_max)?;
            if let Some(last) = taken.last() {
                self.next = last.position.offset + 1;
                return Ok(taken);
            }
            if inbox.lock().is_told_to_the_end() {
                return Ok(Vec::new()); // between here and the end stand only the log's own marks
            }
            inbox.bell.notified().await;
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    fn seat(&mut self) -> Result<&Seat, ReadError> {
        if self.seat.is_none() {
            let partitions = self.fetchers.names.partitions(self.topic);
            if self.partition >= partitions {
                return Err(ReadError::Failed(format!("{} has {partitions} partitions", self.topic.name())));
            }
            self.seat = Some(self.fetchers.seat(self.topic, self.partition, self.next)?);
        }
        self.seat.as_ref().ok_or(ReadError::Closed)
    }
}

/// What a record takes in an inbox: its bytes, and about what is kept around them.
fn size(stored: &Stored) -> usize {
    stored.key.len() + stored.value.len() + 96
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // each change is whole after its line
}

/// The settings of a fetching consumer, over those of every client.
pub(super) fn settings(mut settings: ClientConfig, prefix: &str, inbox_bytes_max: usize) -> ClientConfig {
    settings
        .set("group.id", format!("{prefix}reader")) // never joined: partitions are assigned by hand
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest") // what retention dropped is passed over, as on every engine
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.min.bytes", "1")
        .set("queued.max.messages.kbytes", (inbox_bytes_max / 1_024).max(1_024).to_string())
        .set("fetch.queue.backoff.ms", "20");
    settings
}
