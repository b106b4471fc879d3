//! One dispatch partition: a single task that owns its lanes and books, and does one thing at a time. Requests and commits run beside it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use schemas::{
    dispatch::Dispatch,
    id::PixelId,
    row::{Intent, Row},
    time::{SECOND_US, Time},
    topic::Topic,
};
use storage::{Begun, CommitError, Deliveries, Lease, Step, Stored};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Room,
    access::Access,
    agenda::Agenda,
    books::{Books, Closed},
    client::Answer,
    lane::{Lane, Turn},
    recover,
};

mod intake;
mod replaying;
mod sending;
mod settling;
mod waiting;

/// Records read at once.
const READ_RECORDS: usize = 1_000;
/// Bytes read at once.
const READ_BYTES: usize = 1_024 * 1_024;
/// Rows in the open step at which reading waits for the ledger.
const OPEN_ROWS_MAX: usize = 8_000;
/// How long a step may be on its way before the next is begun behind it, and how many may be. The machine's time, as of everything that
/// waits for a disk or a server, whatever the clock of the world does.
const NOTE_AFTER: Duration = Duration::from_millis(500);
const WRITING_MAX: usize = 64;
/// How often the directory is asked about pixels at fault.
const ASK_DIRECTORY_US: i64 = SECOND_US;
/// How often pixels that only `waiting` knows are looked for.
const CENSUS_US: i64 = 3_600 * SECOND_US;

/// Delivers one partition until told to stop, or until the partition is asked back.
pub async fn run(room: Arc<Room>, lease: Lease, stop: CancellationToken) -> Result<(), Error> {
    let number = lease.partition();
    let delivered = tokio::select! {
        biased; // nothing more is begun under a lease that is lost
        () = lease.lost() => Err(CommitError::Fenced.into()),
        delivered = deliver(room, &lease, stop) => delivered,
    };
    match delivered {
        Err(Error::Commit(CommitError::Fenced)) => {
            tracing::warn!(partition = number, "the dispatch partition is another process's now; what was in flight is told by it");
            Ok(())
        }
        delivered => delivered,
    }
}

async fn deliver(room: Arc<Room>, lease: &Lease, stop: CancellationToken) -> Result<(), Error> {
    let number = lease.partition();
    let mut partition = Partition::start(room, lease).await?;
    let from = partition.from;
    let mut reader = partition.room.storage.reader(Topic::Dispatch, number, from);
    loop {
        partition.advance().await?;
        let may_read = partition.may_read();
        let wake = partition.wake();
        tokio::select! {
            () = stop.cancelled() => break,
            () = lease.asked_back() => break,
            event = next(&mut partition.jobs) => partition.happened(event?)?,
            read = reader.next(READ_RECORDS, READ_BYTES), if may_read => {
                partition.read.extend(read?);
                partition.room.storage.pause("reading", "after").await;
            }
            () = tokio::time::sleep(wake) => {}
        }
    }
    partition.drain().await
}

/// One partition's delivery.
struct Partition {
    room: Arc<Room>,
    number: u32,
    label: String,
    deliveries: Deliveries,
    /// Where reading begins.
    from: u64,
    /// Records below this may have been touched before the start.
    touched_before: u64,
    lanes: HashMap<PixelId, Lane>,
    agenda: Agenda,
    books: Books,
    /// Every step up to this one is true.
    durable: u64,
    /// Steps on their way, in order: mostly one.
    writing: VecDeque<Writing>,
    next_attempt: u64,
    /// Attempts whose intents are still to be written.
    intents: Vec<Launch>,
    intent_rows: Vec<Row>,
    is_writing_intents: bool,
    jobs: JoinSet<Event>,
    /// Read and not placed yet.
    read: VecDeque<Stored>,
    /// The first of them, parsed, while its pixel has no room.
    front: Option<(u64, Dispatch)>,
    /// Until when reading stands still for that pixel.
    hold_until: Option<Time>,
    /// A record of a newer build was met: nothing more is read.
    stands_still: bool,
    /// Pixels at fault.
    refused: HashSet<PixelId>,
    /// Pixels with later revisions that wait for a step.
    with_late: HashSet<PixelId>,
    ask_directory_at: Time,
    census_at: Time,
}

/// A step on its way.
struct Writing {
    seq: u64,
    since: Instant,
    /// Whether its rows are durable.
    is_noted: bool,
    /// The rest of it, until somebody waits for it: one step after another.
    rest: Option<Begun>,
    released: Vec<(PixelId, String)>,
    attend: Vec<PixelId>,
    dues: Vec<(PixelId, Time)>,
}

/// An attempt about to be made.
struct Launch {
    pixel: PixelId,
    attempt: u64,
    at: Time,
    access: Arc<Access>,
}

/// What happens beside the partition's own work.
enum Event {
    IntentsWritten(Vec<Launch>, Result<(), CommitError>),
    Answered(Launch, Box<Answer>, Duration),
    StepNoted(Result<Begun, CommitError>),
    StepWritten(Result<(), CommitError>),
}

async fn next(jobs: &mut JoinSet<Event>) -> Result<Event, Error> {
    match jobs.join_next().await {
        Some(event) => event.map_err(|error| Error::Task(error.to_string())),
        None => std::future::pending().await,
    }
}

impl Partition {
    async fn start(room: Arc<Room>, lease: &Lease) -> Result<Self, Error> {
        let number = lease.partition();
        let (books, from, next_attempt) = recover::recover(&room, number, Some(lease.id())).await?;
        let deliveries = room.storage.deliveries();
        let mut partition = Self {
            label: number.to_string(),
            deliveries,
            from,
            touched_before: books.touched_before(),
            lanes: HashMap::new(),
            agenda: Agenda::default(),
            durable: books.seq() - 1,
            books,
            writing: VecDeque::new(),
            next_attempt,
            intents: Vec::new(),
            intent_rows: Vec::new(),
            is_writing_intents: false,
            jobs: JoinSet::new(),
            read: VecDeque::new(),
            front: None,
            hold_until: None,
            stands_still: false,
            refused: HashSet::new(),
            with_late: HashSet::new(),
            ask_directory_at: Time::default(),
            census_at: Time::default(),
            number,
            room,
        };
        partition.census(Time::from_micros(i64::MAX)).await?;
        tracing::info!(partition = number, from, touched = partition.touched_before, "delivering a dispatch partition");
        Ok(partition)
    }

    fn now(&self) -> Time {
        self.room.world.now()
    }

    /// Does everything that can be done without waiting for anybody outside.
    async fn advance(&mut self) -> Result<(), Error> {
        self.intake().await?;
        let now = self.now();
        if now >= self.ask_directory_at {
            self.ask_directory_at = now.plus_micros(ASK_DIRECTORY_US);
            self.ask_directory(now);
        }
        if now >= self.census_at {
            self.census(now).await?;
        }
        for pixel in self.agenda.due(now) {
            self.turn(&pixel).await?;
        }
        self.write();
        Ok(())
    }

    /// Does what a pixel's lane can do now.
    async fn turn(&mut self, pixel: &PixelId) -> Result<(), Error> {
        loop {
            let now = self.now();
            let lane = self.lanes.entry(pixel.clone()).or_default();
            let paced_until = lane.access.as_ref().map(|access| self.room.tokens.next_at(&access.token_id())).unwrap_or_default();
            match lane.turn(now, self.durable, paced_until, &self.room.config) {
                Turn::Nothing => return Ok(()),
                Turn::At(at) => {
                    self.agenda.note(pixel, at);
                    return Ok(());
                }
                Turn::Look => {
                    if !self.look(pixel, now).await? {
                        return Ok(());
                    }
                }
                Turn::Send => self.send(pixel, now),
            }
        }
    }

    /// Starts the commits that wait: intents and outcomes each one step at a time, so that everything that waits goes together.
    fn write(&mut self) {
        if !self.is_writing_intents && !self.intents.is_empty() {
            self.is_writing_intents = true;
            let launches = std::mem::take(&mut self.intents);
            let mut step = Step::named("intent");
            step.rows = std::mem::take(&mut self.intent_rows);
            let storage = self.room.storage.clone();
            self.jobs.spawn(async move { Event::IntentsWritten(launches, storage.commit(step).await.map(drop)) });
        }
        if self.may_begin_step() && !self.books.is_clean() {
            let Closed { seq, step, released, attend, dues } = self.books.close("outcome");
            self.writing.push_back(Writing { seq, since: Instant::now(), is_noted: false, rest: None, released, attend, dues });
            let storage = self.room.storage.clone();
            self.jobs.spawn(async move { Event::StepNoted(storage.begin(step).await) });
        }
    }

    /// One step after another, so that everything that waits goes together. But while the log is away a step stays on its way: then what
    /// came of requests is noted in the ledger meanwhile, so that whoever takes the partition over need not send it again.
    fn may_begin_step(&self) -> bool {
        match self.writing.back() {
            None => true,
            Some(last) => last.is_noted && last.since.elapsed() >= NOTE_AFTER && self.writing.len() < WRITING_MAX,
        }
    }

    /// Waits for the first step on its way, unless somebody does.
    fn await_first(&mut self) {
        if let Some(rest) = self.writing.front_mut().and_then(|first| first.rest.take()) {
            self.jobs.spawn(async move { Event::StepWritten(rest.await.map(drop)) });
        }
    }

    fn happened(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::IntentsWritten(launches, written) => {
                written?;
                self.is_writing_intents = false;
                for launch in launches {
                    self.launch(launch);
                }
            }
            Event::Answered(launch, answer, took) => self.settle(launch, *answer, took),
            Event::StepNoted(begun) => {
                let rest = begun?;
                if let Some(last) = self.writing.back_mut() {
                    (last.is_noted, last.rest) = (true, Some(rest));
                }
                self.await_first();
            }
            Event::StepWritten(written) => {
                written?;
                self.written();
                self.await_first();
            }
        }
        Ok(())
    }

    /// A step is true: what waited for it goes on.
    fn written(&mut self) {
        let Some(Writing { seq, released, attend, dues, .. }) = self.writing.pop_front() else { return };
        self.durable = seq;
        let now = self.now();
        for (pixel, key) in &released {
            let Some(lane) = self.lanes.get_mut(pixel) else { continue };
            lane.busy.remove(key);
            if std::mem::take(&mut lane.looks_again) {
                lane.due_at(now);
            }
        }
        for (pixel, at) in &dues {
            self.look_at(pixel, *at);
        }
        for pixel in released.iter().map(|(pixel, _)| pixel).chain(&attend).chain(&self.with_late) {
            self.agenda.at_once(pixel);
        }
    }

    /// Looks into `waiting` for a pixel at that moment.
    fn look_at(&mut self, pixel: &PixelId, at: Time) {
        let at = self.lanes.entry(pixel.clone()).or_default().due_at(at);
        self.agenda.note(pixel, at);
    }

    fn may_read(&self) -> bool {
        self.read.is_empty() && self.front.is_none() && !self.stands_still && self.books.rows() < OPEN_ROWS_MAX
    }

    /// How long to sleep at most.
    fn wake(&self) -> Duration {
        let hold = self.hold_until.filter(|_| self.front.is_some() && self.books.rows() < OPEN_ROWS_MAX);
        let directory = (!self.refused.is_empty()).then_some(self.ask_directory_at);
        let at = [self.agenda.next(), hold, directory].into_iter().flatten().fold(self.census_at, Time::min);
        let wake = self.room.world.sleep(at.since(self.now()));
        if self.books.is_clean() { wake } else { wake.min(NOTE_AFTER) }
    }

    /// Waits for the requests in flight and writes what came of them; nothing new is begun.
    async fn drain(mut self) -> Result<(), Error> {
        self.intents.clear();
        self.intent_rows.clear();
        let patience = Duration::from_millis(self.room.config.drain_timeout_ms);
        let deadline = Instant::now() + patience;
        loop {
            self.write();
            if self.jobs.is_empty() {
                return Ok(());
            }
            let Ok(event) = tokio::time::timeout_at(deadline, next(&mut self.jobs)).await else {
                tracing::warn!(partition = self.number, "requests to Meta did not finish in time; they will be told as ambiguous");
                return Ok(());
            };
            self.happened(event?)?;
        }
    }

    fn intent(&self, attempt: u64, at: Time, pixel: &PixelId, items: Vec<schemas::row::IntentItem>) -> Row {
        Row::Intent(Intent { partition: self.number, attempt, at, pixel_id: pixel.clone(), settled: false, items })
    }
}
