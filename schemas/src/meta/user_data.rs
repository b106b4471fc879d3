//! Who acted: digests of the person, and the browser's own marks.

use std::fmt::Write as _;

use super::{
    Conversion, device,
    write::{self, Members},
};
use crate::person::Digest;

/// Writes the `user_data` object.
pub(super) fn write(out: &mut String, conversion: &Conversion<'_>) {
    let mut members = Members::object();
    for (key, digest) in person(conversion) {
        if let Some(digest) = digest {
            members.key(out, key);
            out.push('[');
            write::digest(out, digest);
            out.push(']');
        }
    }
    external_ids(out, &mut members, conversion);
    if let Some(ip) = device::public_ip(conversion.context) {
        members.key(out, "client_ip_address");
        let _ = write!(out, "\"{ip}\""); // a String takes every write
    }
    let context = conversion.context;
    let verbatim = [("client_user_agent", device::user_agent(context)), ("fbc", device::fbc(context)), ("fbp", device::fbp(context))];
    for (key, text) in verbatim {
        if let Some(text) = text {
            members.key(out, key);
            write::string(out, text);
        }
    }
    members.end(out);
}

/// The shop's own id first, then the others, each once.
fn external_ids(out: &mut String, members: &mut Members, conversion: &Conversion<'_>) {
    let ids = conversion.person.customer_id_sha256.iter().chain(conversion.external_ids);
    let mut list = Members::array();
    for (at, id) in ids.clone().enumerate() {
        if at == 0 {
            members.key(out, "external_id");
        }
        if !ids.clone().take(at).any(|earlier| earlier == id) {
            list.next(out);
            write::digest(out, id);
        }
    }
    if ids.count() > 0 {
        list.end(out);
    }
}

fn person<'a>(conversion: &Conversion<'a>) -> [(&'static str, Option<&'a Digest>); 10] {
    let person = conversion.person;
    [
        ("em", person.email_sha256.as_ref()),
        ("ph", person.phone_sha256.as_ref()),
        ("fn", person.first_name_sha256.as_ref()),
        ("ln", person.last_name_sha256.as_ref()),
        ("ge", person.gender_sha256.as_ref()),
        ("db", person.date_of_birth_sha256.as_ref()),
        ("ct", person.city_sha256.as_ref()),
        ("st", person.state_sha256.as_ref()),
        ("zp", person.zip_sha256.as_ref()),
        ("country", person.country_sha256.as_ref()),
    ]
}

/// What Meta refuses as too broad: everything known is inside one of these.
const TOO_BROAD: [&[&str]; 4] =
    [&["ct", "country", "st", "zp", "ge", "client_user_agent"], &["db", "client_user_agent"], &["fn", "ge"], &["ln", "ge"]];

/// Whether nothing is known of the customer, or only what fits too many people.
pub(super) fn is_too_broad(conversion: &Conversion<'_>) -> bool {
    let context = conversion.context;
    let is_narrow = conversion.person.customer_id_sha256.is_some()
        || !conversion.external_ids.is_empty()
        || device::fbp(context).is_some()
        || device::fbc(context).is_some()
        || device::public_ip(context).is_some();
    if is_narrow {
        return false;
    }
    let agent = device::user_agent(context).map(|_| "client_user_agent");
    let known = || person(conversion).into_iter().filter_map(|(key, digest)| digest.map(|_| key)).chain(agent);
    TOO_BROAD.iter().any(|set| known().all(|key| set.contains(&key)))
}
