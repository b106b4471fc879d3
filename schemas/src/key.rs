//! Dedup keys and partition keys: a dedup key always determines its raw partition.

use std::{borrow::Cow, fmt};

use uuid::Uuid;

use crate::{
    id::{FunnelId, VisitorId},
    order::OrderId,
};

/// Days between two receptions within which an event key is a repeat. Order keys are kept for ever.
pub const EVENT_KEY_DAYS: i64 = 30;

/// What makes two raw events the same event, within one funnel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DedupKey {
    /// One purchase: `funnel|purchase|<order_id>`.
    Purchase(FunnelId, OrderId),
    /// One lead: `funnel|lead|<order_id>`.
    Lead(FunnelId, OrderId),
    /// One event of a browser: `funnel|event|<visitor_id>|<name>|<event_id>`.
    Event {
        /// The funnel.
        funnel: FunnelId,
        /// The visitor under which the script made the event.
        visitor: VisitorId,
        /// The event's name; `identify` for an identify.
        name: Box<str>,
        /// The event id the script made.
        event_id: Box<str>,
    },
    /// One webhook without an order: `funnel|hook|<event_id>`.
    Hook(FunnelId, Box<str>),
}

impl DedupKey {
    /// The funnel it belongs to.
    pub fn funnel(&self) -> &FunnelId {
        match self {
            Self::Purchase(funnel, _) | Self::Lead(funnel, _) | Self::Hook(funnel, _) | Self::Event { funnel, .. } => funnel,
        }
    }

    /// Whether the key is kept for ever: it names an order.
    pub fn is_order(&self) -> bool {
        match self {
            Self::Purchase(..) | Self::Lead(..) => true,
            Self::Event { .. } | Self::Hook(..) => false,
        }
    }

    /// The key of the raw record: orders and hooks by themselves, browser events by their visitor, so that a visitor's
    /// events keep their order.
    pub fn partition_key(&self) -> String {
        match self {
            Self::Event { funnel, visitor, .. } => format!("{funnel}|visitor|{visitor}"),
            Self::Purchase(..) | Self::Lead(..) | Self::Hook(..) => self.to_string(),
        }
    }
}

impl fmt::Display for DedupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Purchase(funnel, order) => write!(f, "{funnel}|purchase|{order}"),
            Self::Lead(funnel, order) => write!(f, "{funnel}|lead|{order}"),
            Self::Event { funnel, visitor, name, event_id } => write!(f, "{funnel}|event|{visitor}|{name}|{event_id}"),
            Self::Hook(funnel, event_id) => write!(f, "{funnel}|hook|{event_id}"),
        }
    }
}

/// Whether a dedup key's text names an order: a funnel's id has no `|`.
pub fn is_order(key: &str) -> bool {
    matches!(key.split('|').nth(1), Some("purchase" | "lead"))
}

/// The partition key of a dedup key's text: what [`DedupKey::partition_key`] says of the key itself. No id has a `|`.
pub fn partition_key_of(key: &str) -> Cow<'_, str> {
    let mut parts = key.splitn(4, '|');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(funnel), Some("event"), Some(visitor)) => Cow::Owned(format!("{funnel}|visitor|{visitor}")),
        _ => Cow::Borrowed(key),
    }
}

/// The event id that pixel, browser leg and webhook leg of one order share at Meta.
pub fn order_event_id(funnel: &FunnelId, order: &OrderId) -> String {
    format!("{funnel}:{order}")
}

/// The name space of ids made from a funnel and a caller's text (UUIDv5). Fixed for ever: a change would make repeats new.
const NAMES: Uuid = Uuid::from_u128(0x7f2d_9c1e_5b0a_4e67_9a43_5241_5049_444d);

/// The event id of a webhook with an `Idempotency-Key`: the same key gives the same id.
pub fn idempotent_event_id(funnel: &FunnelId, key: &str) -> String {
    Uuid::new_v5(&NAMES, format!("{funnel}|idempotency|{key}").as_bytes()).to_string()
}

/// The id that replaces a caller's id which pretends to be an order's (begins with `{funnel}:`). It is fresh towards every
/// other event, yet the same in each retry of this one, so that a retry stays a repeat.
pub fn replaced_event_id(funnel: &FunnelId, visitor: &VisitorId, event_id: &str) -> String {
    Uuid::new_v5(&NAMES, format!("{funnel}|replaced|{visitor}|{event_id}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_the_design_writes_them() {
        let funnel = FunnelId::parse("fn_1").expect("an id");
        let visitor = VisitorId::parse("v-1").expect("an id");
        let order = OrderId::parse("A|7").expect("fits").expect("not blank");
        let event = DedupKey::Event { funnel: funnel.clone(), visitor, name: "AddToCart".into(), event_id: "e1".into() };
        assert_eq!(DedupKey::Purchase(funnel.clone(), order.clone()).to_string(), "fn_1|purchase|A|7");
        assert_eq!(DedupKey::Lead(funnel.clone(), order.clone()).partition_key(), "fn_1|lead|A|7");
        assert_eq!(event.to_string(), "fn_1|event|v-1|AddToCart|e1");
        assert_eq!(event.partition_key(), "fn_1|visitor|v-1");
        for key in [&event, &DedupKey::Purchase(funnel.clone(), order.clone()), &DedupKey::Hook(funnel.clone(), "e|1".into())] {
            assert_eq!(partition_key_of(&key.to_string()), key.partition_key());
        }
        for (key, order) in
            [("fn_1|purchase|A|7", true), ("fn_1|lead|A", true), ("fn_1|event|v|purchase|e", false), ("fn_1|hook|lead", false)]
        {
            assert_eq!(is_order(key), order, "{key}");
        }
        assert_eq!(order_event_id(&funnel, &order), "fn_1:A|7");
        assert_eq!(idempotent_event_id(&funnel, "k"), idempotent_event_id(&funnel, "k"));
        assert_ne!(idempotent_event_id(&funnel, "k"), idempotent_event_id(&funnel, "l"));
    }
}
