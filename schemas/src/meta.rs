//! A fact in Meta's words: one conversion rendered as the JSON of its event, and checked against the rules by which Meta would
//! refuse the whole batch it travels in.
//!
//! What is only doubtful is left out and the event is kept; what Meta refuses is withheld by [`check`] with a reason. What depends
//! on the time of sending is [`too_old`] and [`clamped`], for the sink to ask.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{
    data_use::{self, DataUse},
    dispatch::Withheld,
    fact::{Context, LegName},
    money::Money,
    order::OrderId,
    person::{Digest, Person},
    time::{DAY_US, SECOND_US, Time},
};

mod again;
mod custom_data;
mod device;
mod personal;
mod url;
mod user_data;
mod value;
mod write;

/// Longest event name in characters. Meta publishes no limit for custom names; 50 is what its own tools and partners keep to.
pub const EVENT_NAME_CHARS_MAX: usize = 50;

/// How old an event may be when it is sent. Meta refuses a whole batch for one event older than seven days; ten minutes of that
/// are kept back for the request on its way and for two clocks that differ.
pub const AGE_MAX_US: i64 = 7 * DAY_US - 600 * SECOND_US;

/// Longest test event code in bytes. Meta's are about ten.
pub const TEST_EVENT_CODE_BYTES_MAX: usize = 64;

pub use again::{Frozen, freeze, render_again};

/// Whether a text can be the code under which Meta's Test Events page shows what carries it.
pub fn is_test_event_code(text: &str) -> bool {
    (1..=TEST_EVENT_CODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// One conversion, ready to be said in Meta's words.
#[derive(Clone, Copy, Debug)]
pub struct Conversion<'a> {
    /// A standard name (`Purchase`) or a custom one; with `event_id`, what Meta folds pixel and server copies by.
    pub name: &'a str,
    /// The id that pixel and server share.
    pub event_id: &'a str,
    /// When the customer acted.
    pub event_time: Time,
    /// Where the customer acted: see [`ActionSource::honest`].
    pub action_source: ActionSource,
    /// Who acted.
    pub person: &'a Person,
    /// Further ids of the person beside the shop's own, such as the hashed visitor id.
    pub external_ids: &'a [Digest],
    /// Where the browser was. What of it is not usable is left out.
    pub context: &'a Context,
    /// What it is worth. It alone becomes `value` and `currency`, whatever the properties say.
    pub money: Option<Money>,
    /// The order. Without one, an `order_id` among the properties is told if it is one.
    pub order_id: Option<&'a OrderId>,
    /// What was bought; goes before a `content_name` among the properties.
    pub product_name: Option<&'a str>,
    /// The page's properties: a JSON object as it came.
    pub properties: Option<&'a str>,
}

/// Where a customer acted, in Meta's nine words. We assert that it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionSource {
    /// On a web page whose address and browser we know.
    Website,
    /// In an e-mail.
    Email,
    /// In an app.
    App,
    /// On the phone.
    PhoneCall,
    /// In a chat.
    Chat,
    /// In a shop with a door.
    PhysicalStore,
    /// By itself: a subscription that renews, or a backend that tells nothing of a browser.
    SystemGenerated,
    /// In a business's messaging thread.
    BusinessMessaging,
    /// Elsewhere.
    Other,
}

impl ActionSource {
    /// What may truly be said: `website` asks for a page address and a user agent. Without them a backend's event counts as
    /// `system_generated` and a page's as `other`, which ask for nothing.
    pub fn honest(leg: LegName, context: &Context) -> Self {
        match (is_website(context), leg) {
            (true, _) => Self::Website,
            (false, LegName::Server) => Self::SystemGenerated,
            (false, LegName::Browser) => Self::Other,
        }
    }

    /// Meta's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Website => "website",
            Self::Email => "email",
            Self::App => "app",
            Self::PhoneCall => "phone_call",
            Self::Chat => "chat",
            Self::PhysicalStore => "physical_store",
            Self::SystemGenerated => "system_generated",
            Self::BusinessMessaging => "business_messaging",
            Self::Other => "other",
        }
    }
}

fn is_website(context: &Context) -> bool {
    device::user_agent(context).is_some() && context.url.as_deref().is_some_and(url::is_web)
}

/// Meta's event. It never fails; whether it may be sent says [`check`].
pub fn render(conversion: &Conversion<'_>) -> String {
    render_and_gather(conversion, &mut String::new())
}

/// The same; the members of the properties that are not told are gathered in `left_out`.
fn render_and_gather(conversion: &Conversion<'_>, left_out: &mut String) -> String {
    let mut out = String::with_capacity(1_024 + conversion.properties.map_or(0, str::len));
    out.push_str("{\"event_name\":");
    write::string(&mut out, conversion.name);
    let _ = write!(out, ",\"event_time\":{}", conversion.event_time.seconds()); // a String takes every write
    out.push_str(",\"event_id\":");
    write::string(&mut out, conversion.event_id);
    out.push_str(",\"action_source\":\"");
    out.push_str(conversion.action_source.name());
    out.push('"');
    for (key, address) in [("event_source_url", &conversion.context.url), ("referrer_url", &conversion.context.referrer)] {
        if let Some(address) = address.as_deref().and_then(url::told) {
            write::key(&mut out, key);
            write::string(&mut out, &address);
        }
    }
    if let Some((country, state)) = conversion.context.data_use.and_then(DataUse::limit) {
        let [options, of_country, of_state] = data_use::FIELDS;
        let _ = write!(out, ",\"{options}\":[\"LDU\"],\"{of_country}\":{country},\"{of_state}\":{state}");
    }
    out.push_str(",\"user_data\":");
    user_data::write(&mut out, conversion);
    custom_data::write(&mut out, left_out, conversion);
    out.push('}');
    out
}

/// Every rule by which Meta would refuse the batch, whenever it is sent.
pub fn check(conversion: &Conversion<'_>) -> Result<(), Withheld> {
    let rule = |code: &str, message: &str| Err(Withheld::Invalid { code: code.to_owned(), message: message.to_owned() });
    if conversion.name.trim().is_empty() || conversion.name.contains(char::is_control) {
        return rule("event_name_missing", "Meta needs a name for the event. Name it, for example Purchase.");
    }
    if conversion.name.chars().count() > EVENT_NAME_CHARS_MAX {
        return rule("event_name_too_long", "The event's name has more than 50 characters. Choose a shorter one.");
    }
    if conversion.event_id.is_empty() {
        return rule("event_id_missing", "Without an event id Meta would count the browser's and the server's copy twice.");
    }
    if conversion.name == "Purchase" && conversion.money.is_none() {
        let (code, message) = custom_data::why_worthless(conversion.properties);
        return rule(code, message);
    }
    if conversion.action_source == ActionSource::Website && !is_website(conversion.context) {
        return rule("website_without_page", "Meta asks for the page's address and the browser's user agent with an event of a website.");
    }
    if user_data::is_too_broad(conversion) {
        return rule(
            "customer_too_broad",
            "What is known of the customer fits too many people for Meta to match. Send an e-mail address, a phone number or an own id, or let the page's script run.",
        );
    }
    Ok(())
}

/// Whether Meta would refuse the batch for this event's age ([`AGE_MAX_US`]).
pub fn too_old(event_time: Time, now: Time) -> bool {
    now.since(event_time) > AGE_MAX_US
}

/// The time to tell Meta, which refuses what lies in its future.
pub fn clamped(event_time: Time, now: Time) -> Time {
    event_time.min(now)
}
