//! What is sent: bodies as a page and a backend send them, with numbers that are new in each.

use bytes::Bytes;
use rand::Rng;
use schemas::{time::Time, world::World};

/// Where the number of an event stands in a text.
const EVENT: &str = "EEEEEEEEEEEE";
/// Where the number of its visitor or buyer stands.
const WHO: &str = "VVVVVVVVVVVV";
const DIGITS: usize = 12;

/// What a page is called by.
pub const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
/// The page's share of a session.
pub const PAGE: &str =
    r#"{"url":"https://shop.example/p/blue-shirt?utm_source=facebook","referrer":"https://shop.example/","title":"Blue shirt"}"#;
/// Meta's ids of a browser.
pub const IDS: &str = r#"{"fbp":"fb.1.1795630000000.1116446470"}"#;

/// An event of a page.
pub fn event() -> String {
    format!(
        r#"{{"event_id":"0193a2f0-9f00-7000-8000-{EVENT}","visitor_id":"0193a2f0-6d1e-7c3a-9b44-{WHO}","type":"track","name":"AddToCart","props":{{"value":49.9,"currency":"USD","content_name":"Blue shirt","content_ids":["SKU-1"]}},"at":1795631558957}}"#
    )
}

/// The visitor of that event.
pub fn visitor(who: &str) -> String {
    format!("0193a2f0-6d1e-7c3a-9b44-{who}")
}

/// A session's body with so many events.
pub fn session(funnel: &str, events: usize) -> String {
    let events = vec![event(); events].join(",");
    format!(r#"{{"fid":"{funnel}","sent_at":1795631559100,"page":{PAGE},"ids":{IDS},"events":[{events}]}}"#)
}

/// A webhook's body: an order of a buyer.
pub fn order() -> String {
    format!(
        r#"{{"event":"purchase","email":"mary.{WHO}@example.com","amount":49.9,"currency":"USD","product_name":"Blue shirt","first_name":"Mary","last_name":"Miller","phone":"+1 202 555 0147","order_id":"ORD-{EVENT}","metadata":{{"warehouse":7}}}}"#
    )
}

/// A POST of a body, ready to be sent on a connection that is kept.
pub fn post(path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "POST {path} HTTP/1.1\r\nhost: m.shop.example\r\nuser-agent: {USER_AGENT}\r\naccept: */*\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n{body}",
        headers.concat(),
        body.len()
    )
}

/// A text with places for numbers.
#[derive(Clone)]
pub struct Template {
    text: Vec<u8>,
    events: Vec<usize>,
    who: Vec<usize>,
}

impl Template {
    /// Finds the places.
    pub fn new(text: String) -> Self {
        let find = |mark| text.match_indices(mark).map(|(at, _)| at).collect();
        Self { events: find(EVENT), who: find(WHO), text: text.into_bytes() }
    }

    /// Events in one text.
    pub fn events(&self) -> u64 {
        self.events.len() as u64
    }

    /// The text of that turn, with numbers that no other turn has.
    pub fn turn(&mut self, turn: u64) -> &[u8] {
        let first = turn * self.events();
        for (place, number) in self.events.iter().chain(&self.who).zip((first..first + self.events()).cycle()) {
            self.text[*place..place + DIGITS].copy_from_slice(digits(number).as_bytes());
        }
        &self.text
    }
}

/// A number as twelve hexadecimal digits in an order that looks like none, as ids of the real world have none: consecutive keys would be
/// the cheapest there are for a sorted table.
pub fn digits(number: u64) -> String {
    const ODD: u64 = 0x9E37_79B9_7F4B; // multiplying by an odd number modulo 2^48 gives each number another
    format!("{:012x}", number.wrapping_mul(ODD) & 0xFFFF_FFFF_FFFF)
}

/// An event's text with its numbers.
pub fn numbered(text: &str, number: u64) -> String {
    numbered_of(text, number, number)
}

/// An event's text with its number and another one of its visitor.
pub fn numbered_of(text: &str, number: u64, who: u64) -> String {
    text.replace(EVENT, &digits(number)).replace(WHO, &digits(who))
}

/// The real world.
pub struct RealWorld;

impl World for RealWorld {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(since.as_micros() as i64)
    }

    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// A record of three hundred bytes, key and all.
pub fn record(number: u64) -> (Bytes, Bytes) {
    (Bytes::from(format!("fn_load|visitor|{}", digits(number))), Bytes::from_static(&[b'x'; 272]))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_numbers_have_the_same_digits() {
        let all: HashSet<String> = (0..100_000).map(digits).collect();
        assert_eq!(all.len(), 100_000);
    }

    #[test]
    fn a_turn_has_numbers_of_its_own() {
        let mut template = Template::new(session("fn_load", 20));
        let first = template.turn(0).to_vec();
        assert_ne!(first, template.turn(1));
        assert_eq!(first, template.turn(0));
        assert_eq!(template.events(), 20);
    }
}
