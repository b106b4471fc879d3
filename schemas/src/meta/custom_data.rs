//! What it was about: value, contents and the page's own properties.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Conversion, personal,
    value::{count, id, ids, is_harmless, is_text, number},
    write::{self, Members},
};
use crate::{
    data_use,
    json::{self, Fields},
    money::Currency,
    order::OrderId,
};

/// Writes `,"custom_data":{…}`, or nothing if there is nothing to say. Properties that are not told go to `left_out`, as the members of
/// an object, unless they may tell who somebody is.
pub(super) fn write(out: &mut String, left_out: &mut String, conversion: &Conversion<'_>) {
    let before = out.len();
    out.push_str(",\"custom_data\":");
    let empty = out.len();
    let mut members = Members::object();
    if let Some(money) = conversion.money {
        members.key(out, "value");
        out.push_str(&money.decimal());
        members.key(out, "currency");
        write::string(out, money.currency.code());
    }
    if let Some(order) = conversion.order_id {
        members.key(out, "order_id");
        write::string(out, order.as_str());
    }
    if let Some(name) = content_name(conversion) {
        members.key(out, "content_name");
        write::string(out, name);
    }
    // Two readers could disagree about an object that repeats a name, so nothing of it is told.
    let properties = conversion.properties.and_then(|text| Fields::parse(text).ok());
    for (name, value) in properties.iter().flat_map(|fields| &fields.0) {
        if !is_said(conversion, name) && !property(out, &mut members, name, value.get()) && is_custom(name, value.get()) {
            write::member(left_out, name, value.get());
        }
    }
    if out.len() == empty {
        out.truncate(before);
    } else {
        members.end(out);
    }
}

/// Why a purchase has no value: a stable word, and what a marketer can do about it.
pub(super) fn why_worthless(properties: Option<&str>) -> (&'static str, &'static str) {
    let fields = properties.and_then(|text| Fields::parse(text).ok()).unwrap_or_default();
    let is_unknown = |json: &str| json::string(json).is_none_or(|text| Currency::parse(&text).is_err());
    // What tells who somebody is counts as absent: a dispatch does not keep it, and must say the same when it is rendered again.
    let get = |name: &str| fields.get(name).filter(|value| is_custom(name, value));
    match (get("value"), get("currency")) {
        (None, _) => ("purchase_without_value", "Meta takes no purchase without an amount and a currency. Send both with the purchase."),
        (Some(_), Some(currency)) if is_unknown(currency) => (
            "purchase_currency_unknown",
            "The purchase's currency is none that Meta knows. Send the three letters of ISO 4217, for example USD.",
        ),
        (Some(_), _) => (
            "purchase_value_unreadable",
            "The purchase's amount is not a number that can be told. Send it as 49.99: a point, no currency sign, nothing between thousands.",
        ),
    }
}

/// The product's name, unless it is blank or tells who somebody is.
fn content_name<'a>(conversion: &Conversion<'a>) -> Option<&'a str> {
    conversion.product_name.filter(|name| !name.trim().is_empty() && !personal::has_email(name))
}

/// Whether what a property is about is told elsewhere: in Meta's event itself, or by what the conversion knows better.
fn is_said(conversion: &Conversion<'_>, name: &str) -> bool {
    match name {
        "value" | "currency" => conversion.money.is_some(),
        "content_name" => content_name(conversion).is_some(),
        "order_id" => conversion.order_id.is_some(),
        _ => data_use::FIELDS.contains(&name),
    }
}

/// Writes one property if it is what its name says, and says whether it did.
fn property(out: &mut String, members: &mut Members, name: &str, value: &str) -> bool {
    let mut key = |out: &mut String| members.key(out, name);
    match name {
        "value" | "currency" => return false,
        "order_id" => match OrderId::parse_json(value) {
            Ok(Some(order)) if !personal::has_email(order.as_str()) => {
                key(out);
                write::string(out, order.as_str());
            }
            _ => return false,
        },
        "item_number" => {
            let Some(id) = id(value) else { return false };
            key(out);
            write::string(out, &id);
        }
        "content_ids" => {
            let list = as_array(value);
            let Some(ids) = ids(&list) else { return false };
            key(out);
            let mut list = Members::array();
            for id in ids {
                list.next(out);
                write::string(out, &id);
            }
            list.end(out);
        }
        "contents" => {
            let list = as_array(value);
            let Some(items) = contents(&list) else { return false };
            key(out);
            write_contents(out, &items);
        }
        "num_items" => {
            let Some(count) = count(value) else { return false };
            key(out);
            out.push_str(&count);
        }
        "predicted_ltv" | "net_revenue" => {
            let Some(number) = number(value) else { return false };
            key(out);
            out.push_str(&number);
        }
        _ => {
            if !may_pass(name, value) {
                return false;
            }
            members.next(out);
            write::string(out, name);
            out.push(':');
            out.push_str(value);
        }
    }
    true
}

/// Whether a property may go out as it came.
fn may_pass(name: &str, value: &str) -> bool {
    match name {
        "content_name" | "content_category" | "content_type" | "search_string" | "lead_event_source" => is_text(value),
        "status" => is_text(value) || matches!(value, "true" | "false"), // Meta's pages say boolean, its kits say text
        "delivery_category" => is_delivery_category(value),
        "customer_segmentation" => is_customer_segmentation(value),
        _ => is_custom(name, value),
    }
}

/// Whether neither name nor value tells who somebody is, and every reader of JSON can read both.
fn is_custom(name: &str, value: &str) -> bool {
    !name.is_empty() && !personal::is_personal(name) && !personal::has_email(name) && is_harmless(value)
}

fn is_delivery_category(value: &str) -> bool {
    matches!(value, r#""in_store""# | r#""curbside""# | r#""home_delivery""#)
}

fn is_customer_segmentation(value: &str) -> bool {
    let group = |word: &str| matches!(word, "business" | "business_line" | "product_area" | "medium");
    let word = value.trim_matches('"');
    is_text(value)
        && (word == "customer_in_loyalty_program"
            || word.strip_prefix("new_customer_to_").is_some_and(group)
            || word.strip_prefix("existing_customer_to_").is_some_and(group))
}

/// A list as an array, also one that came as its own text: a page with an old Prototype.js writes all of them so.
fn as_array(value: &str) -> Cow<'_, str> {
    let is_array = |text: &str| text.starts_with('[') && serde_json::from_str::<Vec<&RawValue>>(text).is_ok();
    json::string(value).filter(|text| is_array(text)).unwrap_or(Cow::Borrowed(value))
}

/// One entry of `contents`; a name that Meta does not list is not told.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    quantity: Option<&'a RawValue>,
    #[serde(rename = "item_price")]
    price: Option<&'a RawValue>,
    delivery_category: Option<&'a RawValue>,
    title: Option<&'a RawValue>,
    description: Option<&'a RawValue>,
    brand: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
}

/// The entries with their ids. Meta refuses the batch for one entry without an id, so one makes the list malformed.
fn contents(value: &str) -> Option<Vec<(Cow<'_, str>, Item<'_>)>> {
    let items: Vec<Item<'_>> = serde_json::from_str(value).ok()?;
    let items: Vec<_> = items.into_iter().map(|item| Some((id(item.id?.get())?, item))).collect::<Option<_>>()?;
    (!items.is_empty()).then_some(items)
}

/// Whether a value is what its name says.
type IsRight = fn(&str) -> bool;

/// Meta asks for a quantity with each entry: whoever tells none means one.
fn write_contents(out: &mut String, items: &[(Cow<'_, str>, Item<'_>)]) {
    let mut list = Members::array();
    for (id, item) in items {
        list.next(out);
        let mut members = Members::object();
        members.key(out, "id");
        write::string(out, id);
        members.key(out, "quantity");
        out.push_str(&item.quantity.and_then(|value| count(value.get())).unwrap_or(Cow::Borrowed("1")));
        if let Some(price) = item.price.and_then(|value| number(value.get())) {
            members.key(out, "item_price");
            out.push_str(&price);
        }
        let told: [(&str, Option<&RawValue>, IsRight); 5] = [
            ("delivery_category", item.delivery_category, is_delivery_category),
            ("title", item.title, is_text),
            ("description", item.description, is_text),
            ("brand", item.brand, is_text),
            ("category", item.category, is_text),
        ];
        for (name, value, is_right) in told {
            if let Some(value) = value.map(RawValue::get).filter(|value| is_right(value)) {
                members.key(out, name);
                out.push_str(value);
            }
        }
        members.end(out);
    }
    list.end(out);
}
