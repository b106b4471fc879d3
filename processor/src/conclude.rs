//! The conclusions, pure: from a ruling and what stands around the record to the list of effects.

use std::borrow::Cow;

use bytes::Bytes;
use schemas::{
    dead::{Dead, DeadReason},
    dispatch::{Dispatch, Withheld},
    envelope::{Kind, VERSION},
    fact::{Context, Event, Lead, LegName, Purchase, amount_json},
    id::PixelId,
    key::DedupKey,
    meta::{self, ActionSource, Conversion, Frozen},
    money::Money,
    order::OrderId,
    person::{self, Digest, Person},
    raw::{Consent, Raw},
    row::{Leg, LegContext, Seen},
    session::IDENTIFY,
    time::{SECOND_US, Time},
    verdict::{Answer, Verdict},
};
use serde_json::value::RawValue;

use crate::{
    action::Action,
    decide::{Ruling, other},
    reading::{Content, Reading, Subject},
    surroundings::Surroundings,
};

/// All effects of a record that was read and ruled on. `around` is there for a record that is new or joins.
pub fn conclude(reading: &Reading<'_>, ruling: Ruling, seen: &Seen, around: Surroundings, source_key: &Bytes) -> Vec<Action> {
    let mut actions = Vec::with_capacity(6);
    match &ruling.verdict {
        Verdict::First { .. } => new_leg(reading, None, around, &mut actions),
        Verdict::Joined { .. } => new_leg(reading, seen.leg(other(reading.telling.leg)), around, &mut actions),
        Verdict::Conflict { .. } => actions.push(Action::Park {
            key: source_key.clone(),
            dead: Box::new(dead(reading, DeadReason::Conflict { differences: ruling.differences })),
        }),
        Verdict::Repeat | Verdict::Refused(_) => {}
    }
    if let Some(to) = reading.raw.reply_to {
        let raw_partition = reading.telling.position.partition;
        actions.push(Action::Answer { to, answer: Answer { raw_id: reading.raw.id, raw_partition, verdict: ruling.verdict } });
    }
    actions
}

fn dead(reading: &Reading<'_>, reason: DeadReason) -> Dead {
    Dead {
        id: reading.raw.id,
        version: VERSION,
        funnel_id: Some(reading.raw.funnel_id.clone()),
        received_at: reading.raw.received_at,
        position: reading.telling.position,
        reason,
    }
}

/// The first record of its leg: it is remembered, concluded, and dispatched unless the other leg already was.
fn new_leg(reading: &Reading<'_>, joined: Option<&Leg>, around: Surroundings, actions: &mut Vec<Action>) {
    // Whoever refused on the page refused for the order, also where the backend's leg cannot know the browser by the e-mail.
    let joined_consent = joined.and_then(|leg| leg.context.as_deref()).and_then(|context| context.consent);
    let withheld = refuses(around.consent) || refuses(joined_consent);
    let cell = cell(reading, leg_context(reading, &around));
    let sides = Sides::of(reading.telling.leg, &cell, joined);

    match reading.subject {
        Subject::Purchase => actions.push(Action::RecordPurchase(Box::new(purchase(reading, &sides)))),
        Subject::Lead => actions.push(Action::RecordLead(Box::new(lead(reading, &sides)))),
        Subject::Track | Subject::Identify => {}
    }
    if joined.is_none() {
        actions.push(Action::RecordEvent(Box::new(event(reading, &around))));
    }
    let is_revision = joined.is_some() && reading.subject == Subject::Purchase && reading.telling.leg == LegName::Server;
    match joined {
        None if reading.is_dispatched => {
            dispatch(reading, &sides, &reading.raw.pixels, 1, &around.context, withheld, actions);
        }
        // The same delivery told better: for exactly the pixels of the browser leg, under its context.
        Some(browser) if is_revision => dispatch(reading, &sides, &browser.pixels, 2, &around.context, withheld, actions),
        _ => {}
    }
    actions.extend(around.visitor.map(Action::KnowVisitor));
    actions.extend(around.person_row.map(Action::KnowPerson));
    actions.extend(around.new_key.map(Action::KeepKey));
    let cell = if reading.telling.key.is_order() { cell } else { Leg { context: None, pixels: Vec::new(), ..cell } };
    actions.push(Action::Remember { key: reading.key.clone(), leg: reading.telling.leg, cell: Box::new(cell) });
}

/// Whether somebody has not agreed to be measured.
fn refuses(consent: Option<Consent>) -> bool {
    matches!(consent, Some(Consent::Denied | Consent::Pending))
}

fn leg_context(reading: &Reading<'_>, around: &Surroundings) -> LegContext {
    let (product_name, properties, metadata) = match &reading.content {
        Content::Webhook(hook) => (hook.product_name.as_deref().map(str::to_owned), None, hook.metadata.map(ToOwned::to_owned)),
        Content::Event(event) => (None, event.props.map(ToOwned::to_owned), None),
    };
    let test_event_code = match &reading.content {
        Content::Event(event) => event.test_event_code.as_deref().map(str::to_owned),
        Content::Webhook(_) => None,
    };
    LegContext {
        occurred_at: reading.occurred_at,
        person: around.person.clone(),
        visitor_id: reading.raw.visitor_id.clone(),
        client: match reading.telling.leg {
            LegName::Browser => around.context.clone(),
            LegName::Server => reading.context.clone(), // what is borrowed is no part of what the backend told
        },
        consent: around.consent.filter(|consent| reading.telling.leg == LegName::Browser && refuses(Some(*consent))),
        test_event_code,
        product_name,
        properties,
        metadata,
    }
}

fn cell(reading: &Reading<'_>, context: LegContext) -> Leg {
    let telling = &reading.telling;
    Leg {
        position: telling.position,
        raw_id: telling.raw_id,
        received_at: telling.received_at,
        amount_minor: telling.money.map(|money| money.minor),
        currency: telling.money.map(|money| money.currency),
        email: telling.email,
        body: telling.body,
        pixels: reading.raw.pixels.clone(),
        context: Some(Box::new(context)),
    }
}

/// Both legs of one order, as far as known: everything a fact says is computed from them.
struct Sides<'a> {
    browser: Option<&'a Leg>,
    server: Option<&'a Leg>,
    /// The one of them that came first, if there are two.
    joined: Option<&'a Leg>,
}

impl<'a> Sides<'a> {
    fn of(leg: LegName, own: &'a Leg, joined: Option<&'a Leg>) -> Self {
        match leg {
            LegName::Browser => Self { browser: Some(own), server: joined, joined },
            LegName::Server => Self { browser: joined, server: Some(own), joined },
        }
    }

    /// The server leg first: what an authenticated backend says wins.
    fn contexts(&self) -> impl Iterator<Item = &'a LegContext> {
        [self.server, self.browser].into_iter().flatten().filter_map(|leg| leg.context.as_deref())
    }

    fn first<T>(&self, of: impl Fn(&'a LegContext) -> Option<T>) -> Option<T> {
        self.contexts().find_map(of)
    }

    fn money(&self) -> Option<Money> {
        self.server.and_then(Leg::money).or_else(|| self.browser.and_then(Leg::money))
    }

    fn person(&self) -> Person {
        let mut contexts = self.contexts();
        let Some(first) = contexts.next() else { return Person::default() };
        contexts.fold(first.person.clone(), |person, context| {
            let sealed = person.sealed.clone().or_else(|| context.person.sealed.clone());
            Person { sealed, ..person.or(&context.person) }
        })
    }

    /// Where it happened: where the browser leg was, else what a backend may borrow. The backend's own word on data use wins.
    fn context<'b>(&self, borrowed: &'b Context) -> Cow<'b, Context>
    where
        'a: 'b,
    {
        let client = |leg: Option<&'a Leg>| leg.and_then(|leg| leg.context.as_deref()).map(|context| &*context.client);
        let place = client(self.browser).unwrap_or(borrowed);
        match client(self.server).and_then(|server| server.data_use) {
            Some(told) if place.data_use != Some(told) => Cow::Owned(Context { data_use: Some(told), ..place.clone() }),
            _ => Cow::Borrowed(place),
        }
    }

    /// When it happened by the leg that knows best: the browser was there.
    fn occurred_at(&self, or: Time) -> Time {
        self.browser.and_then(|leg| leg.context.as_deref()).map_or(or, |context| context.occurred_at)
    }

    fn legs(&self) -> Vec<LegName> {
        let mut legs = Vec::with_capacity(2);
        legs.extend(self.browser.map(|_| LegName::Browser));
        legs.extend(self.server.map(|_| LegName::Server));
        legs
    }

    fn properties(&self) -> Option<&'a RawValue> {
        self.first(|context| context.properties.as_deref())
    }

    /// The backend's name of the product, or the page's.
    fn product_name(&self) -> Option<String> {
        self.first(|context| context.product_name.clone()).or_else(|| {
            let properties = schemas::json::Fields::parse(self.properties()?.get()).ok()?;
            schemas::json::string(properties.get("content_name")?).map(Cow::into_owned)
        })
    }
}

fn order_id(key: &DedupKey) -> Option<OrderId> {
    match key {
        DedupKey::Purchase(_, order) | DedupKey::Lead(_, order) => Some(order.clone()),
        DedupKey::Event { .. } | DedupKey::Hook(..) => None,
    }
}

macro_rules! sale {
    ($name:ident, $kind:expr, $doc:literal, $fn:ident) => {
        #[doc = $doc]
        fn $fn(reading: &Reading<'_>, sides: &Sides<'_>) -> $name {
            let money = sides.money();
            let legs = sides.legs();
            $name {
                id: reading.raw.id,
                kind: $kind,
                version: VERSION,
                funnel_id: reading.raw.funnel_id.clone(),
                workspace_id: reading.raw.workspace_id.clone(),
                occurred_at: sides.occurred_at(reading.occurred_at),
                received_at: reading.raw.received_at,
                position: reading.telling.position,
                revision: legs.len() as u32,
                first_received_at: sides.joined.map(|first| first.received_at),
                order_id: order_id(&reading.telling.key),
                event_id: reading.raw.event_id.to_string(),
                amount: money.map(amount_json),
                amount_minor: money.map(|money| money.minor),
                currency: money.map_or(reading.raw.currency, |money| money.currency),
                legs,
                visitor_id: sides.first(|context| context.visitor_id.clone()),
                person: sides.person(),
                product_name: sides.product_name(),
                properties: sides.properties().map(ToOwned::to_owned),
                metadata: sides.first(|context| context.metadata.clone()),
            }
        }
    };
}
sale!(Purchase, Kind::Purchase, "The purchase as its legs tell it.", purchase);
sale!(Lead, Kind::Lead, "The lead as its legs tell it.", lead);

fn event(reading: &Reading<'_>, around: &Surroundings) -> Event {
    // The traits of an identify are personal: they stand in `person`, hashed and sealed, and not in clear properties.
    let properties = match &reading.content {
        Content::Event(event) if reading.subject != Subject::Identify => event.props.map(ToOwned::to_owned),
        Content::Event(_) | Content::Webhook(_) => None,
    };
    let (bot, debug) = match &reading.content {
        Content::Event(event) => (event.is_bot(reading.raw.user_agent.as_deref()), event.is_debug),
        Content::Webhook(_) => (false, false),
    };
    Event {
        id: reading.raw.id,
        kind: Kind::Event,
        version: VERSION,
        funnel_id: reading.raw.funnel_id.clone(),
        workspace_id: reading.raw.workspace_id.clone(),
        occurred_at: reading.occurred_at,
        received_at: reading.raw.received_at,
        position: reading.telling.position,
        name: name(reading).to_owned(),
        event_id: reading.raw.event_id.to_string(),
        leg: reading.telling.leg,
        visitor_id: reading.raw.visitor_id.clone(),
        order_id: order_id(&reading.telling.key),
        person: around.person.clone(),
        bot,
        debug,
        url: reading.context.url.clone(),
        properties,
    }
}

fn name<'a>(reading: &'a Reading<'_>) -> &'a str {
    match (&reading.content, reading.subject) {
        (Content::Webhook(hook), _) => hook.event.meta_name(),
        (Content::Event(_), Subject::Identify) => IDENTIFY,
        (Content::Event(event), _) => &event.name,
    }
}

fn dispatch(
    reading: &Reading<'_>,
    sides: &Sides<'_>,
    pixels: &[PixelId],
    revision: u32,
    borrowed: &Context,
    withheld: bool,
    actions: &mut Vec<Action>,
) {
    if pixels.is_empty() {
        return;
    }
    let occurred_at = sides.occurred_at(reading.occurred_at);
    let not_before = not_before(&reading.raw);
    let frozen = if withheld {
        Frozen { payload: None, withheld: Some(Withheld::NoConsent), fact: None }
    } else {
        freeze(reading, sides, &sides.context(borrowed), occurred_at)
    };
    for pixel_id in pixels {
        actions.push(Action::Dispatch(Box::new(Dispatch {
            id: reading.raw.id,
            kind: Kind::Dispatch,
            version: VERSION,
            funnel_id: reading.raw.funnel_id.clone(),
            workspace_id: reading.raw.workspace_id.clone(),
            occurred_at,
            received_at: reading.raw.received_at,
            position: reading.telling.position,
            pixel_id: pixel_id.clone(),
            event_name: name(reading).to_owned(),
            event_id: reading.raw.event_id.to_string(),
            dedup_key: reading.key.clone(),
            revision,
            not_before,
            payload: frozen.payload.clone(),
            withheld: frozen.withheld.clone(),
            test_event_code: sides.first(|context| context.test_event_code.clone()),
            fact: frozen.fact.clone(),
            replay: None,
        })));
    }
}

/// A browser purchase waits for its server leg, which tells it better: the door stamped how long. The server leg itself has no such stamp.
fn not_before(raw: &Raw<'_>) -> Option<Time> {
    let wait_us = i64::from(raw.server_leg_wait_s) * SECOND_US;
    (wait_us > 0).then(|| raw.received_at.plus_micros(wait_us))
}

fn freeze(reading: &Reading<'_>, sides: &Sides<'_>, context: &Context, occurred_at: Time) -> Frozen {
    let person = sides.person();
    let visitor = sides.first(|context| context.visitor_id.as_ref()).or(context.visitor_id.as_ref());
    let visitor = visitor.and_then(|visitor| person::external_id(visitor.as_str())).map(|text| Digest::of(&text));
    // Another event than a purchase or lead is told by its properties alone, which Meta's event is rendered from as they are.
    let (money, product_name) = match &reading.content {
        Content::Event(event) if reading.subject == Subject::Track => (event.money(reading.raw.currency), None),
        Content::Event(_) | Content::Webhook(_) => (sides.money(), sides.product_name()),
    };
    let order = order_id(&reading.telling.key);
    let conversion = Conversion {
        name: name(reading),
        event_id: &reading.raw.event_id,
        event_time: occurred_at,
        action_source: ActionSource::honest(reading.telling.leg, context),
        person: &person,
        external_ids: visitor.as_slice(),
        context,
        money,
        order_id: order.as_ref(),
        product_name: product_name.as_deref(),
        properties: sides.properties().map(RawValue::get),
    };
    meta::freeze(&conversion, reading.telling.leg)
}
