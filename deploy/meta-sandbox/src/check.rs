//! Meta's rules for one event, as a table: what is looked at, in which order, and how firmly.
//!
//! Pure: an event, the time and the mode go in; a refusal or the remarks come out.

mod event;
mod person;
mod sale;

use crate::json::Json;
use crate::pixel::Mode;
use crate::refusal::Refusal;

/// How firmly a rule is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// The real endpoint refuses this.
    Always,
    /// Documented, but the real endpoint is not known to refuse it: an error in strict mode, a remark in real mode.
    Documented,
    /// Neither documented as an error nor known to be one: a remark in both modes.
    Remarked,
}

/// One event under examination.
struct Event<'e> {
    json: &'e Json<'e>,
    index: usize,
    now_s: i64,
}

struct Rule {
    name: &'static str,
    held: Held,
    broken: fn(&Event) -> Option<Refusal>,
}

const fn rule(name: &'static str, held: Held, broken: fn(&Event) -> Option<Refusal>) -> Rule {
    Rule { name, held, broken }
}

/// The first broken rule that is held decides, so the order is part of the contract.
const RULES: [Rule; 27] = [
    rule("event_is_no_object", Held::Always, event::no_object),
    rule("event_key_unknown", Held::Always, event::key_unknown),
    rule("event_name_missing", Held::Always, event::name_missing),
    rule("event_time_missing", Held::Always, event::time_missing),
    rule("user_data_missing", Held::Always, event::user_data_missing),
    rule("custom_data_no_object", Held::Always, event::custom_data_no_object),
    rule("event_id_no_string", Held::Documented, event::id_no_string),
    rule("event_time_too_old", Held::Always, event::too_old),
    rule("event_time_in_future", Held::Always, event::in_future),
    rule("purchase_value_missing", Held::Always, sale::value_missing),
    rule("purchase_currency_missing", Held::Always, sale::currency_missing),
    rule("currency_unknown", Held::Always, sale::currency_unknown),
    rule("value_no_number", Held::Always, sale::value_no_number),
    rule("value_is_text", Held::Documented, sale::value_is_text),
    rule("value_negative", Held::Remarked, sale::value_negative),
    rule("value_without_currency", Held::Remarked, sale::value_without_currency),
    rule("user_data_not_hashed", Held::Always, person::not_hashed),
    rule("user_data_digest_of_nothing", Held::Remarked, person::digest_of_nothing),
    rule("user_data_too_broad", Held::Always, person::too_broad),
    rule("action_source_unknown", Held::Always, event::action_source_unknown),
    rule("action_source_missing", Held::Documented, event::action_source_missing),
    rule("website_without_user_agent", Held::Documented, event::website_without_user_agent),
    rule("website_without_url", Held::Documented, event::website_without_url),
    rule("content_id_missing", Held::Always, sale::content_id_missing),
    rule("content_quantity_missing", Held::Documented, sale::content_quantity_missing),
    rule("data_processing_options_malformed", Held::Documented, event::processing_options_malformed),
    rule("browser_identity_malformed", Held::Documented, person::browser_identity_malformed),
];

/// Looks at one event. `index` is its place in the request, for the error's path; the names of remarked rules go to `remark`.
pub fn check(json: &Json, index: usize, now_s: i64, mode: Mode, mut remark: impl FnMut(&'static str)) -> Result<(), Refusal> {
    let event = Event { json, index, now_s };
    for rule in &RULES {
        let Some(refusal) = (rule.broken)(&event) else { continue };
        match (rule.held, mode) {
            (Held::Always, _) | (Held::Documented, Mode::Strict) => return Err(refusal),
            (Held::Documented, Mode::Real) | (Held::Remarked, _) => remark(rule.name),
        }
    }
    Ok(())
}

/// The rule about a whole request: who sends for others says so in under 23 characters with at least two letters.
pub fn partner_agent(agent: Option<&str>, mode: Mode) -> Result<(), Refusal> {
    let fits = |agent: &str| agent.chars().count() < 23 && agent.chars().filter(|c| c.is_alphabetic()).count() >= 2;
    match (agent, mode) {
        (Some(agent), Mode::Strict) if !fits(agent) => Err(Refusal::Parameter(format!("partner_agent {agent:?} is malformed"))),
        _ => Ok(()),
    }
}

impl<'e> Event<'e> {
    fn get(&self, key: &str) -> &'e Json<'e> {
        self.json.get(key)
    }

    fn person(&self, key: &str) -> &'e Json<'e> {
        self.get("user_data").get(key)
    }

    fn custom(&self, key: &str) -> &'e Json<'e> {
        self.get("custom_data").get(key)
    }

    fn is_purchase(&self) -> bool {
        self.get("event_name").text() == Some("Purchase")
    }

    fn is_website(&self) -> bool {
        self.get("action_source").text() == Some("website")
    }

    fn schema(&self, what: &str) -> Refusal {
        Refusal::Schema(what.to_owned(), format!("$['data'][{}]", self.index))
    }
}

fn parameter(what: &str) -> Refusal {
    Refusal::Parameter(what.to_owned())
}

#[cfg(test)]
mod tests;
