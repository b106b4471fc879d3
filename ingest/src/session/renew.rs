//! A door on a host of the site's own writes the browser's ids anew as cookies of its own: some browsers end what a script wrote after seven
//! days, and keep what the site's own host wrote.
//!
//! It rides on the answer to events, at most once a day: a marker, which only we read, says that it was done.

use axum::http::{
    HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use schemas::{
    click,
    id::VisitorId,
    json::{self, Fields},
    raw::Consent,
    session::Batch,
    site::{Keeping, Site},
};

use crate::{Reply, call::Call};

const DAY_S: u32 = 86_400;
/// As long as the script writes them: browsers cap cookies at 400 days.
const VISITOR_S: u32 = 390 * DAY_S;
const META_S: u32 = 90 * DAY_S;
/// Says that a renewal was done within the last day.
const MARKER: &str = "_rm_set";
/// Longest id that is written: a click id has at most 500 bytes.
const ID_BYTES_MAX: usize = 700;

/// Adds the cookies to an answer, where the site wants them and the page and the door at `base` are both its own.
pub(super) fn cookies(site: &Site, base: &str, call: &Call, batch: &Batch<'_>, consent: Option<Consent>, reply: &mut Reply) {
    let Some((scheme, rest)) = base.split_once("://") else { return };
    let host = rest.split('/').next().unwrap_or_default();
    let is_own_page = call.origin().and_then(|origin| origin.split("://").nth(1)).is_some_and(|host| site.owns(host));
    let may = site.storage == Keeping::Cookie && !matches!(consent, Some(Consent::Denied | Consent::Pending));
    if !may || !is_own_page || !site.owns(host) || is_marked(call) {
        return;
    }
    let ids = batch.ids.and_then(|ids| Fields::parse(ids.get()).ok()).unwrap_or_default();
    let meta = |name: &str| ids.get(name).and_then(json::string).filter(|id| click::is_cookie(id));
    let visitor = batch.events.last().and_then(|event| {
        let id = json::string(Fields::parse(event.get()).ok()?.get("visitor_id")?)?;
        VisitorId::parse(&id).ok().map(|_| id.into_owned())
    });
    let secure = if scheme == "https" { "; Secure" } else { "" };
    for (name, id, age_s, rest) in [
        ("_rm_vid", visitor.as_deref(), VISITOR_S, ""),
        ("_fbp", meta("fbp").as_deref(), META_S, ""),
        ("_fbc", meta("fbc").as_deref(), META_S, ""),
        (MARKER, Some("1"), DAY_S, "; HttpOnly"),
    ] {
        let Some(id) = id.filter(|id| is_value(id)) else { continue };
        let cookie = format!("{name}={id}; Path=/; Domain={}; Max-Age={age_s}; SameSite=Lax{secure}{rest}", site.cookie_domain);
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            reply.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}

fn is_marked(call: &Call) -> bool {
    let cookies = call.headers().get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).any(|cookie| cookie.trim().split('=').next() == Some(MARKER))
}

/// What a cookie may hold: RFC 6265, 4.1.1.
fn is_value(id: &str) -> bool {
    let is_octet = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_octet)
}
