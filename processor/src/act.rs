//! The deed: actions become one step.

use bytes::Bytes;
use schemas::{row::Row, time::Time, topic::Topic};
use serde::Serialize;
use storage::{Record, Reply, Step};

use crate::action::Action;

/// Adds the effects of one record to the step.
pub fn act(actions: Vec<Action>, at: Time, step: &mut Step) {
    for action in actions {
        match action {
            Action::Remember { key, leg, cell } => step.rows.push(Row::Seen { key, leg, cell: *cell }),
            Action::RecordPurchase(purchase) => {
                let key =
                    format!("{}|{}", purchase.funnel_id, purchase.order_id.as_ref().map_or(&*purchase.event_id, |order| order.as_str()));
                step.records.push(record(Topic::Purchases, key, &purchase, at));
                step.rows.push(Row::Purchase(purchase));
            }
            Action::RecordLead(lead) => {
                let key = format!("{}|{}", lead.funnel_id, lead.order_id.as_ref().map_or(&*lead.event_id, |order| order.as_str()));
                step.records.push(record(Topic::Leads, key, &lead, at));
                step.rows.push(Row::Lead(lead));
            }
            Action::RecordEvent(event) => {
                let who = event.visitor_id.as_ref().map_or(&*event.event_id, |visitor| visitor.as_str());
                step.records.push(record(Topic::Events, format!("{}|{who}", event.funnel_id), &event, at));
            }
            Action::KnowVisitor(visitor) => step.rows.push(Row::Visitor(visitor)),
            Action::KnowPerson(person) => step.rows.push(Row::Person(person)),
            Action::KeepKey(key) => step.rows.push(Row::PersonKey(key)),
            Action::Dispatch(dispatch) => {
                step.records.push(record(Topic::Dispatch, dispatch.pixel_id.to_string(), &dispatch, at));
            }
            Action::Answer { to, answer } => step.answers.push(Reply { to, answer }),
            Action::Park { key, dead } => step.records.push(Record { topic: Topic::Dead, key, value: json(&dead), time: at }),
        }
    }
}

fn record(topic: Topic, key: String, value: &impl Serialize, time: Time) -> Record {
    Record { topic, key: key.into(), value: json(value), time }
}

/// A fact or dispatch mostly fits: growing there by doubling would copy it three times.
const RECORD_BYTES: usize = 1_536;

fn json(value: &impl Serialize) -> Bytes {
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    serde_json::to_writer(&mut bytes, value).expect("the words of schemas are JSON: string keys and finite numbers");
    bytes.into()
}
