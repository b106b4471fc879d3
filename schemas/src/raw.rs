//! A raw event: what came in, as it came, plus where and when it was received. Never changed. Never holds an API key.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    id::{FunnelId, PixelId, VisitorId, WorkspaceId},
    money::Currency,
    time::Time,
};

/// What kind of request a raw event came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawKind {
    /// A browser's `identify`.
    Identify,
    /// A browser's `track`.
    Track,
    /// A backend's webhook.
    Webhook,
}

/// One raw event. What is only carried stays text (`RawValue`), so that it is neither changed nor parsed twice at the door.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Raw<'a> {
    /// Made at the door, UUIDv7.
    pub id: Uuid,
    /// What kind of request it came by.
    #[serde(rename = "type")]
    pub kind: RawKind,
    /// The version of these words.
    pub version: u16,
    /// The funnel it was sent to.
    pub funnel_id: FunnelId,
    /// The funnel's workspace.
    pub workspace_id: WorkspaceId,
    /// When the door received it.
    pub received_at: Time,
    /// The event id that Meta and the page know: the order's, the script's, or one made at the door.
    #[serde(borrow)]
    pub event_id: Cow<'a, str>,
    /// The browser that sent it; absent on webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visitor_id: Option<VisitorId>,
    /// The funnel's pixels at that moment: the judge must not look them up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pixels: Vec<PixelId>,
    /// The funnel's default currency at that moment.
    pub currency: Currency,
    /// How long a browser purchase of this funnel waits for its server leg before Meta hears of it, in seconds. Stands where an order's
    /// purchase came from a browser and the wait was not switched off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub server_leg_wait_s: u32,
    /// The visitor's address; absent on webhooks, whose caller is a server.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<Cow<'a, str>>,
    /// The visitor's user agent; absent on webhooks.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Cow<'a, str>>,
    /// The partition of verdicts on which the asking door waits; absent when nobody waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u32>,
    /// Whether the webhook carried an `Idempotency-Key`, from which its event id was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    /// The browser's clock when it sent the batch, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<i64>,
    /// `{"url","referrer","title"}` of the page, as it came.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub page: Option<&'a RawValue>,
    /// `{"fbp","fbc"}`, as it came.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<&'a RawValue>,
    /// The visitor's consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
    /// What the page knows of the person, as it came.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub person: Option<&'a RawValue>,
    /// First and last touch, as it came.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<&'a RawValue>,
    /// The webhook's body or the script's event object, as it came.
    #[serde(borrow)]
    pub body: &'a RawValue,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whether a visitor agreed to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Agreed, or the site needs no consent.
    Granted,
    /// Not asked yet.
    Pending,
    /// Declined or withdrawn.
    Denied,
}
