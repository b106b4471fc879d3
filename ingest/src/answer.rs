//! The webhook's answers, byte for byte: fields in the order of the documentation, no spaces.

use axum::{
    body::Bytes,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
};
use http_body_util::Full;
use schemas::{
    order::OrderId,
    verdict::{ConflictField, Verdict},
    webhook::WebhookEvent,
};
use serde::Serialize;

use crate::{Reply, refuse::Refused};

/// What an answer repeats of its request.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) event: WebhookEvent,
    pub(crate) order_id: Option<&'a OrderId>,
    pub(crate) warnings: &'a [String],
}

#[derive(Serialize)]
struct Success<'a> {
    status: &'static str,
    event: &'static str,
    order_id: Option<&'a OrderId>,
    purchases_created: u32,
    pixel_events_queued: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conflict: &'a [ConflictField],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Accepted<'a> {
    status: &'static str,
    event: &'static str,
    order_id: Option<&'a OrderId>,
    durability: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

/// What the judge said.
pub(crate) fn judged(about: About<'_>, verdict: Verdict) -> Result<Reply, Refused> {
    let (created, queued, duplicate, conflict) = match verdict {
        Verdict::First { purchases_created, pixel_events_queued } => (purchases_created, pixel_events_queued, false, Vec::new()),
        Verdict::Joined { purchases_created } => (purchases_created, 0, false, Vec::new()),
        Verdict::Repeat => (0, 0, true, Vec::new()),
        Verdict::Conflict { fields } => (0, 0, true, fields),
        Verdict::Refused(refusal) => return Err(Refused::Bad(refusal)),
    };
    let success = Success {
        status: "success",
        event: about.event.word(),
        order_id: about.order_id,
        purchases_created: created,
        pixel_events_queued: queued,
        duplicate,
        conflict: &conflict,
        warnings: about.warnings,
    };
    Ok(json(StatusCode::OK, &success))
}

/// It is durable, in the log or in the spool, and the verdict is not here.
pub(crate) fn accepted(about: About<'_>, durability: &'static str) -> Reply {
    let accepted =
        Accepted { status: "accepted", event: about.event.word(), order_id: about.order_id, durability, warnings: about.warnings };
    json(StatusCode::ACCEPTED, &accepted)
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut bytes = Vec::with_capacity(256);
    serde_json::to_writer(&mut bytes, body).expect("answers are structs of text and numbers, written to memory");
    let mut reply = Reply::new(Full::new(Bytes::from(bytes)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use schemas::verdict::Refusal;

    use super::*;

    async fn body(reply: Reply) -> String {
        String::from_utf8(reply.into_body().collect().await.expect("it is whole").to_bytes().into()).expect("JSON is text")
    }

    #[tokio::test]
    async fn answers_are_the_documented_bytes() {
        use WebhookEvent::{Lead, Purchase};
        let first = |purchases_created| Verdict::First { purchases_created, pixel_events_queued: 2 };
        let conflict = Verdict::Conflict { fields: vec![ConflictField::Amount, ConflictField::Email] };
        let order = OrderId::parse("ORD-123").expect("fits");
        let warned = ["odd".to_owned()];
        for (event, order_id, warnings, verdict, bytes) in [
            (
                Purchase,
                order.as_ref(),
                &[][..],
                first(1),
                r#""event":"purchase","order_id":"ORD-123","purchases_created":1,"pixel_events_queued":2}"#,
            ),
            (Purchase, None, &[], first(1), r#""event":"purchase","order_id":null,"purchases_created":1,"pixel_events_queued":2}"#),
            (Lead, None, &[], first(0), r#""event":"lead","order_id":null,"purchases_created":0,"pixel_events_queued":2}"#),
            (
                Purchase,
                order.as_ref(),
                &[],
                Verdict::Joined { purchases_created: 1 },
                r#""event":"purchase","order_id":"ORD-123","purchases_created":1,"pixel_events_queued":0}"#,
            ),
            (
                Purchase,
                order.as_ref(),
                &[],
                Verdict::Repeat,
                r#""event":"purchase","order_id":"ORD-123","purchases_created":0,"pixel_events_queued":0,"duplicate":true}"#,
            ),
            (
                Purchase,
                order.as_ref(),
                &warned,
                conflict,
                r#""event":"purchase","order_id":"ORD-123","purchases_created":0,"pixel_events_queued":0,"duplicate":true,"conflict":["amount","email"],"warnings":["odd"]}"#,
            ),
        ] {
            let reply = judged(About { event, order_id, warnings }, verdict).expect("it is no refusal");
            assert_eq!(reply.status(), 200);
            assert_eq!(body(reply).await, format!(r#"{{"status":"success",{bytes}"#));
        }
    }

    #[tokio::test]
    async fn without_verdict_it_is_accepted() {
        let about = About { event: WebhookEvent::Lead, order_id: None, warnings: &[] };
        let reply = accepted(about, "log");
        assert_eq!(reply.status(), 202);
        assert_eq!(body(reply).await, r#"{"status":"accepted","event":"lead","order_id":null,"durability":"log"}"#);
    }

    #[test]
    fn what_the_judge_refuses_is_an_error() {
        let about = About { event: WebhookEvent::Lead, order_id: None, warnings: &[] };
        let refused = judged(about, Verdict::Refused(Refusal::whole("refused_unreadable", "why"))).expect_err("it is refused");
        assert_eq!(refused.reply().status(), 400);
    }
}
