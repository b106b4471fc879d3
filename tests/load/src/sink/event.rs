//! What the sink is given: purchases of a shop, each frozen as the judge freezes it.

use schemas::{
    dispatch::Dispatch,
    envelope::{Kind, Position, VERSION},
    fact::{Context, LegName},
    id::{FunnelId, PixelId, WorkspaceId},
    key::{self, DedupKey},
    meta::{ActionSource, Conversion, Frozen, freeze},
    money::{Currency, Money},
    order::OrderId,
    person::{Digest, Person},
    time::Time,
    topic::Topic,
    world::World,
};
use serde_json::value::RawValue;
use storage::Append;

use crate::traffic::{self, RealWorld};

/// Where the customer bought.
pub const URL: &str = "https://shop.example/p/blue-shirt?utm_source=facebook";
/// What else the page said.
const PROPERTIES: &str = r#"{"content_ids":["SKU-1"],"content_type":"product","num_items":1}"#;

/// A purchase that page and backend told of, hashed already.
pub struct Sale {
    /// The customer.
    pub person: Person,
    /// The customer's browser, hashed.
    pub visitor: Digest,
    /// The browser.
    pub context: Context,
    /// The order.
    pub order: OrderId,
    /// The id at Meta.
    pub event_id: String,
    /// When it was made.
    pub at: Time,
}

impl Sale {
    /// The sale of that number.
    pub fn new(number: u64, at: Time) -> Self {
        let digits = traffic::digits(number);
        let digest = |what: &str| Some(Digest::of(&format!("{what}{digits}")));
        let order = OrderId::parse(&format!("ORD-{digits}")).ok().flatten().expect("an order id");
        Self {
            person: Person {
                email_sha256: digest("email"),
                phone_sha256: digest("phone"),
                first_name_sha256: digest("first name"),
                last_name_sha256: digest("last name"),
                ..Person::default()
            },
            visitor: Digest::of(&traffic::visitor(&digits)),
            context: Context {
                fbp: Some("fb.1.1795630000000.1116446470".to_owned()),
                fbc: Some("fb.1.1795630000000.IwAR2F4dbP0l7Mn1IawQQGCINEz7PYXQvwjNwB_qa2ofrHyiLjcbCRxTDMgk".to_owned()),
                client_ip: Some("203.0.113.7".to_owned()),
                user_agent: Some(traffic::USER_AGENT.to_owned()),
                url: Some(URL.to_owned()),
                ..Context::default()
            },
            event_id: key::order_event_id(&funnel(), &order),
            order,
            at,
        }
    }

    /// As it is told Meta.
    pub fn conversion(&self) -> Conversion<'_> {
        Conversion {
            name: "Purchase",
            event_id: &self.event_id,
            event_time: self.at,
            action_source: ActionSource::Website,
            person: &self.person,
            external_ids: std::slice::from_ref(&self.visitor),
            context: &self.context,
            money: Some(Money { minor: 4_995, currency: Currency::parse("USD").expect("a currency") }),
            order_id: Some(&self.order),
            product_name: Some("Blue shirt"),
            properties: Some(PROPERTIES),
        }
    }

    /// As the judge hands it to the sink, for one pixel.
    pub fn dispatch(&self, pixel: &PixelId) -> Dispatch {
        let Frozen { payload, withheld, fact } = freeze(&self.conversion(), LegName::Server);
        Dispatch {
            id: RealWorld.new_id(),
            kind: Kind::Dispatch,
            version: VERSION,
            funnel_id: funnel(),
            workspace_id: workspace(),
            occurred_at: self.at,
            received_at: self.at,
            position: Position { generation: 0, partition: 0, offset: 0 },
            pixel_id: pixel.clone(),
            event_name: "Purchase".to_owned(),
            event_id: self.event_id.clone(),
            dedup_key: DedupKey::Purchase(funnel(), self.order.clone()).to_string(),
            revision: 1,
            not_before: None,
            payload,
            withheld,
            test_event_code: None,
            fact,
            replay: None,
        }
    }
}

/// The dispatch as Meta refuses it: a purchase without a currency. The answer does not say which event of the batch it was.
pub fn poisoned(dispatch: Dispatch) -> Dispatch {
    spoilt(dispatch, r#","currency":"USD""#, "")
}

/// The same with an answer that names the event: Meta's schema has no such key.
pub fn odd(dispatch: Dispatch) -> Dispatch {
    spoilt(dispatch, r#"{"event_name""#, r#"{"no_such_key":1,"event_name""#)
}

fn spoilt(dispatch: Dispatch, from: &str, to: &str) -> Dispatch {
    let spoil = |payload: Box<RawValue>| RawValue::from_string(payload.get().replace(from, to)).expect("it is still JSON");
    Dispatch { payload: dispatch.payload.map(spoil), ..dispatch }
}

/// The record of the log.
pub fn append(dispatch: &Dispatch) -> Append {
    Append {
        topic: Topic::Dispatch,
        key: dispatch.pixel_id.as_str().to_owned().into(),
        value: serde_json::to_vec(dispatch).expect("a dispatch is JSON").into(),
        time: dispatch.received_at,
    }
}

/// The workspace of everything.
pub fn workspace() -> WorkspaceId {
    WorkspaceId::parse("ws_load").expect("an id")
}

fn funnel() -> FunnelId {
    FunnelId::parse("fn_load").expect("an id")
}
