//! What an event carries to Meta beside its amount, and what is known of the person: whose browser, which marks and fields, what consent.

use schemas::{
    dispatch::{Dispatch, Withheld},
    fact::{Context, LegName},
    id::VisitorId,
    person::Person,
    raw::Consent,
    receipt::{Carried, ContextOf, Enrichment, PSEUDONYMS},
};
use storage::{ReadError, Readings, Storage};

use super::{
    compose::{Looked, Way, received_at},
    find::{Fact, Found, leg_of_key},
    frozen::{self, Among, Payload},
};

/// What enriched an event; `None` if nothing of it is kept.
pub(super) async fn enrichment(
    storage: &Storage,
    found: &Found,
    ways: &[Way<'_>],
    looked: &[Looked],
) -> Result<Option<Enrichment>, ReadError> {
    let frozen = frozen_dispatch(storage, ways, looked, found).await?;
    let payload = frozen.as_ref().and_then(Payload::of);
    let ended_without =
        |looked: &Looked| looked.row.as_ref().and_then(|row| row.reason.as_ref()).is_some_and(|reason| reason.code == "no_consent");
    let is_withheld =
        frozen.as_ref().is_some_and(|dispatch| dispatch.withheld == Some(Withheld::NoConsent)) || looked.iter().any(ended_without);
    let first = ways.first().map(|(name, _)| *name).or_else(|| leg_of_key(&found.key));
    let own = ways.first().filter(|(name, _)| *name == LegName::Browser).and_then(|(_, leg)| leg.context.as_deref());
    let (context, carried) = match (first, own, &payload) {
        (Some(LegName::Browser), Some(own), _) => (ContextOf::BrowserLeg, Some(present(&own.client))),
        (Some(LegName::Browser), None, Some(payload)) => (ContextOf::BrowserLeg, Some(payload.carried)),
        (_, _, Some(payload)) if payload.carried == Carried::default() => (ContextOf::Nobody, Some(payload.carried)),
        (_, _, Some(payload)) => (ContextOf::Borrowed, Some(payload.carried)),
        (_, _, None) if looked.is_empty() => (ContextOf::Nobody, None),
        (_, _, None) => (ContextOf::NotKept, None),
    };
    let person = person(found, ways);
    let mut names = person.as_ref().map(known).unwrap_or_default();
    if person.is_none()
        && let Some(payload) = &payload
    {
        names.clone_from(&payload.person);
    }
    let sealed = ways.iter().filter_map(|(_, leg)| leg.context.as_deref()?.person.sealed.as_ref().map(|sealed| sealed.key_id));
    let mut sealed_under: Vec<_> = sealed.chain(person.and_then(|person| person.sealed).map(|sealed| sealed.key_id)).collect();
    sealed_under.sort_unstable();
    sealed_under.dedup();
    let consent = consent(&storage.readings(), found, ways).await?;
    let is_nothing = carried.is_none() && names.is_empty() && consent.is_none() && !is_withheld && ways.is_empty();
    Ok((!is_nothing).then(|| Enrichment {
        context,
        carried,
        action_source: payload.and_then(|payload| payload.action_source),
        consent,
        is_withheld,
        note: (!names.is_empty()).then(|| PSEUDONYMS.to_owned()),
        person: names,
        sealed_under,
    }))
}

fn present(context: &Context) -> Carried {
    Carried {
        fbp: context.fbp.is_some(),
        fbc: context.fbc.is_some(),
        client_ip: context.client_ip.is_some(),
        user_agent: context.user_agent.is_some(),
        page: context.url.is_some(),
    }
}

/// The person as the fact has it; without a fact, as the legs tell it.
fn person(found: &Found, ways: &[Way<'_>]) -> Option<Person> {
    match &found.fact {
        Some(Fact::Purchase(fact)) => Some(fact.person.clone()),
        Some(Fact::Lead(fact)) => Some(fact.person.clone()),
        None => ways.iter().find_map(|(_, leg)| leg.context.as_ref().map(|context| context.person.clone())),
    }
}

/// The hashed fields that are there, by name.
fn known(person: &Person) -> Vec<String> {
    let fields = serde_json::to_value(person).unwrap_or_default();
    let names = fields.as_object().into_iter().flatten().filter_map(|(name, _)| name.strip_suffix("_sha256"));
    names.map(str::to_owned).collect()
}

/// Consent as it was told last, by the visitor or for the person.
async fn consent(readings: &Readings, found: &Found, ways: &[Way<'_>]) -> Result<Option<Consent>, ReadError> {
    let of_legs = ways.iter().find_map(|(_, leg)| leg.context.as_ref()?.visitor_id.clone());
    let of_key = || match found.key.splitn(4, '|').collect::<Vec<_>>()[..] {
        [_, "event", visitor, _] => VisitorId::parse(visitor).ok(),
        _ => None,
    };
    if let Some(visitor) = of_legs.or_else(of_key)
        && let Some(cell) = readings.visitor(&found.funnel, &visitor).await?.and_then(|visitor| visitor.consent)
    {
        return Ok(Some(cell.value));
    }
    let email = ways.iter().find_map(|(_, leg)| leg.email).or_else(|| person(found, ways)?.email_sha256);
    let Some(email) = email else { return Ok(None) };
    Ok(readings.person(&found.funnel, &email).await?.and_then(|row| row.consent).map(|cell| cell.value))
}

/// The dispatch that was sent or will be, where the legs themselves do not say what it carries: a backend's event borrows, and the row
/// of an event keeps no context.
async fn frozen_dispatch(storage: &Storage, ways: &[Way<'_>], looked: &[Looked], found: &Found) -> Result<Option<Dispatch>, ReadError> {
    if ways.first().is_some_and(|(name, leg)| *name == LegName::Browser && leg.context.is_some()) {
        return Ok(None);
    }
    let at_hand = looked.iter().find_map(|looked| looked.waiting.as_ref().map(|row| &row.dispatch).or(looked.unread.as_ref()));
    if let Some(dispatch) = at_hand {
        return Ok(Some(dispatch.clone()));
    }
    let (Some(looked), Some(received_at)) = (looked.first(), received_at(found)) else { return Ok(None) };
    let row = looked.row.as_ref();
    // It was written before it was first sent.
    let until = row.and_then(|row| row.attempt_log.first().map(|attempt| attempt.at).or(row.settled_at));
    let among = Among { offset: 0, from: received_at, until };
    frozen::find(storage, &looked.pixel, &found.key, row.map_or(1, |row| row.revision), among).await
}
