//! What must not reach Meta in the clear: fields by their name, e-mail addresses by their look.

/// Whether a property of that name may tell who somebody is: an identifier, a part of an address, one of Meta's own short keys of
/// a person, or a name that means a person as often as a thing.
pub(super) fn is_personal(name: &str) -> bool {
    folded(name, |name| is_identifying(name) || is_part_of_address(name) || is_metas_key(name) || matches!(name, "name" | "ip"))
}

/// Whether a query parameter of that name tells who somebody is. Parts of an address and short keys are common words in a shop's
/// addresses (`?city=`, `?st=`) and stay.
pub(super) fn is_identifier(name: &str) -> bool {
    folded(name, is_identifying)
}

fn is_identifying(name: &str) -> bool {
    matches!(
        name,
        "email"
            | "mail"
            | "emailaddress"
            | "useremail"
            | "customeremail"
            | "phone"
            | "phonenumber"
            | "telephone"
            | "tel"
            | "mobile"
            | "mobilenumber"
            | "userphone"
            | "customerphone"
            | "firstname"
            | "lastname"
            | "fullname"
            | "surname"
            | "familyname"
            | "givenname"
            | "middlename"
            | "username"
            | "customername"
            | "birthdate"
            | "birthday"
            | "dateofbirth"
            | "dob"
            | "gender"
            | "sex"
            | "customerid"
            | "externalid"
            | "ipaddress"
            | "clientipaddress"
            | "clientuseragent"
            | "fbp"
            | "fbc"
    )
}

fn is_part_of_address(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "address1"
            | "address2"
            | "street"
            | "streetaddress"
            | "shippingaddress"
            | "billingaddress"
            | "city"
            | "state"
            | "province"
            | "zip"
            | "zipcode"
            | "postalcode"
            | "postcode"
            | "country"
    )
}

fn is_metas_key(name: &str) -> bool {
    matches!(name, "em" | "ph" | "fn" | "ln" | "ge" | "ct" | "st" | "zp" | "db")
}

/// The name in lower case without punctuation; long ones are none of ours.
fn folded(name: &str, ask: impl Fn(&str) -> bool) -> bool {
    let mut buffer = [0; 20];
    let mut len = 0;
    for b in name.bytes().filter(|b| !matches!(b, b'_' | b'-' | b' ' | b'.' | b'[' | b']')) {
        let Some(slot) = buffer.get_mut(len) else { return false };
        *slot = b.to_ascii_lowercase();
        len += 1;
    }
    std::str::from_utf8(&buffer[..len]).is_ok_and(ask)
}

/// Whether an e-mail address stands in a text, also if its `@` is written as in an address line or as JSON may escape it.
pub(super) fn has_email(text: &str) -> bool {
    const AT: [&str; 3] = ["%40", "%2540", "\\u0040"];
    if (text.contains('%') || text.contains('\\')) && AT.iter().any(|at| text.contains(at)) {
        return has_plain_email(&AT.iter().fold(text.to_owned(), |text, at| text.replace(at, "@")));
    }
    has_plain_email(text)
}

/// Some `x@y.zz`: a character of a word before the `@`, and behind it a dot between words of which the last begins with two letters.
fn has_plain_email(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let before = text[..at].chars().next_back().is_some_and(is_word);
        let domain = &text[at + 1..];
        let domain = &domain[..domain.find(|c: char| !is_word(c)).unwrap_or(domain.len())];
        before && domain.split('.').skip(1).any(|label| label.chars().take(2).filter(|c| c.is_alphabetic()).count() == 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_seen_inside_other_text() {
        for text in [
            "a@b.co",
            "mail to:john.doe+x@example.co.uk!",
            "x=john%40example.com",
            "john%2540example.com",
            r"john\u0040example.com",
            "ö@ä.de",
        ] {
            assert!(has_email(text), "{text}");
        }
        for text in ["", "@user", "shop/@user.name", "left-pad@1.2.3", "a @ b.co", "50% off @ shop", "a@b", "user@localhost"] {
            assert!(!has_email(text), "{text}");
        }
    }

    #[test]
    fn names_are_compared_without_case_and_punctuation() {
        for name in ["email", "E-Mail", "first_name", "firstName", "Customer Email", "customer[email]", "zp", "db"] {
            assert!(is_personal(name), "{name}");
        }
        for name in ["value", "content_name", "plan", "", "emails_sent", "a_very_long_name_of_a_property"] {
            assert!(!is_personal(name), "{name}");
        }
    }
}
