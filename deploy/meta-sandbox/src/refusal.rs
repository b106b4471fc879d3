//! Every way the box says no: the closed list, and for each the status and the codes.

use serde::Serialize;
use serde_json::{Value, json};

/// Why a request was refused. The text for people is ours; status, code and subcode are Meta's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not `POST /{vN.N}/{digits}/events`.
    WrongPath,
    /// No token, or one that nobody knows.
    TokenUnknown,
    /// The token's pixel says that it ran out.
    TokenExpired,
    /// The token's pixel says that it was withdrawn.
    TokenRevoked,
    /// A good token, of another pixel.
    TokenOfAnotherPixel,
    /// A token of this pixel that lost its permission.
    PermissionMissing,
    /// No such pixel.
    PixelUnknown(String),
    /// More bytes than the box reads.
    BodyTooLarge,
    /// A parameter that cannot be used; Meta gives no subcode that we know of.
    Parameter(String),
    /// A key that should not be there, or is missing, or has the wrong type: what, and its path.
    Schema(String, String),
    /// `event_time` too far back.
    TooOld,
    /// `event_time` ahead of the clock.
    InFuture,
    /// A purchase without `value`.
    ValueMissing,
    /// A purchase without `currency`.
    CurrencyMissing,
    /// `value` without `currency` on another event.
    ValueWithoutCurrency,
    /// An entry of `contents` without `id`.
    ContentIdMissing,
    /// A key that must hold a digest holds something else.
    NotHashed(&'static str),
    /// Customer information that could be anybody's.
    TooBroad,
    /// The box could not write its journal; nothing was recorded.
    Unavailable,
}

/// Meta's error object.
#[derive(Debug, Clone, Serialize, Default)]
pub struct ErrorBody {
    /// The HTTP status, which is not part of the body.
    #[serde(skip)]
    pub status: u16,
    /// For developers; may change.
    pub message: String,
    /// `OAuthException`, nearly always.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The main switch.
    pub code: i64,
    /// Whether the code is sent as text.
    #[serde(skip)]
    pub code_as_text: bool,
    /// Narrows the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_subcode: Option<i64>,
    /// Whether the same request may work later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_transient: Option<bool>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_user_title: Option<&'static str>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_user_msg: Option<String>,
    /// The id to quote to support.
    pub fbtrace_id: String,
}

impl ErrorBody {
    /// The shape of most errors, with 400.
    pub fn plain(code: i64, message: &str) -> Self {
        plain(400, code, None, message)
    }

    /// What is sent, under an id to quote to support.
    pub fn answer(mut self, fbtrace_id: String) -> Value {
        self.fbtrace_id = fbtrace_id;
        let mut error = json!(self);
        if self.code_as_text {
            error["code"] = json!(self.code.to_string());
        }
        json!({ "error": error })
    }
}

impl Refusal {
    /// The error object, still without its trace id.
    pub fn body(&self) -> ErrorBody {
        match self {
            Refusal::WrongPath => plain(400, 100, None, "Unsupported request: the box knows POST /{version}/{pixel}/events"),
            Refusal::TokenUnknown => {
                ErrorBody { is_transient: None, ..plain(401, 190, None, "Invalid OAuth access token - Cannot parse access token") }
            }
            Refusal::TokenExpired => plain(401, 190, Some(463), "Error validating access token: Session has expired"),
            Refusal::TokenRevoked => plain(401, 190, Some(460), "Error validating access token: The session has been invalidated"),
            Refusal::TokenOfAnotherPixel => plain(403, 200, None, "Permissions error: this token may not write to this pixel"),
            Refusal::PermissionMissing => plain(403, 200, None, "Permissions error: this token lost its permission to write to this pixel"),
            Refusal::PixelUnknown(id) => ErrorBody {
                kind: "GraphMethodException",
                ..plain(400, 100, Some(33), &format!("Unsupported post request. Object with ID '{id}' does not exist"))
            },
            Refusal::BodyTooLarge => plain(413, 100, None, "The request body is too large"),
            Refusal::Parameter(what) => plain(400, 100, None, &format!("Invalid parameter: {what}")),
            Refusal::Schema(what, path) => plain(400, 100, None, &format!("Server Side Api Parameter Error: {what} at {path}")),
            Refusal::TooOld => told(2_804_003, "Event Timestamp Too Old", "event_time is more than 7 days ago"),
            Refusal::InFuture => told(2_804_004, "Event Timestamp In The Future", "event_time is ahead of the clock"),
            Refusal::ContentIdMissing => told(2_804_008, "Missing Content ID", "add an id to each entry of custom_data.contents"),
            Refusal::ValueMissing => told(2_804_009, "Missing Value for Purchase Event", "add custom_data.value"),
            Refusal::CurrencyMissing => told(2_804_010, "Missing Currency for Purchase Event", "add custom_data.currency"),
            Refusal::NotHashed(key) => told(2_804_016, "User Parameter Not Hashed", &format!("{key} is not a SHA-256 digest")),
            Refusal::ValueWithoutCurrency => told(2_804_023, "Missing Currency", "add custom_data.currency beside value"),
            Refusal::TooBroad => told(2_804_050, "Customer Information Too Broad", "add more parameters to user_data"),
            Refusal::Unavailable => ErrorBody {
                is_transient: Some(true),
                ..plain(500, 2, None, "Service temporarily unavailable: the journal cannot be written")
            },
        }
    }
}

fn plain(status: u16, code: i64, subcode: Option<i64>, message: &str) -> ErrorBody {
    ErrorBody {
        status,
        message: message.to_owned(),
        kind: "OAuthException",
        code,
        error_subcode: subcode,
        is_transient: Some(false),
        ..ErrorBody::default()
    }
}

fn told(subcode: i64, title: &'static str, text: &str) -> ErrorBody {
    let error = plain(400, 100, Some(subcode), "Invalid parameter");
    ErrorBody { error_user_title: Some(title), error_user_msg: Some(text.to_owned()), ..error }
}
