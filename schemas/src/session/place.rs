//! Where a browser was when an event happened: the page, what Meta knows the browser by, and how Meta may use it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Event;
use crate::{
    click,
    data_use::DataUse,
    fact::Context,
    json::{self, Fields},
    raw::Raw,
    time::Time,
};

/// Longest address of a page in bytes.
const URL_BYTES_MAX: usize = 2_048;
/// Longest cookie of Meta in bytes: a click id may have 500.
const COOKIE_BYTES_MAX: usize = 700;

/// Where the browser was when an event happened, from the batch's `page` and `ids` and what the door saw.
pub fn context(raw: &Raw<'_>, event: &Event<'_>, at: Time) -> Context {
    let text = |fields: &Fields<'_>, name: &str, bytes_max: usize| {
        let text = json::string(fields.get(name)?)?;
        (!text.is_empty() && text.len() <= bytes_max).then(|| text.into_owned())
    };
    let (page, ids) = (fields(raw.page), fields(raw.ids));
    let cookie = |name: &str| text(&ids, name, COOKIE_BYTES_MAX).filter(|cookie| click::is_cookie(cookie));
    let [url, referrer] = ["url", "referrer"].map(|name| text(&page, name, usize::MAX)); // the body has its bound
    Context {
        fbp: cookie("fbp"),
        fbc: fbc(cookie("fbc"), url.as_deref(), referrer.as_deref(), raw.attribution, at),
        client_ip: raw.client_ip.as_deref().map(str::to_owned),
        user_agent: raw.user_agent.as_deref().map(str::to_owned),
        url: url.and_then(shortened),
        referrer: referrer.and_then(shortened),
        data_use: event.data_use.or_else(|| DataUse::told_in(event.props?.get())).or_else(|| DataUse::told_in(raw.person?.get())),
        visitor_id: None,
    }
}

/// An address that is too long goes without its query, which is worth less than saying where it happened.
fn shortened(mut url: String) -> Option<String> {
    if url.len() > URL_BYTES_MAX {
        url.truncate(url.find(['?', '#'])?);
    }
    (url.len() <= URL_BYTES_MAX).then_some(url)
}

/// Meta's click id: the cookie, unless the page was reached by another click. Without a cookie (it may be blocked, or the sender is not
/// our script) it is made from the address, else from the last touch of which the time is known.
fn fbc(cookie: Option<String>, url: Option<&str>, referrer: Option<&str>, attribution: Option<&RawValue>, at: Time) -> Option<String> {
    let clicked = url.and_then(click::of_url).or_else(|| referrer.and_then(click::of_url));
    match (clicked, cookie) {
        (Some(clicked), Some(cookie)) if click::of_cookie(&cookie) == Some(&clicked) => Some(cookie),
        (Some(clicked), _) => click::fbc(&clicked, at),
        (None, Some(cookie)) => Some(cookie),
        (None, None) => touched(&fields(attribution), at),
    }
}

/// The click of the newest touch that tells one and its moment: a click under a wrong moment is worse than none.
fn touched(attribution: &Fields<'_>, at: Time) -> Option<String> {
    ["last", "first"].into_iter().find_map(|touch| {
        let touch = fields(attribution.raw(touch));
        let text = |name: &str| json::string(touch.get(name)?);
        // A script before this one told the click itself.
        let clicked = text("landing").and_then(|landing| click::of_url(&landing)).or_else(|| text("fbclid").map(Cow::into_owned))?;
        let ms = touch.get("at")?.parse::<f64>().ok().filter(|ms| (1.0..=at.millis() as f64).contains(ms))?;
        click::fbc(&clicked, Time::from_millis(ms as i64))
    })
}

/// The fields of an object that was carried; none if it is no object.
fn fields(json: Option<&RawValue>) -> Fields<'_> {
    json.and_then(|json| Fields::parse(json.get()).ok()).unwrap_or_default()
}
