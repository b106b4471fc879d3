//! Facts: what was concluded from raw events. Purchases and leads are told again as the next revision when their other leg comes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    data_use::DataUse,
    envelope::{Kind, Position},
    id::{FunnelId, VisitorId, WorkspaceId},
    money::{Currency, Money},
    order::OrderId,
    person::Person,
    time::Time,
};

/// The two ways one order can reach us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegName {
    /// The page's own call.
    Browser,
    /// The backend's webhook.
    Server,
}

/// Where a browser was when it acted: what makes a conversion matchable. Facts about a device, never hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Context {
    /// Meta's browser id, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fbp: Option<String>,
    /// Meta's click id, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fbc: Option<String>,
    /// The visitor's public address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// The browser's user agent, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The page's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The page's referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
    /// How Meta may use what is told of this browser, if the page said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_use: Option<DataUse>,
    /// The browser itself, where a person is remembered by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visitor_id: Option<VisitorId>,
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($body:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// The raw record that caused this one.
            pub id: Uuid,
            /// What kind of record this is.
            #[serde(rename = "type")]
            pub kind: Kind,
            /// The version of its words.
            pub version: u16,
            /// The funnel.
            pub funnel_id: FunnelId,
            /// The funnel's workspace.
            pub workspace_id: WorkspaceId,
            /// When it happened; never after `received_at`.
            pub occurred_at: Time,
            /// When the door received it.
            pub received_at: Time,
            /// Where the raw record stands.
            pub position: Position,
            $($body)*
        }
    };
}
pub(crate) use record;

/// Purchases and leads say the same things of themselves.
macro_rules! sale {
    ($(#[$doc:meta])* $name:ident) => {
        record! {
            $(#[$doc])*
            $name {
                /// Rises with each leg that joins; the newest replaces.
                pub revision: u32,
                /// When its first leg was received, from revision 2 on (before, that is `received_at`): on its UTC day the sale counts,
                /// whenever the other leg comes.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub first_received_at: Option<Time>,
                /// The order; null for a webhook or page that named none.
                pub order_id: Option<OrderId>,
                /// The id that pixel and server share at Meta.
                pub event_id: String,
                /// The amount in major units as an exact JSON number; null if none was told.
                #[schemars(with = "Option<f64>")]
                pub amount: Option<Box<RawValue>>,
                /// The same in minor units of `currency`.
                pub amount_minor: Option<i64>,
                /// ISO 4217.
                pub currency: Currency,
                /// Which legs are known, sorted.
                pub legs: Vec<LegName>,
                /// The browser, if a browser leg is known.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub visitor_id: Option<VisitorId>,
                /// The person.
                #[serde(default, skip_serializing_if = "Person::is_empty")]
                pub person: Person,
                /// What it is about, in the sender's words.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub product_name: Option<String>,
                /// The page's properties as they came.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
                pub properties: Option<Box<RawValue>>,
                /// The backend's metadata as it came; it never goes to Meta.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
                pub metadata: Option<Box<RawValue>>,
            }
        }
    };
}

sale! {
    /// A purchase, computed from the legs known so far.
    Purchase
}
sale! {
    /// A lead, computed from the legs known so far.
    Lead
}

record! {
    /// Any event judged First: identify included, purchases and leads too.
    Event {
        /// The event's name: a standard or custom name, or `identify`.
        pub name: String,
        /// The id that pixel and server share at Meta.
        pub event_id: String,
        /// Which way it came.
        pub leg: LegName,
        /// The browser; absent on webhooks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub visitor_id: Option<VisitorId>,
        /// The order, on purchases and leads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub order_id: Option<OrderId>,
        /// The person, as far as known.
        #[serde(default, skip_serializing_if = "Person::is_empty")]
        pub person: Person,
        /// Whether a program sent it, by what its browser says of itself (absent: no). Nobody is refused for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub bot: bool,
        /// Whether somebody looks at what this browser sends (absent: no): `?rm_debug=1`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub debug: bool,
        /// The page's address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub url: Option<String>,
        /// The event's properties as they came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
        pub properties: Option<Box<RawValue>>,
    }
}

/// An amount as an exact JSON number.
pub fn amount_json(money: Money) -> Box<RawValue> {
    RawValue::from_string(money.decimal()).expect("a decimal text is a JSON number")
}
