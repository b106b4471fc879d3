//! `POST /{version}/{pixel}/events`: one request through fault, token, body, rules and ledger to its answer.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;

use crate::body::{self, Fields};
use crate::check;
use crate::fault::{Fault, Kind};
use crate::journal::Entry;
use crate::json::Json;
use crate::pixel::is_id;
use crate::refusal::{ErrorBody, Refusal};
use crate::sandbox::{Request, Sandbox};
use crate::server::HangUp;

/// A thousand events of 32 KB; Meta states no limit.
const BODY_BYTES_MAX: usize = 32 << 20;
const BODY_WAIT: Duration = Duration::from_secs(30);
/// A call to a version that is gone is served by the oldest one alive, and the header says so.
const OLDEST_VERSION: (u32, u32) = (21, 0);

/// What came of a request: the answer, and what may be kept of the body.
struct Outcome {
    response: Response,
    kept: Bytes,
}

pub(crate) async fn receive(
    State(sandbox): State<Sandbox>,
    Path((version, pixel)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(version) = answering_version(&version).filter(|_| is_id(&pixel)) else { return wrong_path(State(sandbox)).await };
    let body = match tokio::time::timeout(BODY_WAIT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return refused(&sandbox, &Refusal::BodyTooLarge),
        Err(_) => return HangUp::response(),
    };
    let fault = sandbox.faults().draw(&pixel);
    let call = Call { sandbox: &sandbox, pixel: &pixel, uri: &uri, headers: &headers, body: &body };
    let Outcome { mut response, kept } = match fault.as_ref().map(|fault| fault.kind) {
        None | Some(Kind::Slow) => call.process(),
        Some(Kind::ResetAfter) => Outcome { response: HangUp::response(), ..call.process() },
        Some(Kind::Timeout | Kind::Http500 | Kind::Html500 | Kind::Throttle | Kind::Code1 | Kind::TokenExpired) => {
            call.spoil(fault.as_ref())
        }
    };
    let answered = if HangUp::is_in(&response) { 0 } else { response.status().as_u16() };
    let request = Request { pixel: pixel.clone(), received_at: sandbox.now_ms(), status: answered, body: kept };
    sandbox.seen().requests.push(request.body.len() + pixel.len(), request);

    // Processed first, held afterwards: whoever gives up waiting is counted all the same, as at Meta.
    let hold_ms = fault.as_ref().map_or(0, Fault::hold_ms);
    if hold_ms > 0 {
        tokio::time::sleep(Duration::from_millis(hold_ms)).await;
    }
    for (name, value) in fault.map(|fault| fault.headers(&pixel)).unwrap_or_default() {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(HeaderName::from_static("facebook-api-version"), version);
    response
}

/// Whatever the box does not know, in the words of the events endpoint.
pub(crate) async fn wrong_path(State(sandbox): State<Sandbox>) -> Response {
    refused(&sandbox, &Refusal::WrongPath)
}

/// One request, read to its end.
struct Call<'a> {
    sandbox: &'a Sandbox,
    pixel: &'a str,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    body: &'a Bytes,
}

impl Call<'_> {
    /// Checks and counts the request as Meta would.
    fn process(&self) -> Outcome {
        let text = std::str::from_utf8(self.body).map_err(|_| Refusal::Parameter("the body is not UTF-8".to_owned()));
        let fields = text.and_then(|text| body::fields(self.content_type(), text));
        let kept = self.kept(fields.as_ref().ok());
        let response = match self.accept(fields) {
            Ok(count) => self.success(count),
            Err(refusal) => self.failure(&refusal),
        };
        Outcome { response, kept }
    }

    /// Answers with a fault instead; the request is counted, its events are not.
    fn spoil(&self, fault: Option<&Fault>) -> Outcome {
        let text = std::str::from_utf8(self.body).unwrap_or_default();
        let kept = self.kept(body::fields(self.content_type(), text).ok().as_ref());
        let response = match self.post(false, Vec::new()) {
            Err(refusal) => refused(self.sandbox, &refusal),
            Ok(()) => match fault.map(|fault| (fault.kind, fault.error(), fault.status)) {
                Some((_, Some(error), _)) => error_response(self.sandbox, error),
                Some((Kind::Html500, None, status)) => html(status.unwrap_or(500)),
                _ => HangUp::response(),
            },
        };
        Outcome { response, kept }
    }

    fn accept(&self, fields: Result<Fields, Refusal>) -> Result<usize, Refusal> {
        let in_body = fields.as_ref().ok().and_then(|fields| fields.token.clone());
        let token = self.token_in_query().or(in_body).or_else(|| self.token_in_header().map(Cow::Borrowed));
        let mode = self.sandbox.with_pixels(|pixels| pixels.admit(self.pixel, token.as_deref()))?;
        let fields = fields?;
        let data = fields.data.ok_or_else(|| Refusal::Parameter("data is required".to_owned()))?;
        check::partner_agent(fields.partner_agent.as_deref(), mode)?;

        let now_s = (self.sandbox.now_ms() / 1_000) as i64;
        let texts = body::events(&data)?;
        let mut remarks = Vec::new();
        let mut named = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let broken = |error| Refusal::Schema(format!("not JSON: {error}"), format!("$['data'][{index}]"));
            let event: Json = serde_json::from_str(text).map_err(broken)?;
            check::check(&event, index, now_s, mode, |remark| remarks.push(remark))?;
            named.push(name_and_id(event));
        }
        self.post(false, named)?;
        self.remark(&remarks);
        Ok(texts.len())
    }

    fn success(&self, count: usize) -> Response {
        let body = json!({"events_received": count, "messages": [], "fbtrace_id": self.sandbox.trace_id()});
        axum::Json(body).into_response()
    }

    fn failure(&self, refusal: &Refusal) -> Response {
        tracing::debug!(pixel = self.pixel, ?refusal, "request refused");
        let written = if *refusal == Refusal::Unavailable { Ok(()) } else { self.post(true, Vec::new()) };
        refused(self.sandbox, written.as_ref().err().unwrap_or(refusal))
    }

    fn post(&self, rejected: bool, events: Vec<(Cow<str>, Option<Cow<str>>)>) -> Result<(), Refusal> {
        let post = Entry::Post { pixel: Cow::Borrowed(self.pixel), at_ms: self.sandbox.now_ms(), rejected, events };
        self.sandbox.record(&post).map_err(|_| Refusal::Unavailable)
    }

    fn remark(&self, remarks: &[&'static str]) {
        if !remarks.is_empty() {
            let mut seen = self.sandbox.seen();
            let of_pixel = seen.remarks.entry(self.pixel.to_owned()).or_default();
            for remark in remarks {
                *of_pixel.entry(remark).or_default() += 1;
            }
        }
    }

    fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn token_in_query(&self) -> Option<Cow<'_, str>> {
        body::form(self.uri.query()?).find(|(name, _)| name == "access_token").map(|(_, token)| token)
    }

    fn token_in_header(&self) -> Option<&str> {
        let (scheme, token) = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    }

    /// The body as it came, without its token. Where the body cannot be read, the pixel's own token is looked for.
    fn kept(&self, fields: Option<&Fields>) -> Bytes {
        match fields {
            Some(fields) if fields.token_spans.is_empty() => self.body.clone(),
            Some(fields) => redacted(self.body, &fields.token_spans),
            None => {
                let text = String::from_utf8_lossy(self.body);
                let token = self.sandbox.with_pixels(|pixels| pixels.get(self.pixel).map(|pixel| pixel.access_token.clone()));
                Bytes::from(token.map_or(text.to_string(), |token| text.replace(&token, REDACTED)))
            }
        }
    }
}

const REDACTED: &str = "redacted";

fn redacted(body: &[u8], spans: &[Range<usize>]) -> Bytes {
    let mut kept = Vec::with_capacity(body.len());
    let mut from = 0;
    for span in spans {
        kept.extend_from_slice(&body[from..span.start]);
        kept.extend_from_slice(REDACTED.as_bytes());
        from = span.end;
    }
    kept.extend_from_slice(&body[from..]);
    Bytes::from(kept)
}

/// The two halves of the dedup key. An id that came as a number counts as its text.
fn name_and_id(event: Json<'_>) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    let (mut name, mut id) = (Cow::Borrowed(""), None);
    let Json::Object(fields) = event else { return (name, id) };
    for (key, value) in fields {
        match (key.as_ref(), value) {
            ("event_name", Json::Text(text)) => name = text,
            ("event_id", Json::Text(text)) => id = Some(text).filter(|id| !id.is_empty()),
            ("event_id", Json::Integer(number)) => id = Some(Cow::Owned(number.to_string())),
            _ => {}
        }
    }
    (name, id)
}

/// The version that answers a call to `vN.N`, as a header; nothing when it is none.
fn answering_version(asked: &str) -> Option<HeaderValue> {
    let (major, minor) = asked.strip_prefix('v')?.split_once('.')?;
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok()).flatten();
    let (major, minor) = (number(major)?, number(minor)?).max(OLDEST_VERSION);
    HeaderValue::try_from(format!("v{major}.{minor}")).ok()
}

fn refused(sandbox: &Sandbox, refusal: &Refusal) -> Response {
    error_response(sandbox, refusal.body())
}

fn error_response(sandbox: &Sandbox, error: ErrorBody) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let error = ErrorBody { fbtrace_id: sandbox.trace_id(), ..error };
    (status, axum::Json(json!({ "error": error }))).into_response()
}

fn html(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let page = "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Sorry, something went wrong.</h1></body></html>";
    (status, axum::response::Html(page)).into_response()
}
