//! Every error answer of the desk: its status and `{"status":"error","error":{"code","message","field"}}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::{directory::FoldError, verdict::Refusal};
use serde::Serialize;
use storage::{AppendError, ReadError};

/// A request that is not served, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    refusal: Refusal,
}

impl Refused {
    pub(crate) fn field(code: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, refusal: Refusal::of(code, field, message) }
    }

    /// A field whose value breaks a rule.
    pub(crate) fn invalid(field: &'static str, rule: impl std::fmt::Display) -> Self {
        Self::field("invalid", field, format!("{field}: {rule}"))
    }

    /// A pixel that nobody added.
    pub(crate) fn no_pixel(field: &'static str, id: &str) -> Self {
        let message = format!("no pixel {id} is known; `rapidmetrics pixel list` names those that are");
        Self::of(StatusCode::NOT_FOUND, "pixel_not_found", field, message)
    }

    pub(crate) fn of(status: StatusCode, code: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self { status, refusal: Refusal::of(code, field, message) }
    }

    pub(crate) fn whole(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, refusal: Refusal::whole(code, message) }
    }

    pub(crate) fn conflict(code: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, refusal: Refusal::of(code, field, message) }
    }

    pub(crate) fn unauthorized() -> Self {
        let message = "send `Authorization: Bearer …` with the text of the admin.token file in the data folder";
        Self::whole(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(crate) fn not_found() -> Self {
        Self::whole(StatusCode::NOT_FOUND, "not_found", "nothing is here; GET / says what there is")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::whole(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path answers other methods; the Allow header names them")
    }
}

impl From<FoldError> for Refused {
    fn from(error: FoldError) -> Self {
        let (status, code, field) = match &error {
            FoldError::NoWorkspace(_) => (StatusCode::NOT_FOUND, "workspace_not_found", "workspace_id"),
            FoldError::NoFunnel(_) => (StatusCode::NOT_FOUND, "funnel_not_found", "funnel_id"),
            FoldError::NoPixel(_) => (StatusCode::NOT_FOUND, "pixel_not_found", "id"),
            FoldError::ForeignPixel(_) => (StatusCode::CONFLICT, "pixel_of_another_workspace", "id"),
        };
        Self { status, refusal: Refusal::of(code, field, error.to_string()) }
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        let code = match error {
            AppendError::Full => "volume_full",
            AppendError::Busy(_) => "log_busy",
            AppendError::Closed => "stopping",
            AppendError::Lost(_) => "store_failed",
        };
        Self::whole(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string())
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::Closed => "stopping",
            ReadError::Failed(_) => "store_failed",
        };
        Self::whole(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string())
    }
}

#[derive(Serialize)]
struct Body {
    status: &'static str,
    error: Refusal,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Body { status: "error", error: self.refusal })).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
