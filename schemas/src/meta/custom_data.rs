//! What it was about: value, contents and the page's own properties.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Conversion, personal,
    write::{self, Members},
};
use crate::{
    json::{self, Fields, Text},
    order::OrderId,
};

/// Deepest nesting of a custom property.
const NESTING_MAX: u8 = 16;

/// Writes `,"custom_data":{…}`, or nothing if there is nothing to say.
pub(super) fn write(out: &mut String, conversion: &Conversion<'_>) {
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
    if let Some(name) = content_name(conversion) {
        members.key(out, "content_name");
        write::string(out, name);
    }
    if let Some(order) = conversion.order_id {
        members.key(out, "order_id");
        write::string(out, order.as_str());
    }
    // Two readers could disagree about an object that repeats a name, so nothing of it is told.
    let properties = conversion.properties.and_then(|text| Fields::parse(text).ok());
    for (name, value) in properties.iter().flat_map(|fields| &fields.0) {
        property(out, &mut members, conversion, name, value.get());
    }
    if out.len() == empty {
        out.truncate(before);
    } else {
        members.end(out);
    }
}

/// The product's name, unless it is blank or tells who somebody is.
fn content_name<'a>(conversion: &Conversion<'a>) -> Option<&'a str> {
    conversion.product_name.filter(|name| !name.trim().is_empty() && !personal::has_email(name))
}

/// Writes one property if it is what its name says. A standard name with something else under it is left out.
fn property(out: &mut String, members: &mut Members, conversion: &Conversion<'_>, name: &str, value: &str) {
    match name {
        "value" | "currency" => {}
        "content_name" if content_name(conversion).is_some() => {}
        "order_id" if conversion.order_id.is_some() => {}
        "order_id" => {
            if let Ok(Some(order)) = OrderId::parse_json(value)
                && !personal::has_email(order.as_str())
            {
                members.key(out, name);
                write::string(out, order.as_str());
            }
        }
        "content_ids" => {
            if let Some(ids) = ids(value) {
                members.key(out, name);
                let mut list = Members::array();
                for id in ids {
                    list.next(out);
                    write::string(out, &id);
                }
                list.end(out);
            }
        }
        "contents" => {
            if let Some(items) = contents(value) {
                members.key(out, name);
                write_contents(out, &items);
            }
        }
        "item_number" => {
            if let Some(id) = id(value) {
                members.key(out, name);
                write::string(out, &id);
            }
        }
        _ => {
            if may_pass(name, value) {
                members.next(out);
                write::string(out, name);
                out.push(':');
                out.push_str(value);
            }
        }
    }
}

/// Whether a property may go out as it came.
fn may_pass(name: &str, value: &str) -> bool {
    match name {
        "content_name" | "content_category" | "content_type" | "search_string" | "lead_event_source" => is_text(value),
        "num_items" => is_count(value),
        "predicted_ltv" | "net_revenue" => is_number(value),
        "status" => is_text(value) || matches!(value, "true" | "false"), // Meta's pages say boolean, its kits say text
        "delivery_category" => is_delivery_category(value),
        "customer_segmentation" => is_customer_segmentation(value),
        _ => !name.is_empty() && !personal::is_personal(name) && !personal::has_email(name) && is_harmless(value),
    }
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

/// A JSON string that says something, and nothing of who somebody is.
fn is_text(value: &str) -> bool {
    value.len() > 2 && value.starts_with('"') && is_readable(value) && !personal::has_email(value)
}

/// Whether the escapes of a JSON string make characters: half a surrogate pair does not.
fn is_readable(value: &str) -> bool {
    !value.contains('\\') || json::string(value).is_some()
}

/// A JSON number that a double can hold.
fn is_number(value: &str) -> bool {
    value.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && value.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A whole number from 0.
fn is_count(value: &str) -> bool {
    value.len() <= 15 && value.bytes().all(|b| b.is_ascii_digit())
}

/// An id: a string, or a whole number as its digits.
fn id(value: &str) -> Option<Cow<'_, str>> {
    let id = match value.as_bytes().first()? {
        b'"' if !personal::has_email(value) => json::string(value)?,
        b'0'..=b'9' if value.bytes().all(|b| b.is_ascii_digit()) => Cow::Borrowed(value),
        _ => return None,
    };
    (!id.trim().is_empty()).then_some(id)
}

/// Ids in a list; one that stands alone is a list of one.
fn ids(value: &str) -> Option<Vec<Cow<'_, str>>> {
    if !value.starts_with('[') {
        return id(value).map(|id| vec![id]);
    }
    let values: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    let ids: Vec<_> = values.into_iter().map(|value| id(value.get())).collect::<Option<_>>()?;
    (!ids.is_empty()).then_some(ids)
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

fn write_contents(out: &mut String, items: &[(Cow<'_, str>, Item<'_>)]) {
    let mut list = Members::array();
    for (id, item) in items {
        list.next(out);
        let mut members = Members::object();
        members.key(out, "id");
        write::string(out, id);
        let told: [(&str, Option<&RawValue>, IsRight); 7] = [
            ("quantity", item.quantity, is_count),
            ("item_price", item.price, is_number),
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

/// Whether a custom property tells nothing of who somebody is, at any depth, and every reader of JSON can read it. Null says
/// nothing and is left out.
fn is_harmless(value: &str) -> bool {
    match value.as_bytes().first() {
        Some(b'"') => is_readable(value) && !personal::has_email(value),
        Some(b't' | b'f') => true,
        Some(b'{' | b'[') => {
            let mut reader = serde_json::Deserializer::from_str(value);
            Harmless { depth: 0 }.deserialize(&mut reader).is_ok()
        }
        _ => is_number(value),
    }
}

/// Reads through a value and fails at the first thing that must not go out.
#[derive(Clone, Copy)]
struct Harmless {
    depth: u8,
}

impl Harmless {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == NESTING_MAX { Err(E::custom("nested too deeply")) } else { Ok(Self { depth: self.depth + 1 }) }
    }
}

impl<'de> DeserializeSeed<'de> for Harmless {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Harmless {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property that tells nothing of who somebody is")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        if personal::has_email(text) { Err(E::custom("an e-mail address")) } else { Ok(()) }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            if personal::is_personal(&name) || personal::has_email(&name) {
                return Err(de::Error::custom("a person's data"));
            }
            map.next_value_seed(inner)?;
        }
        Ok(())
    }
}
