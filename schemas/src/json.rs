//! Small readers of JSON text that keep what came as it came.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A string that borrows from its source where it has no escapes.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The fields of a JSON object in their order, values as text. A repeated name is an error: two readers could disagree about it.
#[derive(Debug, Default)]
pub struct Fields<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

/// The words by which a repeated name is recognised in an error of `serde_json`, which only carries text.
const DUPLICATE: &str = "duplicate key ";

/// Up to so many names a repeated one is searched for; beyond, they are hashed, because a body full of names would take a tenth of a
/// second to search.
const SEARCHED_MAX: usize = 32;

/// Why a text is not the object that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldsError {
    /// Not JSON; with the parser's reason.
    NotJson(String),
    /// JSON, but not an object.
    NotAnObject,
    /// The same name twice.
    Duplicate(String),
}

impl<'a> Fields<'a> {
    /// Reads an object.
    pub fn parse(text: &'a str) -> Result<Self, FieldsError> {
        match serde_json::from_str(text) {
            Ok(fields) => Ok(fields),
            Err(error) => Err(match error.to_string().strip_prefix(DUPLICATE) {
                Some(rest) => FieldsError::Duplicate(rest.rsplit_once(" at line").map_or(rest, |(name, _)| name).to_owned()),
                None if error.is_data() => FieldsError::NotAnObject,
                None => FieldsError::NotJson(error.to_string()),
            }),
        }
    }

    /// A field's value; `None` if it is absent or null.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        (value.get() != "null").then_some(*value)
    }

    /// The text of a field's value; `None` if it is absent or null.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.raw(name).map(RawValue::get)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(12);
                let mut names = HashSet::new();
                while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                    let is_repeated = if fields.len() < SEARCHED_MAX {
                        fields.iter().any(|(known, _)| *known == name)
                    } else {
                        if names.is_empty() {
                            names.extend(fields.iter().map(|(known, _)| known.clone()));
                        }
                        !names.insert(name.clone())
                    };
                    if is_repeated {
                        return Err(de::Error::custom(format_args!("{DUPLICATE}{name}")));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Object)
    }
}

/// The text of a JSON string; `None` if the value is something else.
pub fn string(json: &str) -> Option<Cow<'_, str>> {
    if json.starts_with('"') { serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0) } else { None }
}

/// The name of a repeated key anywhere inside a JSON text.
pub fn duplicate_key(json: &str) -> Option<String> {
    struct Any;
    impl<'de> Deserialize<'de> for Any {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(Any)
        }
    }
    impl<'de> Visitor<'de> for Any {
        type Value = Any;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JSON")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Any, E> {
            Ok(Any)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Any, E> {
            Ok(Any)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Any, E> {
            Ok(Any)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Any, E> {
            Ok(Any)
        }
        fn visit_str<E>(self, _: &str) -> Result<Any, E> {
            Ok(Any)
        }
        fn visit_unit<E>(self) -> Result<Any, E> {
            Ok(Any)
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Any, A::Error> {
            while seq.next_element::<Any>()?.is_some() {}
            Ok(Any)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
            let mut names = HashSet::new();
            while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                if names.contains(&name) {
                    return Err(de::Error::custom(format_args!("{DUPLICATE}{name}")));
                }
                names.insert(name);
                map.next_value::<Any>()?;
            }
            Ok(Any)
        }
    }
    let error = serde_json::from_str::<Any>(json).err()?.to_string();
    let rest = error.strip_prefix(DUPLICATE)?;
    Some(rest.rsplit_once(" at line").map_or(rest, |(name, _)| name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_name_is_found_at_any_depth() {
        assert_eq!(Fields::parse(r#"{"a":1,"a":2}"#).err(), Some(FieldsError::Duplicate("a".into())));
        let many = (0..100).fold(String::new(), |text, at| text + &format!("\"k{at}\":1,"));
        assert_eq!(Fields::parse(&format!("{{{many}\"k7\":2}}")).err(), Some(FieldsError::Duplicate("k7".into())));
        assert_eq!(Fields::parse(&format!("{{{many}\"k99\":2}}")).err(), Some(FieldsError::Duplicate("k99".into())));
        assert_eq!(Fields::parse(&format!("{{{many}\"k100\":2}}")).map(|fields| fields.0.len()), Ok(101));
        assert_eq!(Fields::parse(r#"{"a":1,"\u0061":2}"#).err(), Some(FieldsError::Duplicate("a".into())));
        assert_eq!(duplicate_key(r#"{"m":{"x":[{"y":1,"y":2}]}}"#), Some("y".into()));
        assert_eq!(duplicate_key(r#"{"m":{"x":[{"y":1e400}]}}"#), None);
        assert_eq!(duplicate_key(r#"{"x":{"a":1},"y":{"a":1}}"#), None);
    }

    #[test]
    fn other_shapes_are_told_apart() {
        assert_eq!(Fields::parse("[]").err(), Some(FieldsError::NotAnObject));
        assert_eq!(Fields::parse("7").err(), Some(FieldsError::NotAnObject));
        assert!(matches!(Fields::parse("{"), Err(FieldsError::NotJson(_))));
        assert!(matches!(Fields::parse("{} x"), Err(FieldsError::NotJson(_))));
        assert_eq!(Fields::parse(r#"{"a":null,"b":1}"#).map(|f| (f.get("a"), f.get("b"))), Ok((None, Some("1"))));
    }
}
