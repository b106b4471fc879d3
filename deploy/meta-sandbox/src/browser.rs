//! The pixel's side: the script that stands in for `fbevents.js`, and the reports it sends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::body::form;
use crate::journal::Entry;
use crate::sandbox::{Hit, Sandbox};

const SCRIPT: &str = include_str!("../assets/fbevents.js");
const JAVASCRIPT: &str = "application/javascript; charset=utf-8";
/// One transparent pixel.
const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";

pub(crate) async fn script() -> Response {
    ([(header::CONTENT_TYPE, JAVASCRIPT), (header::CACHE_CONTROL, "no-cache")], SCRIPT).into_response()
}

/// Meta's per-pixel configuration; ours is empty.
pub(crate) async fn pixel_config() -> Response {
    ([(header::CONTENT_TYPE, JAVASCRIPT)], "").into_response()
}

/// `GET /tr?id=…&ev=…&eid=…&cd[value]=…`: also the form that pages without script use.
pub(crate) async fn image(State(sandbox): State<Sandbox>, uri: Uri) -> Response {
    let status = take(&sandbox, uri.query().unwrap_or_default());
    (status, [(header::CONTENT_TYPE, "image/gif"), (header::CACHE_CONTROL, "no-store")], GIF).into_response()
}

/// `POST /tr`: the same as a form, sent by `sendBeacon` while the page goes away.
pub(crate) async fn beacon(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    take(&sandbox, &String::from_utf8_lossy(&body)).into_response()
}

/// Counts a report. What names no event, or no pixel the box knows, is answered like the rest and not counted.
fn take(sandbox: &Sandbox, report: &str) -> StatusCode {
    let Some(hit) = read(report, sandbox.now_ms()) else { return StatusCode::OK };
    if sandbox.with_pixels(|pixels| pixels.get(&hit.pixel).is_none()) {
        tracing::warn!(pixel = hit.pixel, "a page reports to a pixel that the box does not know");
        return StatusCode::OK;
    }
    let entry = Entry::Hit {
        pixel: Cow::Borrowed(&hit.pixel),
        at_ms: hit.received_at,
        name: Cow::Borrowed(&hit.event_name),
        id: hit.event_id.as_deref().map(Cow::Borrowed),
    };
    if sandbox.record(&entry).is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    sandbox.seen().hits.push(report.len(), hit);
    StatusCode::OK
}

fn read(report: &str, received_at: u64) -> Option<Hit> {
    let mut other: BTreeMap<String, String> = form(report).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let is_param = |name: &str| name.strip_prefix("cd[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned);
    let params = other.iter().filter_map(|(name, value)| Some((is_param(name)?, value.clone()))).collect();
    other.retain(|name, _| is_param(name).is_none());
    Some(Hit {
        pixel: other.remove("id")?,
        received_at,
        event_name: other.remove("ev").filter(|name| !name.is_empty())?,
        event_id: other.remove("eid").filter(|id| !id.is_empty()),
        url: other.remove("dl"),
        params,
        other,
    })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_report_is_read_into_its_parts() {
        let hit = read("id=1&ev=Purchase&eid=f%3Ao&dl=http%3A%2F%2Fshop%2F&cd%5Bvalue%5D=9.5&fbp=fb.0.1.2", 7).expect("a hit");
        assert_eq!((hit.pixel.as_str(), hit.event_name.as_str(), hit.event_id.as_deref()), ("1", "Purchase", Some("f:o")));
        assert_eq!(hit.url.as_deref(), Some("http://shop/"));
        assert_eq!(hit.params["value"], "9.5");
        assert_eq!(hit.other.into_iter().collect::<Vec<_>>(), [("fbp".to_owned(), "fb.0.1.2".to_owned())]);
        assert!(read("id=1&ev=", 7).is_none());
        assert!(read("", 7).is_none());
    }
}
