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
use crate::conduct::Meeting;
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

const VERSION_HEADER: HeaderName = HeaderName::from_static("facebook-api-version");

/// What came of a request: the answer, what may be kept of the body, and where its token stood.
struct Outcome {
    response: Response,
    kept: Bytes,
    token_in: Option<&'static str>,
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
        Ok(Err(_)) => {
            let mut response = refused(&sandbox, &Refusal::BodyTooLarge);
            response.headers_mut().insert(VERSION_HEADER, version);
            return response;
        }
        Err(_) => return HangUp::response(),
    };
    let known = sandbox.with_pixels(|pixels| pixels.get(&pixel).is_some());
    let Meeting { fault, hold_ms, headers: added } = sandbox.conduct().meet(&pixel, known, sandbox.now_ms());
    let call = Call { sandbox: &sandbox, pixel: &pixel, uri: &uri, headers: &headers, body: &body };
    let Outcome { mut response, kept, token_in } = match fault.as_ref().map(|fault| (fault, fault.kind)) {
        None | Some((_, Kind::Slow)) => call.process(),
        Some((_, Kind::ResetAfter)) => Outcome { response: HangUp::response(), ..call.process() },
        Some((fault, _)) => call.spoil(fault),
    };
    let Answered { status, code, subcode } = Answered::of(&response);
    let content_type = call.content_type().to_owned();
    let received_at = sandbox.now_ms();
    let request = Request { pixel: pixel.clone(), received_at, status, code, subcode, content_type, token_in, body: kept };
    sandbox.seen().requests.push(request.body.len() + request.content_type.len() + pixel.len(), request);

    // Processed first, held afterwards: whoever gives up waiting is counted all the same, as at Meta.
    if hold_ms > 0 {
        tokio::time::sleep(Duration::from_millis(hold_ms)).await;
    }
    for (name, value) in added {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(VERSION_HEADER, version);
    response
}

/// What an answer says, as the list of requests shows it.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    status: u16,
    code: Option<i64>,
    subcode: Option<i64>,
}

impl Answered {
    fn of(response: &Response) -> Self {
        if HangUp::is_in(response) {
            return Answered::default();
        }
        let said = response.extensions().get::<Said>();
        Answered { status: response.status().as_u16(), code: said.map(|said| said.code), subcode: said.and_then(|said| said.subcode) }
    }
}

/// Marks a response with the error that its body tells.
#[derive(Debug, Clone, Copy)]
struct Said {
    code: i64,
    subcode: Option<i64>,
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
        let (token_in, token) = self.token(fields.as_ref().ok()).unzip();
        let response = match self.accept(fields.as_ref().map_err(Refusal::clone), token.as_deref()) {
            Ok(count) => self.success(count),
            Err(refusal) => self.failure(&refusal),
        };
        Outcome { response, kept, token_in }
    }

    /// Answers with a fault instead; the request is counted, its events are not.
    fn spoil(&self, fault: &Fault) -> Outcome {
        let fields = std::str::from_utf8(self.body).ok().and_then(|text| body::fields(self.content_type(), text).ok());
        let kept = self.kept(fields.as_ref());
        let token_in = self.token(fields.as_ref()).map(|(token_in, _)| token_in);
        let response = match (self.post(false, Vec::new()), fault.error(self.pixel), fault.kind) {
            (Err(refusal), _, _) => refused(self.sandbox, &refusal),
            (Ok(()), Some(error), _) => error_response(self.sandbox, error),
            (Ok(()), None, Kind::Html500) => (status(fault.status.unwrap_or(500)), axum::response::Html(PAGE)).into_response(),
            (Ok(()), None, Kind::Http504) => status(fault.status.unwrap_or(504)).into_response(),
            (Ok(()), None, _) => HangUp::response(),
        };
        Outcome { response, kept, token_in }
    }

    /// The token that counts, and where it stood.
    fn token<'f>(&'f self, fields: Option<&'f Fields>) -> Option<(&'static str, Cow<'f, str>)> {
        let in_body = || fields.and_then(|fields| fields.token.as_deref()).map(|token| ("body", Cow::Borrowed(token)));
        let in_header = || self.token_in_header().map(|token| ("header", Cow::Borrowed(token)));
        self.token_in_query().map(|token| ("query", token)).or_else(in_body).or_else(in_header)
    }

    fn accept(&self, fields: Result<&Fields, Refusal>, token: Option<&str>) -> Result<usize, Refusal> {
        let mode = self.sandbox.admit(self.pixel, token)?;
        let fields = fields?;
        let data = fields.data.as_deref().ok_or_else(|| Refusal::Parameter("data is required".to_owned()))?;
        check::partner_agent(fields.partner_agent.as_deref(), mode)?;

        let now_s = (self.sandbox.now_ms() / 1_000) as i64;
        let texts = body::events(data)?;
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
    let (status, said) = (status(error.status), Said { code: error.code, subcode: error.error_subcode });
    let mut response = (status, axum::Json(error.answer(sandbox.trace_id()))).into_response();
    response.extensions_mut().insert(said);
    response
}

const PAGE: &str = "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Sorry, something went wrong.</h1></body></html>";

fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
