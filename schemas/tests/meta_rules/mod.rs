//! Meta's rules for one event, in the strict reading of its documentation: what the endpoint refuses, and what it only frowns at.

use serde_json::{Map, Value};

/// Keys of an event object; another one is refused.
const EVENT: [&str; 14] = [
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
];
const HASHED: [&str; 10] = ["em", "ph", "fn", "ln", "ge", "db", "ct", "st", "zp", "country"];
const SOURCES: [&str; 9] =
    ["website", "email", "app", "phone_call", "chat", "physical_store", "system_generated", "business_messaging", "other"];
const TOO_BROAD: [&[&str]; 4] =
    [&["ct", "country", "st", "zp", "ge", "client_user_agent"], &["db", "client_user_agent"], &["fn", "ge"], &["ln", "ge"]];

/// The first rule that the event breaks, if it is sent at `now` (Unix seconds).
pub fn fault(event: &Value, now: i64) -> Option<String> {
    check(event, now).err()
}

fn check(event: &Value, now: i64) -> Result<(), String> {
    let event = event.as_object().ok_or("not an object")?;
    if let Some(key) = event.keys().find(|key| !EVENT.contains(&key.as_str())) {
        return Err(format!("unknown key {key}"));
    }
    let name = text(event, "event_name")?;
    must(!name.trim().is_empty() && name.chars().count() <= 50 && !name.contains(char::is_control), "event_name")?;
    must(!text(event, "event_id")?.is_empty(), "event_id")?;
    let time = event.get("event_time").and_then(Value::as_i64).ok_or("event_time is not a whole number")?;
    must(now - time <= 604_800, "event_time is too old")?;
    must(time - now <= 60, "event_time lies in the future")?;
    let source = text(event, "action_source")?;
    must(SOURCES.contains(&source), "action_source")?;
    let user = event.get("user_data").and_then(Value::as_object).ok_or("user_data is not an object")?;
    user_data(user)?;
    if source == "website" {
        must(user.contains_key("client_user_agent"), "a website without client_user_agent")?;
        must(event.contains_key("event_source_url"), "a website without event_source_url")?;
    }
    for key in ["event_source_url", "referrer_url"].into_iter().filter(|key| event.contains_key(*key)) {
        let url = text(event, key)?.to_ascii_lowercase();
        must(url.starts_with("https://") || url.starts_with("http://"), key)?;
    }
    let none = Map::new();
    let custom = match event.get("custom_data") {
        Some(custom) => custom.as_object().ok_or("custom_data is not an object")?,
        None => &none,
    };
    custom_data(custom)?;
    if name == "Purchase" {
        must(custom.contains_key("value"), "a purchase without value")?;
        must(custom.contains_key("currency"), "a purchase without currency")?;
    }
    Ok(())
}

fn user_data(user: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in user {
        match key.as_str() {
            hashed if HASHED.contains(&hashed) => {
                let list = value.as_array().ok_or_else(|| format!("{key} is not a list"))?;
                must(!list.is_empty() && list.iter().all(|one| one.as_str().is_some_and(is_digest)), &format!("{key} is not hashed"))?;
            }
            "external_id" => {
                let list = value.as_array().ok_or("external_id is not a list")?;
                must(!list.is_empty() && list.iter().all(|one| one.as_str().is_some_and(is_digest)), "external_id")?;
                must((1..list.len()).all(|at| !list[..at].contains(&list[at])), "external_id repeats")?;
            }
            "client_user_agent" => must(value.as_str().is_some_and(|agent| !agent.trim().is_empty()), key)?,
            "client_ip_address" => must(value.as_str().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()), key)?,
            "fbp" | "fbc" => {
                let parts: Vec<_> = value.as_str().ok_or("not a text")?.split('.').collect();
                must(
                    (4..=5).contains(&parts.len()) && parts[0] == "fb" && parts[1..3].iter().all(|part| part.parse::<u64>().is_ok()),
                    key,
                )?;
            }
            _ => return Err(format!("unknown key {key} in user_data")),
        }
    }
    let broad = TOO_BROAD.iter().any(|set| user.keys().all(|key| set.contains(&key.as_str())));
    must(!broad, "user_data is too broad")
}

fn custom_data(custom: &Map<String, Value>) -> Result<(), String> {
    must(custom.contains_key("value") == custom.contains_key("currency"), "value and currency go together")?;
    for (key, value) in custom {
        let is_right = match key.as_str() {
            "value" => value.as_f64().is_some_and(|value| value >= 0.0),
            "predicted_ltv" | "net_revenue" => value.is_number(),
            "currency" => value.as_str().is_some_and(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase())),
            "num_items" => value.is_u64(),
            "content_ids" => value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string)),
            "contents" => value.as_array().is_some_and(|list| {
                list.iter().all(|item| {
                    item["id"].is_string() && item["quantity"].is_u64() && (item["item_price"].is_null() || item["item_price"].is_number())
                })
            }),
            "content_name"
            | "content_category"
            | "content_type"
            | "search_string"
            | "order_id"
            | "item_number"
            | "delivery_category"
            | "customer_segmentation"
            | "lead_event_source" => value.is_string(),
            "status" => value.is_string() || value.is_boolean(),
            // A person's field must never be a custom property.
            "email" | "phone" | "first_name" | "last_name" | "external_id" | "client_ip_address" | "fbp" | "fbc" => false,
            custom => !custom.is_empty() && !HASHED.contains(&custom),
        };
        must(is_right, &format!("custom_data.{key}"))?;
    }
    Ok(())
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    object.get(key).and_then(Value::as_str).ok_or_else(|| format!("{key} is not a text"))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn must(is_so: bool, rule: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(rule.to_owned()) }
}
