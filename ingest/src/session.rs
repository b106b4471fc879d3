//! `POST /v1/session`: a batch of the script. Its good events become raw records in one append; a bad one harms no neighbour.

use std::borrow::Cow;

use axum::http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
    },
};
use http_body_util::Full;
use schemas::{
    directory::FunnelEntry,
    envelope::VERSION,
    json::{self, Fields},
    key::DedupKey,
    raw::{Consent, Raw, RawKind},
    session::{BODY_BYTES_MAX, Batch, Event, EventKind},
    time::Time,
    verdict::Refusal,
};
use serde::Serialize;
use serde_json::value::RawValue;
use storage::Append;
use uuid::Uuid;

use crate::{
    Door, Reply, answer, append,
    body::Body,
    call::Call,
    content::{self, Takes},
    metrics::Kind,
    refuse::Refused,
};

mod renew;

const SEC_GPC: HeaderName = HeaderName::from_static("sec-gpc");

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<Told<'a>>,
}

/// What became of one event.
#[derive(Serialize)]
struct Told<'a> {
    event_id: Cow<'a, str>,
    status: &'static str,
    warnings: Vec<Cow<'static, str>>,
}

/// What the events of one batch share.
struct Sender<'a> {
    funnel: &'a FunnelEntry,
    received_at: Time,
    client_ip: String,
    user_agent: Option<Cow<'a, str>>,
    consent: Option<Consent>,
    sent_at: Option<i64>,
}

pub(crate) async fn answer(door: &Door, call: &Call, body: &mut Body) -> Result<Reply, Refused> {
    match *call.method() {
        Method::POST => {}
        Method::OPTIONS => return Ok(preflight()),
        _ => return Err(Refused::Method { allow: "POST, OPTIONS" }),
    }
    let bytes = body.read(BODY_BYTES_MAX, door.config.body_timeout()).await?;
    content::check(call.headers(), Takes::JsonAsText)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Refused::NotUtf8)?;
    let batch = Batch::parse(text)?;
    let funnel = door.directory.load().funnel(&batch.fid).cloned().ok_or(Refused::NoFunnel { field: Some("fid") })?;
    if !funnel.funnel.site.allows(call.origin()) {
        return Err(Refused::Origin);
    }
    let client_ip = call.client_ip(&door.config.trusted_proxies);
    door.limits.admit(&funnel.funnel.id, || client_ip)?;
    let sender = Sender {
        funnel: &funnel,
        received_at: door.world.now(),
        client_ip: client_ip.to_string(),
        user_agent: call.user_agent(),
        consent: consent(&batch, call.headers().get(SEC_GPC).is_some_and(|gpc| gpc == "1")),
        sent_at: batch.sent_at.filter(|at| at.is_finite()).map(|at| at as i64),
    };
    let mut reply = take(door, call, &batch, &sender).await?;
    renew::cookies(&funnel.funnel.site, &door.base(call), call, &batch, sender.consent, &mut reply);
    Ok(reply)
}

async fn take(door: &Door, call: &Call, batch: &Batch<'_>, sender: &Sender<'_>) -> Result<Reply, Refused> {
    let mut results = Vec::with_capacity(batch.events.len());
    let mut records: Vec<Append> = Vec::with_capacity(batch.events.len());
    let mut kinds = Vec::with_capacity(batch.events.len());
    let (mut unpaired, mut bots) = (0, 0);
    for json in &batch.events {
        match Event::parse(json.get(), &sender.funnel.funnel.id) {
            Ok(event) => {
                let id = if records.is_empty() { call.id() } else { door.world.new_id() };
                records.push(record(batch, sender, &event, json, id));
                kinds.push(if event.kind == EventKind::Identify { Kind::Identify } else { Kind::Track });
                unpaired += u64::from(event.is_unpaired_purchase());
                bots += u64::from(event.is_bot(sender.user_agent.as_deref()));
                let warnings = event.warnings.iter().copied().chain(event.remarks()).map(Cow::Borrowed).collect();
                results.push(Told { event_id: event.event_id, status: "ok", warnings });
            }
            Err(refusal) => {
                door.metrics.invalid(Kind::Unread);
                results.push(invalid(json.get(), &refusal));
            }
        }
    }
    if !records.is_empty() {
        let stored = append::durably(door, records).await;
        for kind in kinds {
            if stored.is_ok() { door.metrics.stored(kind) } else { door.metrics.unavailable(kind) }
        }
        stored?;
        door.metrics.unpaired.inc_by(unpaired);
        door.metrics.bots.inc_by(bots);
    }
    Ok(answer::json(StatusCode::OK, &Results { results }))
}

fn record(batch: &Batch<'_>, sender: &Sender<'_>, event: &Event<'_>, json: &RawValue, id: Uuid) -> Append {
    let Sender { funnel: FunnelEntry { funnel, pixels, .. }, received_at, .. } = *sender;
    let key = event.dedup_key(&funnel.id);
    let raw = Raw {
        id,
        kind: match event.kind {
            EventKind::Identify => RawKind::Identify,
            EventKind::Track => RawKind::Track,
        },
        version: VERSION,
        funnel_id: funnel.id.clone(),
        workspace_id: funnel.workspace_id.clone(),
        received_at,
        event_id: Cow::Borrowed(&event.event_id),
        visitor_id: Some(event.visitor_id.clone()),
        pixels: pixels.clone(),
        currency: funnel.currency,
        server_leg_wait_s: if matches!(key, DedupKey::Purchase(..)) { funnel.server_leg_wait_s } else { 0 },
        client_ip: Some(Cow::Borrowed(&sender.client_ip)),
        user_agent: sender.user_agent.as_deref().map(Cow::Borrowed),
        reply_to: None,
        idempotent: false,
        sent_at: sender.sent_at,
        page: batch.page,
        ids: batch.ids,
        consent: sender.consent,
        person: batch.person,
        attribution: batch.attribution,
        body: json,
    };
    append::record(&raw, &key)
}

/// The browser's own signal withdraws a consent that nobody gave explicitly.
fn consent(batch: &Batch<'_>, privacy_signal: bool) -> Option<Consent> {
    match batch.consent {
        Some(Consent::Granted) => Some(Consent::Granted),
        _ if privacy_signal => Some(Consent::Denied),
        given => given,
    }
}

fn invalid<'a>(json: &'a str, refusal: &Refusal) -> Told<'a> {
    let given = Fields::parse(json).ok().and_then(|fields| fields.get("event_id").and_then(json::string));
    let why = format!("{}: {}", refusal.code, refusal.message);
    Told { event_id: given.unwrap_or_default(), status: "invalid", warnings: vec![why.into()] }
}

fn preflight() -> Reply {
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    reply
}

/// Lets the page's script read any answer of this route, and when to come again. With credentials too: a door on a host of the site's own
/// is sent cookies so that it may renew them, an answer that the page cannot read would look like none, and no cookie gives anybody any
/// right here.
pub(crate) fn share(call: &Call, reply: &mut Reply) {
    let shown = reply.status() != StatusCode::OK;
    let headers = reply.headers_mut();
    if let Some(origin) = call.headers().get(ORIGIN) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(VARY, HeaderValue::from_static("origin"));
    } else {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if shown {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after, x-request-id"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_privacy_signal_yields_only_to_an_explicit_consent() {
        for (given, signal, recorded) in [
            ("", false, None),
            (r#""consent":"granted","#, false, Some(Consent::Granted)),
            (r#""consent":"granted","#, true, Some(Consent::Granted)),
            (r#""consent":"pending","#, true, Some(Consent::Denied)),
            (r#""consent":"denied","#, false, Some(Consent::Denied)),
            ("", true, Some(Consent::Denied)),
        ] {
            let body = format!(r#"{{{given}"fid":"fn_1","events":[]}}"#);
            assert_eq!(consent(&Batch::parse(&body).expect("a batch"), signal), recorded, "{given} {signal}");
        }
    }

    #[test]
    fn results_are_the_documented_bytes() {
        let refusal = Refusal::of("invalid_type", "type", "type must be one");
        let results = vec![
            Told { event_id: "e1".into(), status: "ok", warnings: Vec::new() },
            invalid(r#"{"event_id":"e2"}"#, &refusal),
            invalid("7", &refusal),
        ];
        assert_eq!(
            serde_json::to_string(&Results { results }).expect("plain data"),
            concat!(
                r#"{"results":[{"event_id":"e1","status":"ok","warnings":[]},"#,
                r#"{"event_id":"e2","status":"invalid","warnings":["invalid_type: type must be one"]},"#,
                r#"{"event_id":"","status":"invalid","warnings":["invalid_type: type must be one"]}]}"#
            )
        );
    }
}
