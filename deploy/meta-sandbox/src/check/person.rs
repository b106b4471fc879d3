//! Rules about `user_data`: what must be a digest, and how much of it makes a person.

use std::net::IpAddr;

use super::{Event, parameter};
use crate::json::Json;
use crate::refusal::Refusal;

const HASHED: [&str; 10] = ["em", "ph", "fn", "ln", "ge", "db", "ct", "st", "zp", "country"];

const OTHER: [&str; 16] = [
    "external_id",
    "client_ip_address",
    "client_user_agent",
    "fbc",
    "fbp",
    "subscription_id",
    "lead_id",
    "fb_login_id",
    "anon_id",
    "madid",
    "page_id",
    "page_scoped_user_id",
    "ctwa_clid",
    "ig_account_id",
    "ig_sid",
    "whatsapp_business_account_id",
];

/// Whoever says nothing beyond one of these sets could be anybody.
const TOO_BROAD: [&[&str]; 4] =
    [&["ct", "country", "st", "zp", "ge", "client_user_agent"], &["db", "client_user_agent"], &["fn", "ge"], &["ln", "ge"]];

/// SHA-256 of the empty text: somebody hashed a field that was not there.
const DIGEST_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The two-letter appendices that Meta's own libraries wrote before the eight-letter ones.
const OLD_APPENDICES: [&str; 6] = ["AQ", "Ag", "Aw", "BA", "BQ", "Bg"];

pub(super) fn not_hashed(event: &Event) -> Option<Refusal> {
    HASHED.into_iter().find(|key| !each(event.person(key), is_digest)).map(Refusal::NotHashed)
}

pub(super) fn digest_of_nothing(event: &Event) -> Option<Refusal> {
    let honest = |text: &str| !text.starts_with(DIGEST_OF_NOTHING);
    HASHED.into_iter().find(|key| !each(event.person(key), honest)).map(Refusal::NotHashed)
}

/// Keys nobody knows are tolerated but say nothing about a person.
pub(super) fn too_broad(event: &Event) -> Option<Refusal> {
    let known = |key: &str| HASHED.contains(&key) || OTHER.contains(&key);
    let told = || event.get("user_data").fields().iter().filter(|(key, value)| known(key) && !value.is_empty());
    TOO_BROAD.iter().any(|set| told().all(|(key, _)| set.contains(&key.as_ref()))).then_some(Refusal::TooBroad)
}

pub(super) fn browser_identity_malformed(event: &Event) -> Option<Refusal> {
    let fit = [("fbp", is_cookie as fn(&str) -> bool), ("fbc", is_cookie), ("client_ip_address", is_address)];
    let (key, _) = fit.into_iter().find(|(key, fits)| match event.person(key) {
        Json::Null => false,
        Json::Text(text) => !fits(text),
        _ => true,
    })?;
    Some(parameter(&format!("user_data.{key} is malformed")))
}

/// Whether one text, or each of a list of texts, passes. Nothing passes too.
fn each(value: &Json, passes: impl Fn(&str) -> bool) -> bool {
    match value {
        Json::Null => true,
        Json::Text(text) => passes(text),
        Json::List(items) => items.iter().all(|item| item.text().is_some_and(&passes)),
        Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::Object(_) => false,
    }
}

fn is_digest(text: &str) -> bool {
    let (digest, appendix) = text.split_at_checked(64).unwrap_or((text, ""));
    digest.len() == 64
        && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && (appendix.is_empty() || appendix.strip_prefix('.').is_some_and(is_appendix))
}

fn is_appendix(text: &str) -> bool {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    OLD_APPENDICES.contains(&text) || text.len() == 8 && text.bytes().all(base64url)
}

/// `fb.{index}.{milliseconds}.{payload}`, and perhaps an appendix.
fn is_cookie(text: &str) -> bool {
    let decimal = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('.').collect();
    match parts.as_slice() {
        ["fb", index, time, payload] => decimal(index) && decimal(time) && !payload.is_empty(),
        ["fb", index, time, payload, appendix] => decimal(index) && decimal(time) && !payload.is_empty() && is_appendix(appendix),
        _ => false,
    }
}

fn is_address(text: &str) -> bool {
    let bare = text.rsplit_once('.').filter(|(_, appendix)| is_appendix(appendix)).map_or(text, |(address, _)| address);
    bare.parse::<IpAddr>().is_ok()
}
