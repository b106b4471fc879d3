//! Pure: a receipt as one plain sentence.

use schemas::{
    delivery::Outcome,
    fact::LegName,
    money::Money,
    receipt::{Receipt, ReceiptDelivery, Standing},
    time::{SECOND_US, Time},
};

/// Pixels told one by one; of more than these only the number.
const PIXELS_TOLD: usize = 4;

/// The receipt in one sentence.
pub(super) fn sentence(receipt: &Receipt) -> String {
    let mut told = Days::default();
    let mut text = subject(receipt);
    text.push(' ');
    text.push_str(&legs(receipt, &mut told));
    text.push_str("; it is one ");
    text.push_str(&what(receipt));
    text.push_str(&pixels(receipt, &mut told));
    text.push('.');
    text
}

fn subject(receipt: &Receipt) -> String {
    match &receipt.order_id {
        Some(order) => format!("Order {order}"),
        None => format!("Event {}", receipt.event_id),
    }
}

fn legs(receipt: &Receipt, told: &mut Days) -> String {
    let way = |leg: LegName| match leg {
        LegName::Browser => "the browser",
        LegName::Server => "your backend",
    };
    match &receipt.legs[..] {
        [] => "is known, but how it came is no longer kept".to_owned(),
        [only] => format!("came from {} {}", way(only.leg), told.at(only.received_at)),
        [first, then, ..] => {
            let later = later(then.received_at.since(first.received_at));
            format!("came from {} {} and from {} {later}", way(first.leg), told.at(first.received_at), way(then.leg))
        }
    }
}

fn what(receipt: &Receipt) -> String {
    let Some(fact) = &receipt.fact else {
        return match &receipt.event_name {
            Some(name) => format!("{name} event"),
            None => "event".to_owned(),
        };
    };
    match fact.amount_minor {
        Some(minor) => {
            let money = Money { minor, currency: fact.currency };
            format!("{} of {} {}", fact.kind.name(), money.decimal(), money.currency)
        }
        None => format!("{} without an amount", fact.kind.name()),
    }
}

fn pixels(receipt: &Receipt, told: &mut Days) -> String {
    if receipt.deliveries.is_empty() {
        return ", and no pixel was to hear of it".to_owned();
    }
    let one_by_one = if receipt.deliveries.len() > PIXELS_TOLD + 1 { PIXELS_TOLD } else { receipt.deliveries.len() };
    let (named, rest) = receipt.deliveries.split_at(one_by_one);
    let mut parts: Vec<String> = named.iter().map(|delivery| pixel(delivery, told)).collect();
    if !rest.is_empty() {
        parts.push(format!("{} at {} more pixels", counted(rest), rest.len()));
    }
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() { format!(", {last}") } else { format!(", {} and {last}", parts.join(", ")) }
}

fn pixel(delivery: &ReceiptDelivery, told: &mut Days) -> String {
    let pixel = &delivery.pixel_id;
    let at = delivery.settled_at.map(|at| format!(" {}", told.at(at))).unwrap_or_default();
    let because = delivery.reason.as_ref().map(|reason| format!(" ({})", reason.message)).unwrap_or_default();
    let replayed = delivery.replayed.map(|replay| format!(", replayed after it was {}", taken_back(replay.outcome))).unwrap_or_default();
    match delivery.outcome {
        Standing::Delivered => format!("told to pixel {pixel}{at} (delivered on the {} attempt{replayed})", ordinal(delivery.attempts)),
        Standing::Rejected => format!("rejected for pixel {pixel}{at}{because}"),
        Standing::Expired => format!("expired for pixel {pixel}{at}{because}"),
        Standing::Cancelled => format!("cancelled for pixel {pixel}{at}{because}"),
        Standing::Unknown => format!("of unknown outcome for pixel {pixel}{at}{because}"),
        Standing::NotKept => format!("no longer recorded for pixel {pixel}, since outcomes are kept 90 days"),
        Standing::Missing => format!("recorded nowhere for pixel {pixel}, although it should be: ask `rapidmetrics totals`"),
        Standing::Waiting => match delivery.reason.as_ref().map(|reason| &*reason.code) {
            Some("token") => format!("still waiting for pixel {pixel}, whose access token Meta does not accept"),
            Some("config") => format!("still waiting for pixel {pixel}, which Meta does not know or whose token has no permission for it"),
            Some(_) => format!("still waiting for pixel {pixel}{because}"),
            None => match delivery.due_at.filter(|_| delivery.attempts == 0) {
                Some(due) => format!("still waiting for pixel {pixel}, not to be sent before {}", told.clock(due)),
                None => format!("still waiting for pixel {pixel}, whose turn has not come"),
            },
        },
    }
}

/// An outcome as what an operator took back.
fn taken_back(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unknown => "of unknown outcome",
        Outcome::Delivered | Outcome::Rejected | Outcome::Expired | Outcome::Cancelled => outcome.name(),
    }
}

fn counted(deliveries: &[ReceiptDelivery]) -> String {
    let mut counts: Vec<(Standing, usize)> = Vec::new();
    for delivery in deliveries {
        match counts.iter_mut().find(|(standing, _)| *standing == delivery.outcome) {
            Some((_, count)) => *count += 1,
            None => counts.push((delivery.outcome, 1)),
        }
    }
    match &counts[..] {
        [(standing, _)] => standing.name().to_owned(),
        _ => counts.iter().map(|(standing, count)| format!("{count} {}", standing.name())).collect::<Vec<_>>().join(", "),
    }
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// How much later the second leg came. Two doors have two clocks, so it may seem to have come earlier.
fn later(us: i64) -> String {
    let seconds = us.max(0) / SECOND_US;
    match seconds {
        0 => "less than a second later".to_owned(),
        1..=119 => format!("{seconds} s later"),
        120..=7_199 => format!("{} min later", seconds / 60),
        7_200..=172_799 => format!("{} h later", seconds / 3_600),
        _ => format!("{} days later", seconds / 86_400),
    }
}

/// A day is named when it first comes up; after it the clock is enough until another day begins.
#[derive(Default)]
struct Days(Option<String>);

impl Days {
    fn at(&mut self, time: Time) -> String {
        match self.turns(time) {
            Some(day) => format!("on {day} at {} UTC", clock(time)),
            None => format!("at {} UTC", clock(time)),
        }
    }

    fn clock(&mut self, time: Time) -> String {
        match self.turns(time) {
            Some(day) => format!("{} UTC on {day}", clock(time)),
            None => format!("{} UTC", clock(time)),
        }
    }

    fn turns(&mut self, time: Time) -> Option<String> {
        let day = time.day();
        (self.0.as_ref() != Some(&day)).then(|| self.0.insert(day).clone())
    }
}

fn clock(time: Time) -> String {
    time.to_string()[11..19].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Receipt, later, ordinal, sentence};

    fn leg(leg: &str, received_at: &str) -> Value {
        json!({"leg": leg, "received_at": received_at, "position": {"generation": 0, "partition": 0, "offset": 0},
               "raw_id": "0193a2f1-4b2c-7d10-8f5e-2a6b9c3d4e5f", "amount": null, "amount_minor": null, "currency": null,
               "verdict": "first", "purchases_created": 0, "pixel_events_queued": null})
    }

    fn at(pixel: &str, outcome: &str, more: &Value) -> Value {
        let mut delivery = json!({"pixel_id": pixel, "event_name": "Purchase", "revision": 1, "outcome": outcome, "attempts": 0,
                                  "ambiguous_attempts": 0, "attempt_log": []});
        for (key, value) in more.as_object().expect("an object") {
            delivery[key] = value.clone();
        }
        delivery
    }

    fn said(legs: &[Value], fact: &Value, deliveries: &[Value]) -> String {
        let receipt = json!({"sentence": "", "version": 1, "at": "2026-11-25T20:00:00.000000Z", "funnel_id": "fn_1", "order_id": "ORD-123",
                             "event_id": "fn_1:ORD-123", "event_name": "Purchase", "dedup_key": "fn_1|purchase|ORD-123", "legs": legs,
                             "enrichment": null, "fact": fact, "deliveries": deliveries});
        sentence(&serde_json::from_value::<Receipt>(receipt).expect("a receipt"))
    }

    #[test]
    fn a_life_reads_as_one_sentence() {
        let (browser, server) = (leg("browser", "2026-11-25T12:00:01.900000Z"), leg("server", "2026-11-25T12:00:05.000000Z"));
        let sale = json!({"kind": "purchase", "revision": 2, "occurred_at": "2026-11-25T12:00:01.000000Z", "amount": 49.9,
                          "amount_minor": 4990, "currency": "EUR"});
        let lead = json!({"kind": "lead", "revision": 1, "occurred_at": "2026-11-25T12:00:01.000000Z", "amount": null,
                          "amount_minor": null, "currency": "EUR"});
        let settled = "2026-11-25T12:01:04.000000Z";
        let reason = |code: &str, message: &str| json!({"code": code, "message": message});
        let delivered = at("42", "delivered", &json!({"settled_at": settled, "attempts": 2}));
        let no_token = at("43", "waiting", &json!({"attempts": 1, "reason": reason("token", "m")}));
        let due = at("44", "waiting", &json!({"due_at": "2026-11-26T00:00:30.000000Z"}));
        let rejected =
            at("45", "rejected", &json!({"settled_at": settled, "attempts": 1, "reason": reason("meta", "a purchase needs a value")}));
        let not_kept = at("46", "not_kept", &json!({}));
        let replay = json!({"id": "0193a301-77aa-7c10-9d00-0a1b2c3d4e5f", "outcome": "rejected", "settled_at": settled});
        let replayed = at("47", "delivered", &json!({"settled_at": settled, "attempts": 2, "replayed": replay}));
        for (legs, fact, deliveries, expected) in [
            (
                vec![browser.clone(), server.clone()],
                &sale,
                vec![delivered.clone(), no_token.clone()],
                "Order ORD-123 came from the browser on 2026-11-25 at 12:00:01 UTC and from your backend 3 s later; it is one purchase of \
                 49.90 EUR, told to pixel 42 at 12:01:04 UTC (delivered on the 2nd attempt) and still waiting for pixel 43, whose access \
                 token Meta does not accept.",
            ),
            (
                vec![server.clone()],
                &sale,
                vec![replayed],
                "Order ORD-123 came from your backend on 2026-11-25 at 12:00:05 UTC; it is one purchase of 49.90 EUR, told to pixel 47 at \
                 12:01:04 UTC (delivered on the 2nd attempt, replayed after it was rejected).",
            ),
            (
                vec![server.clone()],
                &lead,
                vec![],
                "Order ORD-123 came from your backend on 2026-11-25 at 12:00:05 UTC; it is one lead without an amount, and no pixel was to \
                 hear of it.",
            ),
            (
                vec![],
                &Value::Null,
                vec![not_kept.clone()],
                "Order ORD-123 is known, but how it came is no longer kept; it is one Purchase event, no longer recorded for pixel 46, \
                 since outcomes are kept 90 days.",
            ),
            (
                vec![browser.clone()],
                &sale,
                vec![due.clone(), rejected.clone(), delivered.clone()],
                "Order ORD-123 came from the browser on 2026-11-25 at 12:00:01 UTC; it is one purchase of 49.90 EUR, still waiting for \
                 pixel 44, not to be sent before 00:00:30 UTC on 2026-11-26, rejected for pixel 45 on 2026-11-25 at 12:01:04 UTC (a purchase \
                 needs a value) and told to pixel 42 at 12:01:04 UTC (delivered on the 2nd attempt).",
            ),
            (
                vec![browser],
                &sale,
                [vec![not_kept; 4], vec![delivered.clone(), delivered, no_token]].concat(),
                "Order ORD-123 came from the browser on 2026-11-25 at 12:00:01 UTC; it is one purchase of 49.90 EUR, no longer recorded for \
                 pixel 46, since outcomes are kept 90 days, no longer recorded for pixel 46, since outcomes are kept 90 days, no longer \
                 recorded for pixel 46, since outcomes are kept 90 days, no longer recorded for pixel 46, since outcomes are kept 90 days \
                 and 2 delivered, 1 waiting at 3 more pixels.",
            ),
        ] {
            assert_eq!(said(&legs, fact, &deliveries), expected);
        }
    }

    #[test]
    fn numbers_and_spans_read_as_people_say_them() {
        let ordinals: Vec<String> = [1, 2, 3, 4, 11, 12, 21, 112].map(ordinal).to_vec();
        assert_eq!(ordinals, ["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "112th"]);
        let spans: Vec<String> = [-5, 999_999, 3_000_000, 180_000_000, 7_200_000_000, 172_800_000_000].map(later).to_vec();
        assert_eq!(
            spans,
            ["less than a second later", "less than a second later", "3 s later", "3 min later", "2 h later", "2 days later"]
        );
    }
}
