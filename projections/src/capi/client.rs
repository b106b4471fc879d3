//! One POST to Meta, and what its answer means.

use std::time::Duration;

use reqwest::{
    Response,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use schemas::id::PixelId;

use super::{
    classify::{Class, Said, classify},
    config::Config,
    usage::Usage,
};

/// Most bytes read of an answer; Meta's are a few hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// Speaks to Meta. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// `{base_url}/{api_version}`.
    edge: String,
    timeout: Duration,
}

/// What came of a POST.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What the answer said; of a lost one only that it is to be tried again.
    pub said: Said,
    /// Whether Meta may have taken the batch although it did not say so.
    pub is_ambiguous: bool,
    /// How long Meta asks us to wait.
    pub retry_after_us: Option<i64>,
    /// How much of Meta's limits is used.
    pub usage: Usage,
    /// Why there was no answer.
    pub lost: Option<String>,
}

impl Client {
    pub fn new(http: reqwest::Client, config: &Config) -> Self {
        let edge = format!("{}/{}", config.base_url.trim_end_matches('/'), config.api_version);
        Self { http, edge, timeout: Duration::from_millis(config.request_timeout_ms) }
    }

    /// Sends one batch. The token is in the body, never in the URL.
    pub async fn post(&self, pixel: &PixelId, body: Vec<u8>) -> Answer {
        let request = self
            .http
            .post(format!("{}/{pixel}/events", self.edge))
            .timeout(self.timeout)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body);
        match request.send().await {
            Ok(response) => read(response).await,
            Err(error) => Answer::lost(&error),
        }
    }
}

async fn read(mut response: Response) -> Answer {
    let status = response.status().as_u16();
    let usage = Usage::of(response.headers());
    let retry_after_us = retry_after(&response).max(usage.regain_us);
    let mut body = Vec::new();
    let whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())]);
                if body.len() == ANSWER_BYTES_MAX {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let mut said = classify(status, &body);
    let is_yes = (200..300).contains(&status);
    let lost = whole.err().map(|error| reasons(error.without_url()));
    if lost.is_some() && !is_yes {
        said.class = Class::Retry; // half an error is none: nothing may be concluded against the events
    }
    // A 5xx, or a page of somebody in between where a yes should stand, leaves open what Meta did.
    let is_ambiguous = status >= 500 || is_yes && said.class == Class::Retry;
    Answer { status: Some(status), said, is_ambiguous, retry_after_us, usage, lost }
}

impl Answer {
    /// No answer. Ambiguous unless it is certain that nothing was sent.
    fn lost(error: &reqwest::Error) -> Self {
        let said = Said { class: Class::Retry, code: None, subcode: None, trace_id: None, title: None, events_received: None, index: None };
        let is_ambiguous = !error.is_connect() && !error.is_builder();
        Self { status: None, said, is_ambiguous, retry_after_us: None, usage: Usage::default(), lost: Some(reasons(error)) }
    }
}

/// An error with its causes, which hold addresses but never the URL's path or the body.
fn reasons(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn retry_after(response: &Response) -> Option<i64> {
    let seconds: u32 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(i64::from(seconds) * schemas::time::SECOND_US)
}
