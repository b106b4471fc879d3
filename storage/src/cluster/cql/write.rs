//! Rows become upserts. Each says by itself which word is the newest: stamps follow from the log's positions, from the moment something
//! was told, or, for the sink's rows, from the owner's count that is handed in.

use std::hash::Hasher as _;

use schemas::{
    delivery::Written,
    envelope::Position,
    fact::LegName,
    id::{FunnelId, VisitorId},
    key,
    order::OrderId,
    person::Digest,
    row::{Cell, Intent, Leg, PersonKey, PersonRow, Row, Visitor, Waiting},
    time::{DAY_US, SECOND_US, Time},
};
use scylla::value::MaybeUnset;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Ledger, LedgerError, json, owners,
    put::Put,
    statements::{Asked, Statements},
};

/// Days a row of an event key is kept: two more than the thirty within which it is a repeat, so that the row outlives the question.
pub(super) const EVENT_ROW_DAYS: i64 = 32;
/// Days a delivery is kept after its outcome.
pub(super) const DELIVERY_DAYS: i64 = 90;
/// Days a cell of a visitor or a person is kept.
pub(super) const PERSON_DAYS: i64 = 400;
/// How long a waiting row outlives its deadline: whole hours then fall away together.
const WAITING_AFTER_DEADLINE_S: i64 = 3 * 86_400;
/// A row that is past its time on arrival is still kept so long, so that whoever writes it can read it.
const KEPT_AT_LEAST_S: i64 = 3_600;
/// Buckets of one funnel's day.
const BUCKETS: u64 = 16;

/// A row and, if it is one of the sink's, the stamp that tells its age; the others say it themselves.
pub(crate) struct Stamped {
    pub(crate) row: Row,
    pub(crate) stamp: i64,
}

impl Ledger {
    /// Writes all rows; on `Ok` all of them are durable.
    pub(crate) async fn write(&self, rows: &[Stamped], now: Time) -> Result<(), LedgerError> {
        let to = self.statements()?;
        let mut puts = Vec::with_capacity(rows.len());
        for Stamped { row, stamp } in rows {
            match row {
                Row::FilterSnapshot(snapshot) => self.put_snapshot(snapshot).await?,
                row => puts.extend(puts_of(to, row, *stamp, now)),
            }
        }
        self.put(puts).await
    }
}

/// The statements that write a row. A filter's snapshot has none here: it goes piece by piece.
pub(super) fn puts_of<'a>(to: &'a Statements, row: &'a Row, stamp: i64, now: Time) -> Vec<Put<'a>> {
    match row {
        Row::Seen { key, leg, cell } => {
            let ttl_s = if key::is_order(key) { 0 } else { seconds(EVENT_ROW_DAYS) };
            vec![put_seen(to, key, *leg, cell, cell.position.partition, ttl_s)]
        }
        Row::Purchase(purchase) => {
            let counts_at = purchase.first_received_at.unwrap_or(purchase.received_at);
            let fact = Fact::new(&purchase.funnel_id, purchase.order_id.as_ref(), &purchase.event_id, counts_at, purchase);
            put_fact([&to.put_purchase, &to.put_purchase_by_day], fact, purchase.position, purchase.revision)
        }
        Row::Lead(lead) => {
            let counts_at = lead.first_received_at.unwrap_or(lead.received_at);
            let fact = Fact::new(&lead.funnel_id, lead.order_id.as_ref(), &lead.event_id, counts_at, lead);
            put_fact([&to.put_lead, &to.put_lead_by_day], fact, lead.position, lead.revision)
        }
        Row::Visitor(visitor) => put_visitor(to, visitor, |_| Some(seconds(PERSON_DAYS))),
        Row::Person(person) => put_person(to, person, |_| Some(seconds(PERSON_DAYS))),
        Row::PersonKey(key) => vec![put_person_key(to, key)],
        Row::FilterSnapshot(_) => Vec::new(),
        Row::Intent(intent) => vec![put_intent(to, intent, owners::epoch(stamp))],
        Row::Delivery(delivery) | Row::DeliveryNote(delivery) => {
            vec![put_delivery(to, delivery, stamp, if delivery.outcome.is_some() { seconds(DELIVERY_DAYS) } else { 0 })]
        }
        Row::WaitingBegins(waiting) => put_waiting(to, waiting, true, stamp, now),
        Row::Waiting(waiting) => put_waiting(to, waiting, false, stamp, now),
        Row::WaitingDone { pixel_id, deadline_hour, dedup_key } => {
            vec![Put::new(&to.drop_waiting, dedup_key.len(), (stamp, pixel_id.as_str(), *deadline_hour, dedup_key.as_str()))]
        }
    }
}

pub(super) fn put_seen<'a>(to: &'a Statements, key: &'a str, leg: LegName, cell: &Leg, raw_partition: u32, ttl_s: i32) -> Put<'a> {
    let to = match leg {
        LegName::Browser => &to.put_seen_browser,
        LegName::Server => &to.put_seen_server,
    };
    let json = json(cell);
    Put::new(to, key.len() + json.len(), (funnel_of(key), key, raw_partition as i32, json, cell.position.stamp(), ttl_s))
}

fn put_fact(to: [&Asked; 2], fact: Fact, position: Position, revision: u32) -> Vec<Put<'_>> {
    let stamp = position.stamp() * 8 + i64::from(revision.min(7));
    let Fact { funnel, key, day, json } = fact;
    let (bucket, bytes) = (bucket(&key), key.len() + json.len());
    let row = Put::new(to[0], bytes, (funnel.as_str().to_owned(), key.clone(), json.clone(), stamp));
    let by_day = Put::new(to[1], bytes, (funnel.as_str().to_owned(), day, bucket, key, json, stamp));
    vec![row, by_day]
}

/// Cells by the moment they were told at; `ttl_s` says how long each is kept, `None` that its days are over.
pub(super) fn put_visitor<'a>(to: &'a Statements, visitor: &'a Visitor, ttl_s: impl Fn(i64) -> Option<i32>) -> Vec<Put<'a>> {
    let cells = [cell(visitor.person.as_ref()), cell(visitor.context.as_ref()), cell(visitor.consent.as_ref())];
    let put = |at| {
        let [person, context, consent] = cells.each_ref().map(|cell| told_at(cell.as_ref(), at));
        let key = (visitor.funnel_id.as_str(), visitor.visitor_id.as_str());
        let bytes = key.1.len() + bytes_told_at(&cells, at);
        Some(Put::new(&to.put_visitor, bytes, (at, ttl_s(at)?, person, context, consent, key.0, key.1)))
    };
    moments(&cells).into_iter().filter_map(put).collect()
}

/// Cells by the moment they were told at, as in [`put_visitor`].
pub(super) fn put_person<'a>(to: &'a Statements, person: &'a PersonRow, ttl_s: impl Fn(i64) -> Option<i32>) -> Vec<Put<'a>> {
    let cells = [cell(person.context.as_ref()), cell(person.consent.as_ref())];
    let put = |at| {
        let [context, consent] = cells.each_ref().map(|cell| told_at(cell.as_ref(), at));
        let (email, bytes) = (person.email.to_string(), bytes_told_at(&cells, at));
        Some(Put::new(&to.put_person, email.len() + bytes, (at, ttl_s(at)?, context, consent, person.funnel_id.as_str(), email)))
    };
    moments(&cells).into_iter().filter_map(put).collect()
}

fn put_person_key<'a>(to: &'a Statements, key: &'a PersonKey) -> Put<'a> {
    let json = json(&key.key);
    let values = (key.funnel_id.as_str(), key.email.to_string(), key.key_id, json, made_at_us(key.key_id));
    Put::new(&to.put_person_key, values.1.len() + values.3.len(), values)
}

pub(super) fn put_intent<'a>(to: &'a Statements, intent: &Intent, epoch: i64) -> Put<'a> {
    let stamp = owners::intent_stamp(epoch, intent.attempt, intent.settled);
    let (partition, attempt, json) = (intent.partition as i32, intent.attempt as i64, json(intent));
    Put::new(&to.put_intent, json.len(), (partition, owners::bucket(intent.attempt), attempt, intent.settled, json, stamp))
}

pub(super) fn put_delivery<'a>(to: &'a Statements, delivery: &'a Written, stamp: i64, ttl_s: i32) -> Put<'a> {
    let (key, json) = (delivery.dedup_key.as_str(), delivery.json());
    Put::new(&to.put_delivery, key.len() + json.len(), (delivery.pixel_id.as_str(), key, json, stamp, ttl_s))
}

pub(super) fn put_waiting<'a>(to: &'a Statements, waiting: &Waiting, begins: bool, stamp: i64, now: Time) -> Vec<Put<'a>> {
    let put = if begins { &to.begin_waiting } else { &to.put_waiting };
    let (pixel, hour) = (waiting.dispatch.pixel_id.as_str().to_owned(), waiting.deadline_hour);
    let (ttl_s, key, json) = (waiting_ttl_s(hour, now), waiting.dispatch.dedup_key.clone(), json(waiting));
    let mark = Put::new(&to.put_hour, pixel.len(), (waiting.partition as i32, pixel.clone(), hour, stamp, ttl_s));
    let bytes = key.len() + json.len();
    vec![Put::new(put, bytes, (pixel, hour, key, waiting.due_at.micros(), json, stamp, ttl_s)), mark]
}

fn seconds(days: i64) -> i32 {
    (days * DAY_US / SECOND_US) as i32
}

/// A purchase or lead on its way to its two tables.
struct Fact {
    funnel: FunnelId,
    key: String,
    day: String,
    json: String,
}

impl Fact {
    fn new(funnel: &FunnelId, order: Option<&OrderId>, event_id: &str, counts_at: Time, fact: &impl Serialize) -> Self {
        let key = fact_key(order.map(OrderId::as_str), event_id);
        let day = counts_at.to_string().chars().take(10).collect(); // RFC 3339 begins with the UTC day
        Self { funnel: funnel.clone(), key, day, json: json(fact) }
    }
}

/// The key of a purchase or lead within its funnel: an order goes before an event of the same name.
pub(super) fn fact_key(order: Option<&str>, event_id: &str) -> String {
    match order {
        Some(order) => format!("o|{order}"),
        None => format!("e|{event_id}"),
    }
}

fn bucket(fact_key: &str) -> i32 {
    let mut hasher = fnv();
    hasher.write(fact_key.as_bytes());
    (hasher.finish() % BUCKETS) as i32
}

/// FNV-1a: rows are found by it for ever, so it must not follow the standard library's taste.
fn fnv() -> Fnv {
    Fnv(0xcbf2_9ce4_8422_2325)
}

struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The funnel with which a dedup key begins: a funnel's id has no `|`.
pub(super) fn funnel_of(key: &str) -> &str {
    key.split_once('|').map_or(key, |(funnel, _)| funnel)
}

/// A cell's moment and JSON.
type Told = Option<(i64, String)>;

fn cell<T: Serialize>(cell: Option<&Cell<T>>) -> Told {
    cell.map(|cell| (cell.at.micros(), json(cell)))
}

/// The moments at which these cells were told, each once: mostly there is one, and one statement.
fn moments(cells: &[Told]) -> Vec<i64> {
    let mut moments: Vec<i64> = cells.iter().flatten().map(|(at, _)| *at).collect();
    moments.sort_unstable();
    moments.dedup();
    moments
}

fn bytes_told_at(cells: &[Told], at: i64) -> usize {
    cells.iter().flatten().filter(|(told, _)| *told == at).map(|(_, json)| json.len()).sum()
}

fn told_at(cell: Option<&(i64, String)>, at: i64) -> MaybeUnset<String> {
    match cell {
        Some((told, json)) if *told == at => MaybeUnset::Set(json.clone()),
        _ => MaybeUnset::Unset, // not null: that would take an older cell away
    }
}

/// When a key was made, by its own id, in microseconds.
fn made_at_us(id: Uuid) -> i64 {
    match id.get_timestamp() {
        Some(at) => {
            let (seconds, nanos) = at.to_unix();
            seconds as i64 * SECOND_US + i64::from(nanos / 1_000)
        }
        None => 1,
    }
}

fn waiting_ttl_s(deadline_hour: i64, now: Time) -> i32 {
    let left = (deadline_hour + 1) * 3_600 - now.micros() / SECOND_US + WAITING_AFTER_DEADLINE_S;
    left.clamp(KEPT_AT_LEAST_S, 30 * 86_400) as i32
}

/// The names that this file's keys are made of, for readers of the other files.
pub(super) fn visitor_key<'a>(funnel: &'a FunnelId, visitor: &'a VisitorId) -> (&'a str, &'a str) {
    (funnel.as_str(), visitor.as_str())
}

/// A person's key.
pub(super) fn person_key<'a>(funnel: &'a FunnelId, email: &Digest) -> (&'a str, String) {
    (funnel.as_str(), email.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_begins_with_its_funnel() {
        assert_eq!(["fn_1|purchase|A|7", "fn_1|hook|e"].map(funnel_of), ["fn_1", "fn_1"]);
    }

    #[test]
    fn buckets_never_move() {
        assert_eq!(["o|ORD-1", "o|ORD-2", "e|x"].map(bucket), [3, 6, 4], "FNV-1a of 64 bits, as computed elsewhere");
    }

    #[test]
    fn a_waiting_row_is_kept_until_three_days_after_its_deadline() {
        let now = Time::from_micros(1_000 * 3_600 * SECOND_US);
        for (hour, ttl_s) in
            [(1_000, 3_600 + 3 * 86_400), (1_168, 169 * 3_600 + 3 * 86_400), (1, 3_600), (i64::from(i32::MAX), 30 * 86_400)]
        {
            assert_eq!(i64::from(waiting_ttl_s(hour, now)), ttl_s, "{hour}");
        }
    }

    #[test]
    fn cells_told_at_one_moment_go_together() {
        let cells = [Some((5, "a".to_owned())), None, Some((5, "b".to_owned()))];
        assert_eq!(moments(&cells), [5]);
        assert_eq!(moments(&[Some((5, String::new())), Some((3, String::new()))]), [3, 5]);
    }

    #[test]
    fn a_persons_key_is_as_old_as_its_id_says() {
        let id = uuid::Builder::from_unix_timestamp_millis(1_764_000_000_123, &[1; 10]).into_uuid();
        assert_eq!(made_at_us(id), 1_764_000_000_123_000);
        assert_eq!(made_at_us(Uuid::from_u128(7)), 1);
    }
}
