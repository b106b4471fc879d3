//! A person: clear fields as a page or a backend sends them, normalised, hashed as Meta matches them, and sealed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{secret::Sealed, time::Time};

mod birth;
mod country;
mod normalise;
mod phone;
mod state;

pub use birth::date_of_birth;
pub use country::Country;
pub use normalise::{city, email, external_id, gender, name, state, zip};
pub use phone::phone;

/// A SHA-256 digest of a normalised value: 64 lower-case hex digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of the empty text, which must never be sent: everybody without a value would share it.
    const EMPTY: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
        0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// The digest of a normalised, non-empty text.
    pub fn of(normalised: &str) -> Self {
        Self(Sha256::digest(normalised.as_bytes()).into())
    }

    /// A digest that the caller computed: 64 hex digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        (text.len() == 64).then(|| hex::decode_to_slice(text, &mut bytes).ok())??;
        Some(Self(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).expect("64 is twice 32");
        f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hex digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                Digest::parse(text).ok_or_else(|| E::custom("not 64 hex digits"))
            }
        }
        from.deserialize_str(Text)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the normalised value"})
    }
}

/// What a page or a backend told us of a person, each field trimmed and never empty. It is sealed or hashed before it leaves
/// raw; its `Debug` says nothing.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearPerson {
    /// E-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Phone number with its country code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// First name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// The shop's own id of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// City.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State or province.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zip: Option<String>,
    /// Country: a code or an English name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Date of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_of_birth: Option<String>,
    /// Gender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
}

impl ClearPerson {
    /// These fields, completed by what was told earlier. Own fields win.
    #[must_use]
    pub fn or(self, earlier: Self) -> Self {
        Self {
            email: self.email.or(earlier.email),
            phone: self.phone.or(earlier.phone),
            first_name: self.first_name.or(earlier.first_name),
            last_name: self.last_name.or(earlier.last_name),
            customer_id: self.customer_id.or(earlier.customer_id),
            city: self.city.or(earlier.city),
            state: self.state.or(earlier.state),
            zip: self.zip.or(earlier.zip),
            country: self.country.or(earlier.country),
            date_of_birth: self.date_of_birth.or(earlier.date_of_birth),
            gender: self.gender.or(earlier.gender),
        }
    }
}

impl fmt::Debug for ClearPerson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClearPerson(…)")
    }
}

/// A person as facts, topics and ledger know them: digests of the normalised fields, and the clear fields sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// Digest of the e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_sha256: Option<Digest>,
    /// Digest of the phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_sha256: Option<Digest>,
    /// Digest of the first name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name_sha256: Option<Digest>,
    /// Digest of the last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name_sha256: Option<Digest>,
    /// Digest of the shop's own id of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id_sha256: Option<Digest>,
    /// Digest of the city.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city_sha256: Option<Digest>,
    /// Digest of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_sha256: Option<Digest>,
    /// Digest of the postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zip_sha256: Option<Digest>,
    /// Digest of the country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country_sha256: Option<Digest>,
    /// Digest of the date of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_of_birth_sha256: Option<Digest>,
    /// Digest of the gender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender_sha256: Option<Digest>,
    /// The clear fields, sealed under a key of this person; absent without an e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedPerson>,
}

/// Clear fields of a person, sealed; destroying the key makes them unreadable everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SealedPerson {
    /// Which of the person's keys opens it (table `person_keys`).
    pub key_id: Uuid,
    /// The sealed JSON of [`ClearPerson`].
    pub cell: Sealed,
}

impl Person {
    /// Digests of every field that is plausible; a field that is not is left out, and one that is a digest already stays.
    ///
    /// A phone number without a country code is read by the person's country, else by `default_country`. `now` bounds the date
    /// of birth.
    pub fn hashed(clear: &ClearPerson, default_country: Option<Country>, now: Time) -> Self {
        let country = clear.country.as_deref().and_then(Country::parse);
        Self {
            email_sha256: digest(clear.email.as_deref(), email),
            phone_sha256: digest(clear.phone.as_deref(), |text| phone(text, country.or(default_country))),
            first_name_sha256: digest(clear.first_name.as_deref(), name),
            last_name_sha256: digest(clear.last_name.as_deref(), name),
            customer_id_sha256: digest(clear.customer_id.as_deref(), external_id),
            city_sha256: digest(clear.city.as_deref(), city),
            state_sha256: digest(clear.state.as_deref(), state),
            zip_sha256: digest(clear.zip.as_deref(), |text| zip(text, country)),
            country_sha256: digest(clear.country.as_deref(), |_| country.map(|country| country.code().to_owned())),
            date_of_birth_sha256: digest(clear.date_of_birth.as_deref(), |text| date_of_birth(text, now)),
            gender_sha256: digest(clear.gender.as_deref(), gender),
            sealed: None,
        }
    }

    /// This person, completed by what an earlier event told of the same one. Own fields win; sealed fields are not inherited.
    #[must_use]
    pub fn or(self, earlier: &Self) -> Self {
        Self {
            email_sha256: self.email_sha256.or(earlier.email_sha256),
            phone_sha256: self.phone_sha256.or(earlier.phone_sha256),
            first_name_sha256: self.first_name_sha256.or(earlier.first_name_sha256),
            last_name_sha256: self.last_name_sha256.or(earlier.last_name_sha256),
            customer_id_sha256: self.customer_id_sha256.or(earlier.customer_id_sha256),
            city_sha256: self.city_sha256.or(earlier.city_sha256),
            state_sha256: self.state_sha256.or(earlier.state_sha256),
            zip_sha256: self.zip_sha256.or(earlier.zip_sha256),
            country_sha256: self.country_sha256.or(earlier.country_sha256),
            date_of_birth_sha256: self.date_of_birth_sha256.or(earlier.date_of_birth_sha256),
            gender_sha256: self.gender_sha256.or(earlier.gender_sha256),
            sealed: self.sealed,
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The digest of a field, or the digest that the caller computed (64 hex digits). A caller's digest of the empty text means that
/// it had nothing to hash.
fn digest(field: Option<&str>, normalise: impl Fn(&str) -> Option<String>) -> Option<Digest> {
    let text = field?.trim();
    match Digest::parse(text) {
        Some(digest) => (digest != Digest::EMPTY).then_some(digest),
        None => normalise(text).map(|normalised| Digest::of(&normalised)),
    }
}
