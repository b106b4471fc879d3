//! Which event is meant: its dedup key, and what `seen` and the facts say of it.

use futures_util::{StreamExt, TryStreamExt, stream};
use schemas::{
    fact::{Lead, LegName, Purchase},
    id::FunnelId,
    key::{DedupKey, order_event_id},
    order::OrderId,
    receipt::SaleKind,
    row::Seen,
};
use storage::{ReadError, Readings};

use super::{Subject, Wanted, on_one_line, walk};
use crate::{Desk, refuse::Refused};

/// Questions asked at a time: in a cluster each is a way to a server and back.
pub(super) const AT_ONCE: usize = 32;
/// Candidates named when there are several.
const NAMED_MAX: usize = 20;

/// The event that is meant.
pub(super) struct Found {
    pub(super) funnel: FunnelId,
    /// The dedup key's text.
    pub(super) key: String,
    pub(super) order: Option<OrderId>,
    pub(super) event_id: String,
    /// The event's name at Meta, as far as the key tells it.
    pub(super) name: Option<String>,
    pub(super) seen: Option<Seen>,
    pub(super) fact: Option<Fact>,
    /// The same order is known under the other kind.
    pub(super) also: Option<SaleKind>,
}

/// A purchase or a lead.
#[derive(Clone)]
pub(super) enum Fact {
    Purchase(Box<Purchase>),
    Lead(Box<Lead>),
}

pub(super) async fn find(desk: &Desk, wanted: &Wanted) -> Result<Found, Refused> {
    let readings = desk.parts.storage.readings();
    let mut found = match &wanted.subject {
        Subject::Order(order) => orders(&readings, &wanted.funnels, order, wanted.kind).await?,
        Subject::Event { id, by: Some((visitor, name)) } => {
            let key = |funnel: &FunnelId| DedupKey::Event {
                funnel: funnel.clone(),
                visitor: visitor.clone(),
                name: name.as_str().into(),
                event_id: id.as_str().into(),
            };
            events(&readings, &wanted.funnels, id, Some(name), key).await?
        }
        Subject::Event { id, by: None } => {
            let mut found = match of_order(id, &wanted.funnels) {
                Some((funnel, order)) => orders(&readings, &[funnel], &order, wanted.kind).await?,
                None => Vec::new(),
            };
            if found.is_empty() {
                found = events(&readings, &wanted.funnels, id, None, |funnel| DedupKey::Hook(funnel.clone(), id.as_str().into())).await?;
            }
            if found.is_empty() {
                found = sales(&readings, &wanted.funnels, id).await?;
            }
            if found.is_empty() {
                found = walk::walk(&desk.parts.storage, &wanted.funnels, id, NAMED_MAX).await?;
            }
            found
        }
    };
    if found.len() > 1 {
        return Err(several(&found));
    }
    let mut found = found.pop().ok_or_else(|| none(&wanted.subject))?;
    if found.seen.is_none() {
        found.seen = readings.seen(&found.key).await?;
    }
    if found.fact.is_none() {
        found.fact = fact(&readings, &found).await?;
    }
    Ok(found)
}

/// Funnel and order of an event id of that form.
fn of_order(event_id: &str, funnels: &[FunnelId]) -> Option<(FunnelId, OrderId)> {
    let (funnel, order) = event_id.split_once(':')?;
    let funnel = funnels.iter().find(|known| known.as_str() == funnel)?;
    Some((funnel.clone(), OrderId::parse(order).ok()??))
}

/// An order in each funnel that has it; of both kinds the purchase, unless another was asked for.
async fn orders(readings: &Readings, funnels: &[FunnelId], order: &OrderId, kind: Option<SaleKind>) -> Result<Vec<Found>, ReadError> {
    let look = |funnel: FunnelId| async move {
        let purchase = readings.seen(&DedupKey::Purchase(funnel.clone(), order.clone()).to_string()).await?;
        let lead = readings.seen(&DedupKey::Lead(funnel.clone(), order.clone()).to_string()).await?;
        Ok::<_, ReadError>((funnel, purchase, lead))
    };
    let looked = stream::iter(funnels.to_vec()).map(look).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let found = looked.into_iter().filter_map(|(funnel, purchase, lead)| {
        let is_both = purchase.is_some() && lead.is_some();
        let (kind, seen) = match (kind, purchase, lead) {
            (None | Some(SaleKind::Purchase), Some(seen), _) => (SaleKind::Purchase, seen),
            (None | Some(SaleKind::Lead), _, Some(seen)) => (SaleKind::Lead, seen),
            _ => return None,
        };
        let (key, name, other) = match kind {
            SaleKind::Purchase => (DedupKey::Purchase(funnel.clone(), order.clone()), "Purchase", SaleKind::Lead),
            SaleKind::Lead => (DedupKey::Lead(funnel.clone(), order.clone()), "Lead", SaleKind::Purchase),
        };
        Some(Found {
            key: key.to_string(),
            order: Some(order.clone()),
            event_id: order_event_id(&funnel, order),
            name: Some(name.to_owned()),
            seen: Some(seen),
            fact: None,
            also: is_both.then_some(other),
            funnel,
        })
    });
    Ok(found.collect())
}

/// An event in each funnel in which `seen` has it under that key.
async fn events(
    readings: &Readings,
    funnels: &[FunnelId],
    event_id: &str,
    name: Option<&String>,
    key: impl Fn(&FunnelId) -> DedupKey,
) -> Result<Vec<Found>, ReadError> {
    let asked: Vec<(FunnelId, String)> = funnels.iter().map(|funnel| (funnel.clone(), key(funnel).to_string())).collect();
    let look = |(funnel, key): (FunnelId, String)| async move {
        let seen = readings.seen(&key).await?;
        Ok::<_, ReadError>((funnel, key, seen))
    };
    let looked = stream::iter(asked).map(look).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let found = looked.into_iter().filter_map(|(funnel, key, seen)| {
        seen.map(|seen| Found {
            funnel,
            key,
            order: None,
            event_id: event_id.to_owned(),
            name: name.cloned(),
            seen: Some(seen),
            fact: None,
            also: None,
        })
    });
    Ok(found.collect())
}

/// A purchase or lead without order, in each funnel that has one: the fact names the visitor, and so the key.
async fn sales(readings: &Readings, funnels: &[FunnelId], event_id: &str) -> Result<Vec<Found>, ReadError> {
    let look = |funnel: FunnelId| async move {
        let purchase = readings.purchase(&funnel, event_id).await?.filter(|fact| fact.order_id.is_none());
        let lead = readings.lead(&funnel, event_id).await?.filter(|fact| fact.order_id.is_none());
        let purchase = purchase.map(|fact| Fact::Purchase(Box::new(fact)));
        let lead = lead.map(|fact| Fact::Lead(Box::new(fact)));
        Ok::<_, ReadError>(purchase.into_iter().chain(lead).map(|fact| of_fact(funnel.clone(), event_id, fact)).collect::<Vec<_>>())
    };
    let looked = stream::iter(funnels.to_vec()).map(look).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
    Ok(looked.into_iter().flatten().collect())
}

fn of_fact(funnel: FunnelId, event_id: &str, fact: Fact) -> Found {
    let (visitor, name) = match &fact {
        Fact::Purchase(fact) => (fact.visitor_id.clone(), "Purchase"),
        Fact::Lead(fact) => (fact.visitor_id.clone(), "Lead"),
    };
    let key = match visitor {
        Some(visitor) => DedupKey::Event { funnel: funnel.clone(), visitor, name: name.into(), event_id: event_id.into() },
        None => DedupKey::Hook(funnel.clone(), event_id.into()),
    };
    Found {
        funnel,
        key: key.to_string(),
        order: None,
        event_id: event_id.to_owned(),
        name: Some(name.to_owned()),
        seen: None,
        fact: Some(fact),
        also: None,
    }
}

/// What was concluded, if it is a purchase or lead. The key of an order tells which; a webhook without order may be either.
async fn fact(readings: &Readings, found: &Found) -> Result<Option<Fact>, ReadError> {
    let id = found.order.as_ref().map_or(found.event_id.as_str(), OrderId::as_str);
    let is_same = |order: Option<&OrderId>| order == found.order.as_ref();
    let may_be = |name: &str| found.name.as_deref().is_none_or(|known| known == name);
    if may_be("Purchase")
        && let Some(fact) = readings.purchase(&found.funnel, id).await?.filter(|fact| is_same(fact.order_id.as_ref()))
    {
        return Ok(Some(Fact::Purchase(Box::new(fact))));
    }
    if may_be("Lead")
        && let Some(fact) = readings.lead(&found.funnel, id).await?.filter(|fact| is_same(fact.order_id.as_ref()))
    {
        return Ok(Some(Fact::Lead(Box::new(fact))));
    }
    Ok(None)
}

fn none(subject: &Subject) -> Refused {
    let message = match subject {
        Subject::Order(_) => {
            "no such order is known here: it never reached us, or in another funnel or kind; one that was just sent is known as soon as its raw \
             record was judged"
        }
        Subject::Event { .. } => {
            "no such event is known here: it never reached us, or its traces are older than 90 days; one that no pixel was to hear of is found \
             with visitor_id and name"
        }
    };
    Refused::whole(axum::http::StatusCode::NOT_FOUND, "receipt_not_found", message)
}

/// Several are meant: they are named, and what must be told to choose one.
fn several(found: &[Found]) -> Refused {
    let is_one_funnel = found.iter().all(|other| other.funnel == found[0].funnel);
    let mut named: Vec<String> =
        found.iter().map(|found| if is_one_funnel { found.key.clone() } else { found.funnel.to_string() }).collect();
    named.dedup();
    let more = if named.len() > NAMED_MAX { format!(" and {} more", named.len() - NAMED_MAX) } else { String::new() };
    named.truncate(NAMED_MAX);
    let (what, ask) = if is_one_funnel {
        ("events have this id", "name visitor_id and name, which stand in these keys before the id")
    } else {
        ("funnels have it", "name one as funnel_id")
    };
    let message = format!("several {what}: {}{more}; {ask}", named.join(", "));
    let field = if is_one_funnel { "visitor_id" } else { "funnel_id" };
    Refused::conflict("several_found", field, on_one_line(&message))
}

/// The leg by which the first telling came, if `seen` no longer says it.
pub(super) fn leg_of_key(key: &str) -> Option<LegName> {
    match key.split('|').nth(1) {
        Some("event") => Some(LegName::Browser),
        Some("hook") => Some(LegName::Server),
        _ => None,
    }
}
