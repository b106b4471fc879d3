//! One raw partition: read a batch, decide each record, act in one step, answer.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use schemas::{
    dead::{Dead, DeadReason},
    envelope::VERSION,
    row::{FilterSnapshot, Row, Seen},
    time::{SECOND_US, Time},
    topic::{Group, Topic},
    verdict::{Answer, Refusal, Verdict},
};
use storage::{Begun, CommitError, Consumed, Facts, Lease, LeaseId, Reader, Step, Stored};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Error, Parts,
    act::act,
    action::Action,
    conclude::conclude,
    decide::{WentBack, decide},
    filter::{Filter, KeyDigest},
    reading::{self, Reading, Unreadable},
    surroundings::{Lookout, Memory, Surroundings},
    warmth::{self, Warming},
};

/// Judges one partition until told to stop, or until the partition is asked back.
pub async fn run(parts: Parts, lease: Lease, stop: CancellationToken) -> Result<(), Error> {
    let judged = tokio::select! {
        biased; // nothing more is begun under a lease that is lost
        () = lease.lost() => Err(CommitError::Fenced.into()),
        judged = judge(parts, &lease, stop) => judged,
    };
    match judged {
        Err(Error::Commit(CommitError::Fenced)) => {
            tracing::warn!(partition = lease.partition(), "the raw partition is another process's now; what was at hand is judged there");
            Ok(())
        }
        judged => judged,
    }
}

async fn judge(parts: Parts, lease: &Lease, stop: CancellationToken) -> Result<(), Error> {
    let mut judge = Judge::start(parts, lease).await?;
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => break,
            () = lease.asked_back() => break,
            () = judge.warming.advance(&mut judge.filter) => {
                judge.show_filter(); // without traffic nobody else would say that it is warm
                continue;
            }
            settled = next(&mut judge.begun) => {
                settled?;
                continue;
            }
            batch = judge.reader.next(judge.parts.config.batch_records_max, judge.parts.config.batch_bytes_max),
                if judge.may_begin() => batch?,
        };
        if let Some(obstacle) = judge.judge(&batch).await? {
            tokio::select! {
                () = judge.stand_still(&obstacle, &stop) => {}
                () = lease.asked_back() => {}
            }
            break;
        }
        if judge.since_snapshot >= judge.parts.config.snapshot_records {
            judge.snapshot().await?;
        }
    }
    while !judge.begun.is_empty() {
        next(&mut judge.begun).await?;
    }
    judge.snapshot().await
}

/// Steps whose rows are durable and whose rest is on its way, at most, and records in them: an answer never waits for a transaction, even
/// where each record makes a step of its own, and little is judged again after a crash.
const BEGUN_MAX: usize = 256;
const BEGUN_RECORDS_MAX: u64 = 16_000;

/// A step on its way, and up to which offset it consumed.
struct OnItsWay {
    step: Begun,
    next_offset: u64,
}

/// The next step that is wholly true. Never ends when none is on its way. Cancel-safe.
async fn next(begun: &mut VecDeque<OnItsWay>) -> Result<(), CommitError> {
    let Some(first) = begun.front_mut() else { return std::future::pending().await };
    let settled = (&mut first.step).await;
    begun.pop_front();
    settled.map(drop)
}

/// Why a partition stands still until a human comes.
enum Obstacle {
    /// A record written by a newer build.
    Newer(u16),
    /// The log went back.
    WentBack(WentBack),
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newer(version) => {
                write!(f, "the next record has version {version} and this build reads up to {VERSION}: upgrade this process")
            }
            Self::WentBack(went_back) => went_back.fmt(f),
        }
    }
}

struct Judge {
    parts: Parts,
    number: u32,
    lease: LeaseId,
    label: String,
    facts: Facts,
    reader: Reader,
    filter: Filter,
    warming: Warming,
    memory: Memory,
    since_snapshot: u64,
    begun: VecDeque<OnItsWay>,
}

impl Judge {
    async fn start(parts: Parts, lease: &Lease) -> Result<Self, Error> {
        let number = lease.partition();
        let from = parts.storage.committed(Group::Processor, number).await?.next_offset;
        let facts = parts.storage.facts();
        let (filter, warming) = warmth::start(&parts, &facts, number, from).await?;
        let memory = Memory::new(parts.config.person_keys_cached, parts.config.visitors_cached);
        let reader = parts.storage.reader(Topic::Raw, number, from);
        let judge = Self {
            label: number.to_string(),
            parts,
            number,
            lease: lease.id(),
            facts,
            reader,
            filter,
            warming,
            memory,
            since_snapshot: 0,
            begun: VecDeque::new(),
        };
        judge.show_filter();
        tracing::info!(partition = number, from, warm = judge.filter.is_warm(), "judging a raw partition");
        Ok(judge)
    }

    /// Whether another step may be begun before those on their way are true.
    fn may_begin(&self) -> bool {
        let records = match (self.begun.front(), self.begun.back()) {
            (Some(first), Some(last)) => last.next_offset - first.next_offset,
            _ => 0,
        };
        self.begun.len() < BEGUN_MAX && records < BEGUN_RECORDS_MAX
    }

    /// Judges a batch in one step. Answers what stands in the way of the rest, after the records before it were judged.
    async fn judge(&mut self, batch: &[Stored]) -> Result<Option<Obstacle>, Error> {
        let mut obstacle = None;
        let mut readings = Vec::with_capacity(batch.len());
        for stored in batch {
            match reading::read(stored) {
                Err(Unreadable::Newer(version)) => {
                    obstacle = Some(Obstacle::Newer(version));
                    break;
                }
                read => readings.push((stored, read)),
            }
        }
        let mut known = self.look_up(&readings).await?;
        let mut step = Step::named("judge");
        let mut received = Vec::with_capacity(readings.len());
        let mut next_offset = None;
        let world = self.parts.world.clone();
        let now = world.now();
        let mut lookout = Lookout::new(&self.facts, &self.parts.keys, world.as_ref(), &mut self.memory);
        // What is known under this very leg is a repeat, or a conflict, and needs nothing around it.
        let is_new = |reading: &&Reading<'_>| {
            let seen = known.get(&reading.digest).and_then(|entry| entry.seen.as_ref());
            seen.is_none_or(|seen| seen.leg(reading.telling.leg).is_none_or(|leg| leg.position == reading.telling.position))
        };
        let new: Vec<&Reading<'_>> = readings.iter().filter_map(|(_, read)| read.as_ref().ok()).filter(is_new).collect();
        lookout.prepare(&new).await?;

        for (stored, read) in &readings {
            let actions = match read {
                Ok(reading) => match rule(reading, &mut known, &mut lookout, &stored.key, &self.parts).await? {
                    Ok(actions) => {
                        received.push(reading.raw.received_at);
                        actions
                    }
                    Err(went_back) => {
                        obstacle = Some(Obstacle::WentBack(went_back));
                        break;
                    }
                },
                Err(Unreadable::Refused(raw, refusal)) => {
                    self.parts.metrics.verdicts.with_label_values(&["refused"]).inc();
                    self.parts.metrics.dead.with_label_values(&["refused"]).inc();
                    refused(stored, raw.as_deref(), refusal)
                }
                Err(Unreadable::Newer(_)) => unreachable!("reading stopped before it"),
            };
            act(actions, now, &mut step);
            next_offset = Some(stored.position.offset + 1);
        }

        lookout.remember();
        if let Some(next_offset) = next_offset {
            step.consumed.push(Consumed {
                group: Group::Processor,
                partition: self.number,
                next_offset,
                metadata: None,
                lease: Some(self.lease),
            });
            self.begun.push_back(OnItsWay { step: self.parts.storage.begin(step).await?, next_offset });
            self.after_step(&readings, next_offset, &received);
        }
        Ok(obstacle)
    }

    /// What the ledger knows of the batch's keys; keys that are surely new are not asked for.
    async fn look_up(&mut self, readings: &[(&Stored, Result<Reading<'_>, Unreadable<'_>>)]) -> Result<Known, Error> {
        let mut known = Known::with_capacity(readings.len());
        let (mut asked, mut keys) = (Vec::new(), Vec::new());
        for reading in readings.iter().filter_map(|(_, read)| read.as_ref().ok()) {
            let digest = reading.digest;
            let entry = known.entry(digest).or_insert_with(|| {
                let said = match (self.filter.is_warm(), self.filter.is_surely_new(&reading.telling.key, &digest)) {
                    (false, _) => Said::Cold,
                    (true, true) => Said::Absent,
                    (true, false) => Said::Present,
                };
                if said != Said::Absent {
                    asked.push(digest);
                    keys.push(reading.key.clone());
                }
                Entry { said, seen: None, left: 0 }
            });
            entry.left += 1;
        }
        if !keys.is_empty() {
            for (digest, seen) in asked.iter().zip(self.facts.seen(&keys).await?) {
                if let Some(entry) = known.get_mut(digest) {
                    entry.seen = seen;
                }
            }
        }
        Ok(known)
    }

    fn after_step(&mut self, readings: &[(&Stored, Result<Reading<'_>, Unreadable<'_>>)], next_offset: u64, received: &[Time]) {
        for (stored, read) in readings {
            if let Ok(reading) = read
                && stored.position.offset < next_offset
            {
                self.filter.add(reading.telling.key.is_order(), &reading.digest, reading.telling.received_at);
            }
        }
        self.since_snapshot += received.len() as u64;
        let now = self.parts.world.now();
        self.parts.metrics.batch.observe(received.len() as f64);
        for received_at in received {
            self.parts.metrics.latency.observe(now.since(*received_at) as f64 / SECOND_US as f64);
        }
        self.show_filter();
    }

    fn show_filter(&self) {
        let metrics = &self.parts.metrics;
        metrics.filter_warm.with_label_values(&[&self.label]).set(i64::from(self.filter.is_warm()));
        for (name, set) in [("orders", self.filter.orders()), ("events", self.filter.events())] {
            let labels = [self.label.as_str(), name];
            metrics.filter_keys.with_label_values(&labels).set(set.keys() as i64);
            metrics.filter_capacity.with_label_values(&labels).set(set.capacity() as i64);
            metrics.filter_bytes.with_label_values(&labels).set(set.bytes() as i64);
        }
    }

    /// Keeps the filter for the next start. A cold filter does not hold every key, so it is not kept.
    async fn snapshot(&mut self) -> Result<(), Error> {
        if !self.filter.is_warm() || self.since_snapshot == 0 {
            return Ok(());
        }
        let next_offset = self.parts.storage.committed(Group::Processor, self.number).await?.next_offset;
        let mut step = Step::named("snapshot");
        step.rows.push(Row::FilterSnapshot(FilterSnapshot {
            partition: self.number,
            generation: self.parts.storage.generation(Topic::Raw),
            next_offset,
            bytes: self.filter.encode(),
        }));
        self.parts.storage.commit(step).await?;
        self.since_snapshot = 0;
        Ok(())
    }

    async fn stand_still(&mut self, obstacle: &Obstacle, stop: &CancellationToken) {
        tracing::error!(partition = self.number, %obstacle, "a raw partition stands still");
        self.parts.metrics.stopped.with_label_values(&[&self.label]).set(1);
        stop.cancelled().await;
    }
}

/// What is known of a batch's keys, kept up to date while the batch is judged.
type Known = HashMap<KeyDigest, Entry>;

struct Entry {
    said: Said,
    seen: Option<Seen>,
    /// Records of the batch that have not been judged yet: a cell is only copied here if another will look at it.
    left: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Absent,
    Present,
    Cold,
}

impl Said {
    fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Present => "present",
            Self::Cold => "cold",
        }
    }
}

/// Decides one record, looks around if it is new, and lists its effects.
async fn rule(
    reading: &Reading<'_>,
    known: &mut Known,
    lookout: &mut Lookout<'_>,
    source_key: &Bytes,
    parts: &Parts,
) -> Result<Result<Vec<Action>, WentBack>, Error> {
    let nothing = Seen::default();
    let entry = known.get_mut(&reading.digest);
    let seen = entry.as_ref().and_then(|entry| entry.seen.as_ref()).unwrap_or(&nothing);
    let ruling = match decide(&reading.telling, seen) {
        Ok(ruling) => ruling,
        Err(went_back) => return Ok(Err(went_back)),
    };
    let ledger = match entry.as_ref() {
        Some(entry) if entry.said != Said::Absent => {
            if entry.seen.is_some() {
                "known"
            } else {
                "unknown"
            }
        }
        _ => "unasked",
    };
    let filter = entry.as_ref().map_or("cold", |entry| entry.said.name());
    parts.metrics.dedup.with_label_values(&[filter, ledger]).inc();
    parts.metrics.verdicts.with_label_values(&[ruling.verdict.name()]).inc();

    let around = match &ruling.verdict {
        Verdict::First { .. } | Verdict::Joined { .. } => lookout.look(reading).await?,
        Verdict::Conflict { .. } => {
            parts.metrics.dead.with_label_values(&["conflict"]).inc();
            Surroundings::default()
        }
        Verdict::Repeat | Verdict::Refused(_) => Surroundings::default(),
    };
    let actions = conclude(reading, ruling, seen, around, source_key);
    if let Some(entry) = entry {
        entry.left -= 1;
        for action in &actions {
            if let Action::Remember { leg, cell, .. } = action
                && entry.left > 0
            {
                entry.seen.get_or_insert_default().set(*leg, (**cell).clone());
            }
            if let Action::Dispatch(dispatch) = action {
                parts.metrics.dispatches.with_label_values(&[if dispatch.revision == 1 { "1" } else { "2" }]).inc();
            }
        }
    }
    Ok(Ok(actions))
}

fn refused(stored: &Stored, raw: Option<&schemas::raw::Raw<'_>>, refusal: &Refusal) -> Vec<Action> {
    let dead = Dead {
        id: raw.map_or(Uuid::nil(), |raw| raw.id),
        version: VERSION,
        funnel_id: raw.map(|raw| raw.funnel_id.clone()),
        received_at: raw.map_or(stored.time, |raw| raw.received_at),
        position: stored.position,
        reason: DeadReason::Refused { code: refusal.code.to_string(), message: refusal.message.clone() },
    };
    let mut actions = vec![Action::Park { key: stored.key.clone(), dead: Box::new(dead) }];
    if let Some((to, raw)) = raw.and_then(|raw| Some((raw.reply_to?, raw))) {
        let answer = Answer { raw_id: raw.id, raw_partition: stored.position.partition, verdict: Verdict::Refused(refusal.clone()) };
        actions.push(Action::Answer { to, answer });
    }
    actions
}
