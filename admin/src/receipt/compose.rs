//! What is known of an event, put together: legs with their verdicts, the fact, and a delivery for each pixel.

use futures_util::{StreamExt, TryStreamExt, stream};
use schemas::{
    delivery::Delivery,
    dispatch::Dispatch,
    envelope,
    fact::{LegName, amount_json},
    id::PixelId,
    receipt::{LegVerdict, Receipt, ReceiptDelivery, ReceiptFact, ReceiptLeg, SaleKind, Standing},
    row::{Leg, Waiting},
    time::{DAY_US, Time},
    topic::{Group, Topic},
};
use storage::{ReadError, Storage};

use super::{
    enrichment,
    find::{AT_ONCE, Fact, Found},
    frozen::{self, Among},
};
use crate::{Desk, deadline, deadline_hour};

/// Outcomes are kept so long.
const OUTCOMES_KEPT_US: i64 = 90 * DAY_US;

/// Everything that is known of it. The sentence is not written yet.
pub(super) async fn compose(desk: &Desk, found: Found) -> Result<Receipt, ReadError> {
    let storage = &desk.parts.storage;
    let ways = in_order(&found);
    let legs: Vec<ReceiptLeg> = ways.iter().enumerate().map(|(at, (name, leg))| told(*name, leg, at > 0, &found)).collect();
    let fact = found.fact.as_ref().map(concluded);
    let pixels = pixels(desk, &found, &ways);
    let looked = look(storage, &found, &pixels, !is_dispatched_to(&ways).is_empty()).await?;
    let enrichment = enrichment::enrichment(storage, &found, &ways, &looked).await?;
    let now = desk.parts.world.now();
    let deliveries: Vec<ReceiptDelivery> = looked.iter().map(|looked| delivery(looked, &found, &ways, now)).collect();
    let event_name = found.name.clone().or_else(|| deliveries.first().map(|delivery| delivery.event_name.clone()));
    Ok(Receipt {
        sentence: String::new(),
        version: envelope::VERSION,
        at: now,
        funnel_id: found.funnel,
        order_id: found.order,
        event_id: found.event_id,
        event_name: event_name.or_else(|| fact.as_ref().map(|fact| meta_name(fact.kind).to_owned())),
        dedup_key: found.key,
        also: found.also,
        legs,
        enrichment,
        fact,
        deliveries,
    })
}

pub(super) type Way<'a> = (LegName, &'a Leg);

/// The legs in the order of their positions: the first is First, the other Joined, as the judge decides it.
fn in_order(found: &Found) -> Vec<Way<'_>> {
    let Some(seen) = &found.seen else { return Vec::new() };
    let mut ways: Vec<Way<'_>> =
        [LegName::Browser, LegName::Server].into_iter().filter_map(|name| seen.leg(name).map(|leg| (name, leg))).collect();
    ways.sort_by_key(|(_, leg)| (leg.position.generation, leg.position.offset));
    ways
}

fn told(name: LegName, leg: &Leg, has_joined: bool, found: &Found) -> ReceiptLeg {
    let is_purchase = matches!(found.fact, Some(Fact::Purchase(_)));
    let queued = match (has_joined, found.order.is_some()) {
        (true, _) => Some(0),
        (false, true) => Some(leg.pixels.len() as u32),
        (false, false) => None, // an event's row does not keep its pixels
    };
    ReceiptLeg {
        leg: name,
        received_at: leg.received_at,
        position: leg.position,
        raw_id: leg.raw_id,
        amount: leg.money().map(amount_json),
        amount_minor: leg.amount_minor,
        currency: leg.currency,
        verdict: if has_joined { LegVerdict::Joined } else { LegVerdict::First },
        purchases_created: u32::from(is_purchase && name == LegName::Server),
        pixel_events_queued: queued,
    }
}

fn concluded(fact: &Fact) -> ReceiptFact {
    macro_rules! concluded {
        ($kind:expr, $fact:expr) => {
            ReceiptFact {
                kind: $kind,
                revision: $fact.revision,
                occurred_at: $fact.occurred_at,
                amount: $fact.amount.clone(),
                amount_minor: $fact.amount_minor,
                currency: $fact.currency,
            }
        };
    }
    match fact {
        Fact::Purchase(fact) => concluded!(SaleKind::Purchase, fact),
        Fact::Lead(fact) => concluded!(SaleKind::Lead, fact),
    }
}

fn meta_name(kind: SaleKind) -> &'static str {
    match kind {
        SaleKind::Purchase => "Purchase",
        SaleKind::Lead => "Lead",
    }
}

/// The pixels that the first leg of an order was dispatched to.
fn is_dispatched_to<'a>(ways: &[Way<'a>]) -> &'a [PixelId] {
    ways.first().map_or(&[], |(_, leg)| &leg.pixels)
}

/// The pixels that may have heard of it: those of an order are kept; for other events every pixel of the workspace is asked.
fn pixels(desk: &Desk, found: &Found, ways: &[Way<'_>]) -> Vec<PixelId> {
    let kept = is_dispatched_to(ways);
    if !kept.is_empty() || (found.order.is_some() && !ways.is_empty()) {
        return kept.to_vec();
    }
    let directory = desk.parts.directory.load();
    let Some(entry) = directory.funnel(found.funnel.as_str()) else { return Vec::new() };
    let of_workspace = directory.all().2.filter(|pixel| pixel.workspace_id == entry.funnel.workspace_id);
    let mut pixels: Vec<PixelId> = of_workspace.map(|pixel| pixel.id.clone()).collect();
    pixels.sort();
    pixels
}

/// One pixel, looked at.
pub(super) struct Looked {
    pub(super) pixel: PixelId,
    pub(super) row: Option<Delivery>,
    /// What waits in the ledger.
    pub(super) waiting: Option<Waiting>,
    /// What the sink has not read.
    pub(super) unread: Option<Dispatch>,
    /// There is no row, and the sink has not read everything that was dispatched to that pixel's partition.
    may_be_unread: bool,
}

/// Looks at each pixel. Where it is certain that the event was dispatched to all of them each is kept; else those that know of it.
async fn look(storage: &Storage, found: &Found, pixels: &[PixelId], is_certain: bool) -> Result<Vec<Looked>, ReadError> {
    let look = |pixel: PixelId| look_at(storage, found, pixel, is_certain);
    let looked: Vec<Looked> = stream::iter(pixels.to_vec()).map(look).buffered(AT_ONCE).try_collect().await?;
    Ok(looked.into_iter().filter(|looked| is_certain || looked.row.is_some() || looked.unread.is_some()).collect())
}

async fn look_at(storage: &Storage, found: &Found, pixel: PixelId, is_certain: bool) -> Result<Looked, ReadError> {
    let readings = storage.readings();
    let partition = storage.partition_of(Topic::Dispatch, pixel.as_str().as_bytes());
    // The sink's offset before the row: what it had read by then has a row now.
    let committed = storage.committed(Group::Capi, partition).await?.next_offset;
    let row = readings.delivery(&pixel, &found.key).await?;
    let end = storage.bounds(Topic::Dispatch, partition).await?.1;
    let may_be_unread = row.is_none() && committed < end;
    let waiting = match &row {
        Some(row) if row.outcome.is_none() => readings.waiting(&pixel, deadline_hour(row.occurred_at), &found.key).await?,
        _ => None,
    };
    let unread = match received_at(found) {
        Some(from) if may_be_unread && !is_certain => {
            frozen::find(storage, &pixel, &found.key, 1, Among { offset: committed, from, until: None }).await?
        }
        _ => None,
    };
    Ok(Looked { pixel, row, waiting, unread, may_be_unread })
}

/// When the first telling was received.
pub(super) fn received_at(found: &Found) -> Option<Time> {
    let of_fact = || match found.fact.as_ref()? {
        Fact::Purchase(fact) => Some(fact.first_received_at.unwrap_or(fact.received_at)),
        Fact::Lead(fact) => Some(fact.first_received_at.unwrap_or(fact.received_at)),
    };
    in_order(found).first().map(|(_, leg)| leg.received_at).or_else(of_fact)
}

/// What is known of one pixel; an order that the sink has not read is told from its legs alone.
fn delivery(looked: &Looked, found: &Found, ways: &[Way<'_>], now: Time) -> ReceiptDelivery {
    if let Some(row) = &looked.row {
        let is_waiting = row.outcome.is_none();
        return ReceiptDelivery {
            pixel_id: row.pixel_id.clone(),
            event_name: row.event_name.clone(),
            revision: row.revision,
            noted_revision: row.noted_revision,
            outcome: row.outcome.into(),
            settled_at: row.settled_at,
            attempts: row.attempts,
            ambiguous_attempts: row.ambiguous_attempts,
            attempt_log: row.attempt_log.clone(),
            reason: row.reason.clone(),
            is_unread: false,
            due_at: looked.waiting.as_ref().filter(|_| is_waiting).map(|row| row.due_at),
            deadline: is_waiting.then(|| deadline(row.occurred_at)),
            replayed: row.replayed,
        };
    }
    let is_revised = matches!(ways, [(LegName::Browser, _), (LegName::Server, _)]) && matches!(found.fact, Some(Fact::Purchase(_)));
    let is_old = received_at(found).is_some_and(|at| now.since(at) > OUTCOMES_KEPT_US);
    let outcome = match (is_old, looked.unread.is_some() || looked.may_be_unread) {
        (true, _) => Standing::NotKept,
        (false, true) => Standing::Waiting,
        (false, false) => Standing::Missing,
    };
    let is_waiting = outcome == Standing::Waiting;
    let occurred_at =
        looked.unread.as_ref().map(|dispatch| dispatch.occurred_at).or_else(|| found.fact.as_ref().map(|fact| concluded(fact).occurred_at));
    ReceiptDelivery {
        pixel_id: looked.pixel.clone(),
        event_name: looked.unread.as_ref().map(|dispatch| dispatch.event_name.clone()).or_else(|| found.name.clone()).unwrap_or_default(),
        revision: looked.unread.as_ref().map_or(1 + u32::from(is_revised), |dispatch| dispatch.revision),
        noted_revision: None,
        outcome,
        settled_at: None,
        attempts: 0,
        ambiguous_attempts: 0,
        attempt_log: Vec::new(),
        reason: None,
        is_unread: is_waiting,
        due_at: looked.unread.as_ref().and_then(|dispatch| dispatch.not_before),
        deadline: occurred_at.filter(|_| is_waiting).map(deadline),
        replayed: None,
    }
}
