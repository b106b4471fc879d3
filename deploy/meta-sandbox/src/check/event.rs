//! Rules about the event itself: its keys, its time, where it happened.

use super::{Event, parameter};
use crate::json::Json;
use crate::refusal::Refusal;

const KEYS: [&str; 16] = [
    "event_name",
    "event_time",
    "event_id",
    "user_data",
    "custom_data",
    "action_source",
    "event_source_url",
    "referrer_url",
    "opt_out",
    "data_processing_options",
    "data_processing_options_country",
    "data_processing_options_state",
    "original_event_data",
    "app_data",
    "messaging_channel",
    "attribution_data",
];
/// Of a restricted product; the SDKs know it.
const RARE_KEY: &str = "advanced_measurement_table";

const ACTION_SOURCES: [&str; 9] =
    ["website", "email", "app", "phone_call", "chat", "physical_store", "system_generated", "business_messaging", "other"];

const DAY_S: i64 = 86_400;
/// One event older than this and Meta refuses the whole request.
const AGE_MAX_S: i64 = 7 * DAY_S;
/// Shops may upload what their tills collected.
const AGE_MAX_IN_STORE_S: i64 = 62 * DAY_S;
/// Meta's tolerance is not documented; a minute covers clocks that are kept in time.
const AHEAD_MAX_S: i64 = 60;

pub(super) fn no_object(event: &Event) -> Option<Refusal> {
    (!matches!(event.json, Json::Object(_))).then(|| event.schema("an event must be an object"))
}

pub(super) fn key_unknown(event: &Event) -> Option<Refusal> {
    let (unknown, _) = event.json.fields().iter().find(|(key, _)| !KEYS.contains(&key.as_ref()) && key != RARE_KEY)?;
    Some(event.schema(&format!("unexpected key \"{unknown}\"")))
}

pub(super) fn name_missing(event: &Event) -> Option<Refusal> {
    event.get("event_name").text().is_none_or(str::is_empty).then(|| event.schema("\"event_name\" must be a string"))
}

pub(super) fn time_missing(event: &Event) -> Option<Refusal> {
    time(event).is_none().then(|| event.schema("\"event_time\" must be an integer"))
}

pub(super) fn user_data_missing(event: &Event) -> Option<Refusal> {
    (!matches!(event.get("user_data"), Json::Object(_))).then(|| event.schema("\"user_data\" must be an object"))
}

pub(super) fn custom_data_no_object(event: &Event) -> Option<Refusal> {
    (!matches!(event.get("custom_data"), Json::Object(_) | Json::Null)).then(|| event.schema("\"custom_data\" must be an object"))
}

pub(super) fn id_no_string(event: &Event) -> Option<Refusal> {
    (!matches!(event.get("event_id"), Json::Text(_) | Json::Null)).then(|| event.schema("\"event_id\" must be a string"))
}

pub(super) fn too_old(event: &Event) -> Option<Refusal> {
    let in_store = event.get("action_source").text() == Some("physical_store");
    let age_max_s = if in_store { AGE_MAX_IN_STORE_S } else { AGE_MAX_S };
    (event.now_s.saturating_sub(time(event)?) > age_max_s).then_some(Refusal::TooOld)
}

pub(super) fn in_future(event: &Event) -> Option<Refusal> {
    (time(event)?.saturating_sub(event.now_s) > AHEAD_MAX_S).then_some(Refusal::InFuture)
}

pub(super) fn action_source_missing(event: &Event) -> Option<Refusal> {
    event.get("action_source").is_empty().then(|| parameter("action_source is missing"))
}

pub(super) fn action_source_unknown(event: &Event) -> Option<Refusal> {
    match event.get("action_source") {
        source if source.is_empty() => None,
        Json::Text(source) if ACTION_SOURCES.contains(&source.as_ref()) => None,
        _ => Some(parameter("action_source is none of the known ones")),
    }
}

pub(super) fn website_without_user_agent(event: &Event) -> Option<Refusal> {
    (event.is_website() && event.person("client_user_agent").is_empty())
        .then(|| parameter("a website event needs user_data.client_user_agent"))
}

pub(super) fn website_without_url(event: &Event) -> Option<Refusal> {
    (event.is_website() && event.get("event_source_url").is_empty()).then(|| parameter("a website event needs event_source_url"))
}

pub(super) fn processing_options_malformed(event: &Event) -> Option<Refusal> {
    let [options, country, state] =
        ["data_processing_options", "data_processing_options_country", "data_processing_options_state"].map(|key| event.get(key));
    let options_fit = match options {
        Json::Null => true,
        Json::List(options) => options.iter().all(|option| option.text() == Some("LDU")),
        _ => false,
    };
    let country_fits = matches!(country, Json::Null | Json::Integer(0 | 1));
    let state_fits = matches!(state, Json::Null | Json::Integer(0 | 1000..=1013));
    let state_given = *country == Json::Null || *state != Json::Null;
    (!(options_fit && country_fits && state_fits && state_given)).then(|| parameter("data_processing_options are malformed"))
}

fn time(event: &Event) -> Option<i64> {
    if let Json::Integer(seconds) = event.get("event_time") { Some(*seconds) } else { None }
}
