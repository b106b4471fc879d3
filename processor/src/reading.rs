//! A raw record read: its content by the same functions as the door, and what it tells the decision.

use std::sync::Arc;

use schemas::{
    envelope::VERSION,
    fact::{Context, LegName},
    person::{ClearPerson, Digest, Person},
    raw::{Raw, RawKind},
    session::{self, Event, EventKind},
    time::Time,
    verdict::Refusal,
    webhook::{Webhook, WebhookEvent},
};
use serde::Deserialize;
use storage::Stored;

use crate::{
    decide::Telling,
    filter::{self, KeyDigest},
};

/// The checked content of a raw record.
pub enum Content<'a> {
    /// A backend told.
    Webhook(Box<Webhook<'a>>),
    /// A browser told.
    Event(Event<'a>),
}

/// What a content is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A purchase.
    Purchase,
    /// A lead.
    Lead,
    /// Another tracked event.
    Track,
    /// Who a visitor is.
    Identify,
}

/// A raw record, read.
pub struct Reading<'a> {
    /// As it came.
    pub raw: Raw<'a>,
    /// Checked.
    pub content: Content<'a>,
    /// What it is about.
    pub subject: Subject,
    /// What the decision may look at.
    pub telling: Telling,
    /// The dedup key's text.
    pub key: String,
    /// The same as filters hold it.
    pub digest: KeyDigest,
    /// When it happened.
    pub occurred_at: Time,
    /// The person it told, in clear.
    pub clear: ClearPerson,
    /// The same in digests.
    pub person: Person,
    /// Where the browser was; on a webhook only how Meta may use what is told.
    pub context: Arc<Context>,
    /// Whether Meta is told of it.
    pub is_dispatched: bool,
}

/// Why a raw record cannot be read.
pub enum Unreadable<'a> {
    /// Written by a newer build: the partition must stop, so that a rolling upgrade loses nothing.
    Newer(u16),
    /// It will never be acceptable.
    Refused(Option<Box<Raw<'a>>>, Refusal),
}

/// Reads a record of the topic raw.
pub fn read(stored: &Stored) -> Result<Reading<'_>, Unreadable<'_>> {
    let raw = envelope(stored)?;
    let content = match content(&raw) {
        Ok(content) => content,
        Err(refusal) => return Err(Unreadable::Refused(Some(Box::new(raw)), refusal)),
    };
    let (subject, leg, key, money, clear, occurred_at) = match &content {
        Content::Webhook(hook) => {
            let subject = match hook.event {
                WebhookEvent::Purchase => Subject::Purchase,
                WebhookEvent::Lead => Subject::Lead,
            };
            let key = hook.dedup_key(&raw.funnel_id, &raw.event_id);
            (subject, LegName::Server, key, hook.money, hook.person.clone(), raw.received_at)
        }
        Content::Event(event) => {
            let (subject, money) = match (event.kind, &*event.name) {
                (EventKind::Identify, _) => (Subject::Identify, None),
                (EventKind::Track, "Purchase") => (Subject::Purchase, event.money(raw.currency)),
                (EventKind::Track, "Lead") => (Subject::Lead, event.money(raw.currency)),
                (EventKind::Track, _) => (Subject::Track, None),
            };
            let key = event.dedup_key(&raw.funnel_id);
            let at = session::occurred_at(raw.received_at, raw.sent_at.map(|ms| ms as f64), event.at);
            (subject, LegName::Browser, key, money, browser_person(&raw, event), at)
        }
    };
    let person = Person::hashed(&clear, None, raw.received_at);
    let (context, is_pixel_only) = match &content {
        Content::Event(event) => (session::context(&raw, event, occurred_at), event.is_pixel_only),
        Content::Webhook(hook) => (Context { data_use: hook.data_use, ..Context::default() }, false),
    };
    let context = Arc::new(context);
    // The other leg of an order tells its delivery better, so an order is dispatched whatever its page wishes.
    let is_dispatched = subject != Subject::Identify && (!is_pixel_only || key.is_order());
    let dispatches = if is_dispatched { raw.pixels.len() as u32 } else { 0 };
    let telling = Telling {
        leg,
        is_purchase: subject == Subject::Purchase,
        raw_id: raw.id,
        position: stored.position,
        received_at: raw.received_at,
        money,
        email: person.email_sha256,
        body: raw.idempotent.then(|| Digest::of(raw.body.get())),
        dispatches,
        key,
    };
    let key = telling.key.to_string();
    Ok(Reading { digest: filter::digest(&key), key, subject, telling, content, occurred_at, clear, person, context, is_dispatched, raw })
}

fn envelope(stored: &Stored) -> Result<Raw<'_>, Unreadable<'_>> {
    let refused = |message: String| Unreadable::Refused(None, Refusal::whole("refused_unreadable", message));
    let text = std::str::from_utf8(&stored.value).map_err(|_| refused("the record is not UTF-8".into()))?;
    match serde_json::from_str::<Raw<'_>>(text) {
        Ok(raw) if raw.version > VERSION => Err(Unreadable::Newer(raw.version)),
        Ok(raw) => Ok(raw),
        Err(error) => Err(match newer(text) {
            Some(version) => Unreadable::Newer(version),
            None => refused(format!("the record is not a raw event: {error}")),
        }),
    }
}

/// The version of a record whose shape this build does not know.
fn newer(text: &str) -> Option<u16> {
    #[derive(Deserialize)]
    struct Head {
        version: u16,
    }
    serde_json::from_str::<Head>(text).ok().map(|head| head.version).filter(|version| *version > VERSION)
}

fn content<'a>(raw: &Raw<'a>) -> Result<Content<'a>, Refusal> {
    let refused = |refusal: Refusal| Refusal { code: format!("refused_{}", refusal.code).into(), ..refusal };
    match raw.kind {
        RawKind::Webhook => Webhook::parse(raw.body.get(), raw.currency).map(|hook| Content::Webhook(Box::new(hook))).map_err(refused),
        RawKind::Track | RawKind::Identify => Event::parse(raw.body.get(), &raw.funnel_id).map(Content::Event).map_err(refused),
    }
}

/// What a page told of the person: what it knew, and on an identify what it has just learned.
fn browser_person(raw: &Raw<'_>, event: &Event<'_>) -> ClearPerson {
    let known = session::person(raw.person);
    match event.kind {
        EventKind::Track => known,
        EventKind::Identify => session::person(event.props).or(known),
    }
}
