//! A request's JSON body: an object whose fields are taken one by one, so that an error names the field at fault.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use serde_json::{Map, Value};

use crate::{Desk, refuse::Refused};

/// What is asked for.
pub(crate) struct Wish(Map<String, Value>);

impl FromRequest<Arc<Desk>> for Wish {
    type Rejection = Refused;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Refused> {
        let wait = Duration::from_millis(desk.parts.config.body_timeout_ms);
        let body = tokio::time::timeout(wait, Bytes::from_request(request, desk)).await;
        let body = body
            .map_err(|_| Refused::whole(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come in time"))?
            .map_err(|rejection| Refused::whole(rejection.status(), "body_unreadable", rejection.body_text()))?;
        let object = serde_json::from_slice(&body);
        object.map(Self).map_err(|_| Refused::whole(StatusCode::BAD_REQUEST, "invalid_json", "the body must be a JSON object"))
    }
}

impl Wish {
    /// A text that must be there.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, Refused> {
        self.text_if_any(field)?.ok_or_else(|| Refused::field("missing", field, format!("{field} is required")))
    }

    /// A text that may be absent or null.
    pub(crate) fn text_if_any(&mut self, field: &'static str) -> Result<Option<String>, Refused> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
            Some(_) => Err(Refused::field("invalid", field, format!("{field} must be a text"))),
        }
    }

    /// A whole number from 0 to `max` that may be absent or null.
    pub(crate) fn number_if_any(&mut self, field: &'static str, max: u32) -> Result<Option<u32>, Refused> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= max) {
                Some(number) => Ok(Some(number)),
                None => Err(Refused::field("invalid", field, format!("{field} must be a whole number from 0 to {max}"))),
            },
        }
    }

    /// A yes or no that may be absent or null.
    pub(crate) fn flag_if_any(&mut self, field: &'static str) -> Result<Option<bool>, Refused> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Refused::field("invalid", field, format!("{field} must be true or false"))),
        }
    }

    /// An object that may be absent or null.
    pub(crate) fn object_if_any(&mut self, field: &'static str) -> Result<Option<Map<String, Value>>, Refused> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(Refused::field("invalid", field, format!("{field} must be an object"))),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(wish: Value) -> Self {
        match wish {
            Value::Object(fields) => Self(fields),
            other => panic!("{other} is no object"),
        }
    }

    /// Every field was taken, or one was not known: a typing error must not pass in silence.
    pub(crate) fn done(self) -> Result<(), Refused> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(field) => {
                let message = format!("the field {field:?} is not known here");
                Err(Refused::whole(StatusCode::BAD_REQUEST, "unknown_field", message))
            }
        }
    }
}
