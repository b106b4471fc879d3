//! The decision, pure and blind to its future: what one raw record means, given what lower positions wrote about its key.

use schemas::{
    dead::Difference,
    envelope::Position,
    fact::LegName,
    key::{DedupKey, EVENT_KEY_DAYS},
    money::Money,
    person::Digest,
    row::{Leg, Seen},
    time::{DAY_US, Time},
    verdict::{ConflictField, Verdict},
};
use uuid::Uuid;

/// What one raw record tells about its key: all that a decision may look at.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The key.
    pub key: DedupKey,
    /// The way it came.
    pub leg: LegName,
    /// Whether it tells of a purchase.
    pub is_purchase: bool,
    /// Which record it is.
    pub raw_id: Uuid,
    /// Where it stands.
    pub position: Position,
    /// When it was received.
    pub received_at: Time,
    /// The amount it tells.
    pub money: Option<Money>,
    /// Digest of the e-mail it tells.
    pub email: Option<Digest>,
    /// Digest of its body, under an `Idempotency-Key`.
    pub body: Option<Digest>,
    /// How many dispatches it causes if it is new.
    pub dispatches: u32,
}

/// What a record means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The verdict.
    pub verdict: Verdict,
    /// What differed, on a conflict.
    pub differences: Vec<Difference>,
}

/// At a record's own position the ledger holds another record: the log went back. The partition must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger knows another record at {position:?}: the log went back; start a new generation of the topic")]
pub struct WentBack {
    /// Where.
    pub position: Position,
}

/// Decides. `seen` may hold cells of higher positions (another judge ran ahead, or this is a replay): they are not looked at.
pub fn decide(telling: &Telling, seen: &Seen) -> Result<Ruling, WentBack> {
    let own = past(telling, seen.leg(telling.leg))?;
    let other = past(telling, seen.leg(other(telling.leg)))?;
    let purchases_created = u32::from(telling.is_purchase && telling.leg == LegName::Server);
    let verdict = match (own, other) {
        (Some(first), _) => {
            let differences = differences(telling, first);
            let verdict = if differences.is_empty() {
                Verdict::Repeat
            } else {
                Verdict::Conflict { fields: differences.iter().map(|difference| difference.field).collect() }
            };
            return Ok(Ruling { verdict, differences });
        }
        (None, Some(_)) => Verdict::Joined { purchases_created },
        (None, None) => Verdict::First { purchases_created, pixel_events_queued: telling.dispatches },
    };
    Ok(Ruling { verdict, differences: Vec::new() })
}

/// The other way one order can reach us.
pub fn other(leg: LegName) -> LegName {
    match leg {
        LegName::Browser => LegName::Server,
        LegName::Server => LegName::Browser,
    }
}

/// The cell, if a lower position wrote it and it still counts.
fn past<'a>(telling: &Telling, cell: Option<&'a Leg>) -> Result<Option<&'a Leg>, WentBack> {
    let Some(cell) = cell else { return Ok(None) };
    if cell.position == telling.position && cell.raw_id != telling.raw_id {
        return Err(WentBack { position: telling.position });
    }
    let expired = !telling.key.is_order() && telling.received_at.since(cell.received_at) >= EVENT_KEY_DAYS * DAY_US;
    Ok((cell.position.is_before(telling.position) && !expired).then_some(cell))
}

/// What differs between two tellings of one leg. A field absent on either side is no difference; under an event key of a browser
/// the id alone decides.
fn differences(now: &Telling, first: &Leg) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |field, first: Option<String>, now: Option<String>| {
        if let (Some(first), Some(now)) = (first, now)
            && first != now
        {
            found.push(Difference { field, first, now });
        }
    };
    let decimal = |money: Money| money.decimal();
    match &now.key {
        DedupKey::Purchase(..) | DedupKey::Lead(..) | DedupKey::Hook(..) => {
            compare(ConflictField::Amount, first.money().map(decimal), now.money.map(decimal));
            let code = |money: Money| money.currency.to_string();
            compare(ConflictField::Currency, first.money().map(code), now.money.map(code));
            compare(ConflictField::Email, first.email.map(|d| d.to_string()), now.email.map(|d| d.to_string()));
        }
        DedupKey::Event { .. } => return Vec::new(),
    }
    if found.is_empty() && matches!(now.key, DedupKey::Hook(..)) {
        let mut compare = |first: Option<Digest>, now: Option<Digest>| {
            if let (Some(first), Some(now)) = (first, now)
                && first != now
            {
                found.push(Difference { field: ConflictField::Body, first: first.to_string(), now: now.to_string() });
            }
        };
        compare(first.body, now.body);
    }
    found
}
