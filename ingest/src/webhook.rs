//! `POST /v1/webhook/custom/{funnel_id}`: one purchase or lead of a backend, answered with the judge's verdict.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, Method, header::ORIGIN};
use schemas::{
    directory::FunnelEntry,
    envelope::VERSION,
    key::{self, DedupKey},
    raw::{Raw, RawKind},
    verdict::Refusal,
    webhook::{BODY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, Webhook},
};
use serde_json::value::RawValue;
use storage::{Durable, Waiter};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::{
    Door, Reply,
    admit::Presented,
    answer::{self, About},
    append,
    body::Body,
    call::Call,
    content::{self, Takes},
    metrics::Kind,
    refuse::Refused,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const KEY_IS_EXPOSED: &str =
    "this request came from a browser, where everybody can read the API key; call the webhook from a server and get a new key";

/// The checks, in their documented order; then the append; then the verdict.
pub(crate) async fn answer(door: &Door, call: &Call, funnel_id: &str, body: &mut Body) -> Result<Reply, Refused> {
    if call.method() != Method::POST {
        return Err(Refused::Method { allow: "POST" });
    }
    let presented = Presented::of(call.headers())?;
    let bytes = body.read(BODY_BYTES_MAX, door.config.body_timeout()).await?;
    let funnel = door.directory.load().funnel(funnel_id).cloned().ok_or(Refused::NoFunnel { field: None })?;
    presented.opens(&funnel, &door.keys)?;
    door.limits.admit(&funnel.funnel.id, || call.client_ip(&door.config.trusted_proxies))?;
    content::check(call.headers(), Takes::Json)?;
    let (idempotency_key, text, hook) = read(call.headers(), &bytes, &funnel).inspect_err(|_| door.metrics.invalid(Kind::Webhook))?;
    take(door, call, &funnel, idempotency_key, text, hook).await
}

type Read<'a> = (Option<&'a str>, &'a RawValue, Webhook<'a>);

/// Everything that is the caller's to get right.
fn read<'a>(headers: &'a HeaderMap, bytes: &'a [u8], funnel: &FunnelEntry) -> Result<Read<'a>, Refused> {
    let idempotency_key = idempotency_key(headers)?;
    let text = std::str::from_utf8(bytes).map_err(|_| Refused::NotUtf8)?;
    let mut hook = Webhook::parse(text, funnel.funnel.currency)?;
    if headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE) {
        hook.warnings.push(KEY_IS_EXPOSED.to_owned());
    }
    let carried = serde_json::from_str(text).map_err(|_| Refusal::whole("invalid_json", "the body is not valid JSON"))?;
    Ok((idempotency_key, carried, hook))
}

async fn take(
    door: &Door,
    call: &Call,
    funnel: &FunnelEntry,
    idempotency_key: Option<&str>,
    body: &RawValue,
    hook: Webhook<'_>,
) -> Result<Reply, Refused> {
    let event_id = event_id(&hook, funnel, idempotency_key, call.id());
    let raw = Raw {
        id: call.id(),
        kind: RawKind::Webhook,
        version: VERSION,
        funnel_id: funnel.funnel.id.clone(),
        workspace_id: funnel.funnel.workspace_id.clone(),
        received_at: door.world.now(),
        event_id: Cow::Borrowed(&event_id),
        visitor_id: None,
        pixels: funnel.pixels.clone(),
        currency: funnel.funnel.currency,
        server_leg_wait_s: 0, // it is the server leg
        client_ip: None,      // the caller is a server: its address and agent say nothing of the buyer
        user_agent: None,
        reply_to: Some(door.answers.partition()),
        idempotent: hook.order_id.is_none() && idempotency_key.is_some(),
        sent_at: None,
        page: None,
        ids: None,
        consent: None,
        person: None,
        attribution: None,
        body,
    };
    let key: DedupKey = hook.dedup_key(&funnel.funnel.id, &event_id);
    let waiter = door.answers.expect(raw.id); // before the append, so that no verdict is missed
    let stored = append::durably(door, vec![append::record(&raw, &key)]).await;
    let durable = stored.inspect_err(|_| door.metrics.unavailable(Kind::Webhook))?;
    door.metrics.stored(Kind::Webhook);
    let about = About { event: hook.event, order_id: hook.order_id.as_ref(), warnings: &hook.warnings };
    match durable {
        Durable::Log(positions) => judged(door, about, positions.first().map(|position| position.partition), waiter).await,
        Durable::Spool => Ok(answer::accepted(about, "spool")), // nobody judges it before the log is back
    }
}

/// Waits for the verdict; not at all where the partition's judge is known to be silent, so that nobody's connection is held for it.
async fn judged(door: &Door, about: About<'_>, raw_partition: Option<u32>, mut waiter: Waiter) -> Result<Reply, Refused> {
    let since = Instant::now();
    let is_silent = raw_partition.is_some_and(|partition| door.answers.is_silent(partition));
    let verdict =
        if is_silent { waiter.verdict_now() } else { timeout(door.config.verdict_timeout(), waiter.verdict()).await.ok().flatten() };
    if let Some(verdict) = verdict {
        door.metrics.verdict_came(since.elapsed());
        return answer::judged(about, verdict);
    }
    if let Some(partition) = raw_partition.filter(|_| !is_silent) {
        door.answers.waited_in_vain(partition);
    }
    door.metrics.verdict_missed();
    Ok(answer::accepted(about, "log"))
}

/// The order's id, or the one its `Idempotency-Key` gives, or a fresh one: the request's own.
fn event_id(hook: &Webhook<'_>, funnel: &FunnelEntry, idempotency_key: Option<&str>, fresh: Uuid) -> String {
    match (&hook.order_id, idempotency_key) {
        (Some(order), _) => key::order_event_id(&funnel.funnel.id, order),
        (None, Some(given)) => key::idempotent_event_id(&funnel.funnel.id, given),
        (None, None) => fresh.to_string(),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = std::str::from_utf8(value.as_bytes()).ok().map(str::trim);
    let fits = |key: &&str| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
    key.filter(fits).map(Some).ok_or_else(|| {
        let rule = format!("the header Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes of UTF-8");
        Refusal::whole("invalid_idempotency_key", rule).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_fits_or_is_refused() {
        let longest = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX);
        let longer = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1);
        for (given, key) in [
            (None, Ok(None)),
            (Some("k-1"), Ok(Some("k-1"))),
            (Some("\"quoted\""), Ok(Some("\"quoted\""))),
            (Some("ü"), Ok(Some("ü"))),
            (Some(longest.as_str()), Ok(Some(longest.as_str()))),
            (Some(longer.as_str()), Err(400)),
            (Some(""), Err(400)),
            (Some("  "), Err(400)),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(IDEMPOTENCY_KEY, given.as_bytes().try_into().expect("a value"));
            }
            assert_eq!(idempotency_key(&headers).map_err(|refused| refused.reply().status().as_u16()), key, "{given:?}");
        }
    }
}
