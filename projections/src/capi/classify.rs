//! Pure: what an answer of Meta means for the batch, decided on code, subcode and `is_transient`, then on the HTTP status, never on text.

use serde_json::Value;

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Meta took the batch.
    Delivered,
    /// The same batch again, later.
    Retry,
    /// Too fast for this token or pixel: slow down, then again.
    Rate,
    /// The token is not accepted: keep everything, tell the owner.
    Token,
    /// As token, but the pixel's id or the permission is wrong.
    Config,
    /// Something in the batch is refused: never again unchanged.
    Payload,
    /// A refusal that nobody described: once more, then as [`Class::Payload`].
    Unfamiliar,
}

impl Class {
    /// The class's name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Rate => "rate",
            Self::Token => "token",
            Self::Config => "config",
            Self::Payload => "payload",
            Self::Unfamiliar => "unfamiliar",
        }
    }
}

impl Class {
    /// Whether such an answer may be an event's own fault. A refused token or a limit never is: that burns no attempt of the event.
    pub fn is_about_events(self) -> bool {
        !matches!(self, Self::Rate | Self::Token | Self::Config)
    }
}

/// An answer, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What to do.
    pub class: Class,
    /// Meta's error code.
    pub code: Option<i64>,
    /// Meta's error subcode.
    pub subcode: Option<i64>,
    /// Meta's support id.
    pub trace_id: Option<String>,
    /// What Meta says to people, in whatever language.
    pub title: Option<String>,
    /// How many events Meta says it took.
    pub events_received: Option<u64>,
    /// Which event of the batch is at fault, counted from 0, if the answer names one.
    pub index: Option<usize>,
}

/// Understands an answer by its status and as much of its body as was read.
pub fn classify(status: u16, body: &[u8]) -> Said {
    let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let error = &parsed["error"];
    let (code, subcode) = (number(&error["code"]), number(&error["error_subcode"]));
    let class = if is_html(body) {
        Class::Retry // a proxy in between, or an error page: whatever the status says, Meta did not
    } else if !error.is_null() {
        let by_status = if (200..300).contains(&status) { Class::Unfamiliar } else { by_status(status) };
        if is_true(&error["is_transient"]) { Class::Retry } else { code.and_then(|code| by_code(code, subcode)).unwrap_or(by_status) }
    } else {
        by_status(status)
    };
    Said {
        class,
        code,
        subcode,
        trace_id: text(&error["fbtrace_id"]).or_else(|| text(&parsed["fbtrace_id"])),
        title: [&error["error_user_title"], &error["error_user_msg"], &error["message"]].into_iter().find_map(text),
        events_received: number(&parsed["events_received"]).and_then(|count| u64::try_from(count).ok()),
        index: [&error["message"], &error["error_user_msg"]].into_iter().find_map(|text| index(text.as_str()?)),
    }
}

fn by_code(code: i64, subcode: Option<i64>) -> Option<Class> {
    Some(match (code, subcode) {
        (..=-1 | 1 | 2 | 5000, _) => Class::Retry,
        (4 | 17 | 32 | 341 | 368 | 613 | 80_000..=80_014, _) => Class::Rate,
        (102 | 104 | 190, _) => Class::Token,
        (3 | 10 | 200..=299 | 803, _) | (100, Some(33)) => Class::Config,
        (100, _) => Class::Payload,
        _ => return None,
    })
}

/// Where no code says more. A bare 401 or 403 says nothing about the events, so they are kept; 413 is cured by splitting.
fn by_status(status: u16) -> Class {
    match status {
        200..300 => Class::Delivered,
        429 => Class::Rate,
        401 => Class::Token,
        403 => Class::Config,
        413 => Class::Payload,
        408 | 425 => Class::Retry,
        400..500 => Class::Unfamiliar,
        _ => Class::Retry,
    }
}

/// The index in a path such as `$['data'][17]['event_name']`: an error of the schema names the key at fault so. It only says where to look
/// first; whether that event is refused is asked by sending it alone.
fn index(text: &str) -> Option<usize> {
    let (_, after) = text.split_once("['data'][").or_else(|| text.split_once("[\"data\"]["))?;
    after.split_once(']')?.0.parse().ok()
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

fn is_true(value: &Value) -> bool {
    value.as_bool().or_else(|| value.as_str().map(|text| text.eq_ignore_ascii_case("true"))).unwrap_or(false)
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Longest text kept of an answer, in characters.
const TEXT_CHARS_MAX: usize = 300;

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(|text| text.chars().take(TEXT_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::{Class, classify};

    /// Code and subcode (0: none).
    type Codes = &'static [(i64, i64)];

    /// The rows of Meta's error table.
    #[test]
    fn every_known_code_has_its_class() {
        let rows: &[(Class, u16, Codes)] = &[
            (Class::Retry, 500, &[(1, 0), (1, 99), (2, 0), (5000, 0), (-1, 0), (-3, 7)]),
            (Class::Retry, 400, &[(1, 0), (2, 0), (-2, 0)]),
            (Class::Rate, 400, &[(4, 0), (4, 1_504_022), (4, 1_504_039), (17, 0), (17, 2_446_079), (32, 0), (613, 0), (613, 1_487_742)]),
            (Class::Rate, 400, &[(613, 5_044_001), (80_000, 0), (80_004, 0), (80_014, 0), (341, 0), (368, 0)]),
            (Class::Token, 401, &[(190, 0), (190, 463)]),
            (Class::Token, 400, &[(190, 458), (190, 459), (190, 460), (190, 464), (190, 467), (190, 492), (102, 0), (104, 0)]),
            (Class::Config, 403, &[(200, 0), (3, 0), (10, 0), (294, 0), (299, 0)]),
            (Class::Config, 400, &[(100, 33), (803, 0)]),
            (Class::Payload, 400, &[(100, 2_804_003), (100, 2_804_004), (100, 2_804_008), (100, 2_804_009), (100, 2_804_010)]),
            (Class::Payload, 400, &[(100, 2_804_016), (100, 2_804_050), (100, 2_804_019), (100, 2_804_132), (100, 0), (100, 12)]),
            (Class::Unfamiliar, 400, &[(80_015, 0), (999, 0), (0, 0)]),
            (Class::Unfamiliar, 200, &[(999, 0)]),
            (Class::Retry, 503, &[(999, 0)]),
            (Class::Rate, 429, &[(999, 0)]),
        ];
        for (class, status, codes) in rows {
            for (code, subcode) in *codes {
                for quoted in [false, true] {
                    let code_text = if quoted { format!("\"{code}\"") } else { code.to_string() };
                    let subcode_text = if *subcode == 0 { String::new() } else { format!(r#","error_subcode":{subcode}"#) };
                    let body = format!(r#"{{"error":{{"message":"m","code":{code_text}{subcode_text},"fbtrace_id":"A1"}}}}"#);
                    let said = classify(*status, body.as_bytes());
                    assert_eq!(said.class, *class, "{status} {body}");
                    assert_eq!((said.code, said.subcode.unwrap_or(0), said.trace_id.as_deref()), (Some(*code), *subcode, Some("A1")));
                    let transient = body.replace(r#""message""#, r#""is_transient":true,"message""#);
                    assert_eq!(classify(*status, transient.as_bytes()).class, Class::Retry, "{transient}");
                }
            }
        }
    }

    #[test]
    fn answers_without_a_code_are_told_by_their_status() {
        for (status, body, class) in [
            (200, r#"{"events_received":2,"messages":[],"fbtrace_id":"A2"}"#, Class::Delivered),
            (200, "", Class::Delivered),
            (204, "", Class::Delivered),
            (200, "<html>please log in</html>", Class::Retry),
            (400, "  <!DOCTYPE html>", Class::Retry),
            (500, "<html>", Class::Retry),
            (500, "", Class::Retry),
            (502, "nope", Class::Retry),
            (429, "", Class::Rate),
            (401, "", Class::Token),
            (403, "", Class::Config),
            (413, "", Class::Payload),
            (400, "", Class::Unfamiliar),
            (404, "{}", Class::Unfamiliar),
            (400, r#"{"error":"text"}"#, Class::Unfamiliar),
            (302, "", Class::Retry),
        ] {
            assert_eq!(classify(status, body.as_bytes()).class, class, "{status} {body:?}");
        }
        for (message, index) in [
            ("(#100) Server Side Api Parameter Error: Unexpected key \\\"x\\\" on param \\\"$['data'][17]\\\".", Some(17)),
            ("Invalid parameter", None),
            ("on $['data'][99999999999999999999999]", None),
            ("on $['data'][1", None),
        ] {
            let body = format!(r#"{{"error":{{"message":"{message}","code":100}}}}"#);
            assert_eq!(classify(400, body.as_bytes()).index, index, "{body}");
        }
        let said = classify(200, br#"{"events_received":"2","fbtrace_id":"A2"}"#);
        assert_eq!((said.events_received, said.trace_id.as_deref()), (Some(2), Some("A2")));
    }
}
