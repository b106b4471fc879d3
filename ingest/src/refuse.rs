//! Every way the door says no: its status and its words, in one place.

use axum::http::{
    HeaderValue, StatusCode,
    header::{ALLOW, CONNECTION, RETRY_AFTER},
};
use schemas::verdict::Refusal;
use serde::Serialize;

use crate::{Reply, answer};

/// Seconds after which a request that is not known to be durable may come again. Group commits take milliseconds; a full volume or a
/// broker that elects a leader takes seconds.
const RETRY_AFTER_S: u64 = 2;

/// Why a request is not served. Nothing has happened, except for [`Refused::Unavailable`], which leaves it open.
#[derive(Debug)]
pub(crate) enum Refused {
    NotFound,
    Method { allow: &'static str },
    NoKey,
    TooLarge { bytes_max: usize },
    NoFunnel { field: Option<&'static str> },
    WrongKey,
    Origin,
    TooMany { retry_after_s: u64 },
    MediaType,
    Encoding,
    Slow,
    Broken,
    NotUtf8,
    Bad(Refusal),
    Unavailable,
}

#[derive(Serialize)]
struct Body {
    status: &'static str,
    error: Refusal,
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::NoFunnel { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoKey => StatusCode::UNAUTHORIZED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongKey | Self::Origin => StatusCode::FORBIDDEN,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::MediaType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken | Self::NotUtf8 | Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn words(self) -> Refusal {
        match self {
            Self::NotFound => Refusal::whole("not_found", "there is nothing at this address; see the documentation for those that exist"),
            Self::Method { allow } => Refusal::whole("method_not_allowed", format!("this address takes {allow}")),
            Self::NoKey => Refusal::whole("missing_api_key", "send the workspace's API key in the header x-api-key"),
            Self::TooLarge { bytes_max } => Refusal::whole("payload_too_large", format!("the body must be at most {bytes_max} bytes")),
            Self::NoFunnel { field } => {
                let words = Refusal::whole("funnel_not_found", "this funnel is not known; copy its id from the dashboard");
                Refusal { field: field.map(Into::into), ..words }
            }
            Self::WrongKey => Refusal::whole("invalid_api_key", "this API key is not the one of the funnel's workspace"),
            Self::Origin => Refusal::whole(
                "origin_not_allowed",
                "pages of this origin may not send to this funnel; name it with `funnel set ID --site allowed_origins=…`",
            ),
            Self::TooMany { retry_after_s } => {
                Refusal::whole("rate_limited", format!("too many requests; come again in {retry_after_s} s"))
            }
            Self::MediaType => Refusal::whole("unsupported_media_type", "send JSON in UTF-8, with Content-Type: application/json"),
            Self::Encoding => Refusal::whole("unsupported_encoding", "send the body without Content-Encoding"),
            Self::Slow => Refusal::whole("body_timeout", "the body did not arrive in time; send the request again"),
            Self::Broken => Refusal::whole("body_broken", "the body ended early or was framed wrongly; send the request again"),
            Self::NotUtf8 => Refusal::whole("invalid_utf8", "the body is not valid UTF-8"),
            Self::Bad(refusal) => refusal,
            Self::Unavailable => Refusal::whole("unavailable", "it is not known whether this was stored; send the very same request again"),
        }
    }

    /// The answer, in the shape of every error.
    pub(crate) fn reply(self) -> Reply {
        let status = self.status();
        let headers = match self {
            Self::Method { allow } => Some((ALLOW, HeaderValue::from_static(allow))),
            // The rest of the body may never come: this connection cannot carry another request.
            Self::TooLarge { .. } | Self::Slow | Self::Broken => Some((CONNECTION, HeaderValue::from_static("close"))),
            Self::TooMany { retry_after_s } => Some((RETRY_AFTER, HeaderValue::from(retry_after_s))),
            Self::Unavailable => Some((RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S))),
            Self::NotFound
            | Self::NoFunnel { .. }
            | Self::NoKey
            | Self::WrongKey
            | Self::Origin
            | Self::MediaType
            | Self::Encoding
            | Self::NotUtf8
            | Self::Bad(_) => None,
        };
        let mut reply = answer::json(status, &Body { status: "error", error: self.words() });
        reply.headers_mut().extend(headers.map(|(name, value)| (Some(name), value)));
        reply
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Bad(refusal)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn every_refusal_has_its_status_and_code() {
        let bad = || Refusal::of("missing_field", "event", "event is required");
        for (refused, status, code, header) in [
            (Refused::NotFound, 404, "not_found", None),
            (Refused::Method { allow: "POST" }, 405, "method_not_allowed", Some("allow")),
            (Refused::NoKey, 401, "missing_api_key", None),
            (Refused::TooLarge { bytes_max: 10_240 }, 413, "payload_too_large", Some("connection")),
            (Refused::NoFunnel { field: None }, 404, "funnel_not_found", None),
            (Refused::WrongKey, 403, "invalid_api_key", None),
            (Refused::TooMany { retry_after_s: 1 }, 429, "rate_limited", Some("retry-after")),
            (Refused::MediaType, 415, "unsupported_media_type", None),
            (Refused::Encoding, 415, "unsupported_encoding", None),
            (Refused::Slow, 408, "body_timeout", Some("connection")),
            (Refused::Broken, 400, "body_broken", Some("connection")),
            (Refused::NotUtf8, 400, "invalid_utf8", None),
            (Refused::Bad(bad()), 400, "missing_field", None),
            (Refused::Unavailable, 503, "unavailable", Some("retry-after")),
        ] {
            let reply = refused.reply();
            assert_eq!(reply.status(), status, "{code}");
            assert!(header.is_none_or(|name| reply.headers().contains_key(name)), "{code}");
            let body = reply.into_body().collect().await.expect("it is whole").to_bytes();
            let start = format!(r#"{{"status":"error","error":{{"code":"{code}","message":""#);
            assert!(body.starts_with(start.as_bytes()), "{body:?}");
        }
    }

    #[tokio::test]
    async fn the_shape_is_the_documented_one() {
        let body = Refused::Bad(Refusal::of("missing_field", "event", "event is required")).reply().into_body();
        let body = body.collect().await.expect("it is whole").to_bytes();
        assert_eq!(body, r#"{"status":"error","error":{"code":"missing_field","message":"event is required","field":"event"}}"#);
        let body = Refused::NoFunnel { field: None }.reply().into_body().collect().await.expect("it is whole").to_bytes();
        assert!(body.ends_with(br#","field":null}}"#));
    }
}
