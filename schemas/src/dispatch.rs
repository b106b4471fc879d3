//! A dispatch: one fact meant for one pixel, Meta's event frozen as the very bytes that will be sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    delivery::Outcome,
    envelope::{Kind, Position},
    fact::{LegName, record},
    id::{FunnelId, PixelId, WorkspaceId},
    time::Time,
};

record! {
    /// One fact meant for one pixel. Key of the topic: the pixel. Revision 2 carries a server leg's better data for the same
    /// delivery; the sink, which alone knows what was sent, decides whether it still takes the place of revision 1.
    Dispatch {
        /// Meta's id of the pixel.
        pub pixel_id: PixelId,
        /// The event's name at Meta.
        pub event_name: String,
        /// The event's id at Meta.
        pub event_id: String,
        /// With the pixel, the key of the delivery.
        pub dedup_key: String,
        /// 1, or 2 when a server leg joined a browser purchase.
        pub revision: u32,
        /// Not to be sent earlier: a browser purchase may wait for its server leg.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub not_before: Option<Time>,
        /// Meta's event as it will be sent; null if it must not be sent (then `withheld` says why).
        #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
        pub payload: Option<Box<RawValue>>,
        /// Why there is no payload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub withheld: Option<Withheld>,
        /// The code under which Meta's Test Events page shows it, in place of the pixel's own, if the page asked for one. Meta takes one code
        /// for a whole request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub test_event_code: Option<String>,
        /// What the payload does not tell of the fact, so that it can be rendered anew ([`crate::meta::render_again`]).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fact: Option<Box<Fact>>,
        /// An operator sends a told delivery again; such a record has [`REPLAY_VERSION`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub replay: Option<Replay>,
    }
}

/// The version of a dispatch that replays a delivery. A sink that knows nothing of replays would take it for a new dispatch and forget the
/// attempts that were made; it stops at it instead, until it is upgraded.
pub const REPLAY_VERSION: u16 = 2;

/// A replay: which told outcome of a delivery an operator takes back, so that it is sent again. It holds for that outcome only: read
/// twice, or after another replay, it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// The command, which may have replayed many.
    pub id: Uuid,
    /// The outcome that is taken back.
    pub outcome: Outcome,
    /// When that outcome was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Time>,
}

/// Why a dispatch carries no payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Withheld {
    /// The person declined or withdrew consent: the delivery ends cancelled.
    NoConsent,
    /// Our own check found what Meta would refuse: the delivery ends rejected.
    Invalid {
        /// A stable word for the rule.
        code: String,
        /// The rule in words a marketer understands.
        message: String,
    },
}

/// The fact beside the bytes: what rendering knew and the payload does not tell. With the payload it is enough to render the event
/// anew. Of a person it holds digests only; what may tell who somebody is never stands here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// Which leg told it.
    pub leg: LegName,
    /// Meta's event as far as it could be said, where a rule withheld it and there is no payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub event: Option<Box<RawValue>>,
    /// Properties of the page that this build could not tell Meta, as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub left_out: Option<Box<RawValue>>,
}

impl Dispatch {
    /// When Meta stops accepting it: seven days after it happened.
    pub fn deadline(&self) -> Time {
        self.occurred_at.plus_micros(7 * crate::time::DAY_US)
    }
}
