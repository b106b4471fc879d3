//! `GET /api/v1/tail/{topic}`: records of the log with their place, one JSON object a line:
//! `{"topic","partition","offset","key","time","value":{…}}`. `value` is the record's own JSON, as any consumer of the topic gets it.
//!
//! `from=beginning` reads from the first record kept, `from=end` nothing of what is there, and neither the newest ten.
//! Then `follow=true` goes on until the reader leaves. Within a partition records stand in the log's order; partitions are merged by
//! the records' time.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use schemas::{time::Time, topic::Topic};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use storage::{ReadError, Reader, Storage, Stored};
use tokio_util::sync::CancellationToken;

use crate::{
    Desk,
    lines::{self, Ended, Lines},
    refuse::Refused,
};

/// Records without `from`: what fits on a screen.
const NEWEST: usize = 10;
const RECORDS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 256 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    from: Option<From>,
    #[serde(default)]
    follow: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum From {
    Beginning,
    End,
}

pub(crate) async fn tail(
    State(desk): State<Arc<Desk>>,
    Path(topic): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(wanted) = wanted.map_err(|error| Refused::whole(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))?;
    let topic = Topic::parse(&topic).ok_or_else(|| {
        let message = format!("there is no such topic; there are {}", Topic::ALL.map(Topic::name).join(", "));
        Refused::whole(StatusCode::NOT_FOUND, "topic_not_found", message)
    })?;
    let heads = heads(&desk.parts.storage, topic, wanted.from).await?;
    let stop = desk.stop.clone();
    Ok(lines::answer(move |lines| write(lines, heads, topic, wanted, stop)))
}

/// One partition, read up to where it ended when the request came.
struct Head {
    partition: u32,
    reader: Reader,
    end: u64,
    read: VecDeque<Stored>,
}

async fn heads(storage: &Storage, topic: Topic, from: Option<From>) -> Result<Vec<Head>, ReadError> {
    let mut heads = Vec::new();
    for partition in 0..storage.partitions(topic) {
        let (first, end) = storage.bounds(topic, partition).await?;
        let from = match from {
            Some(From::Beginning) => first,
            Some(From::End) => end,
            None => end.saturating_sub(NEWEST as u64).max(first),
        };
        heads.push(Head { partition, reader: storage.reader(topic, partition, from), end, read: VecDeque::new() });
    }
    Ok(heads)
}

async fn write(mut lines: Lines, mut heads: Vec<Head>, topic: Topic, wanted: Wanted, stop: CancellationToken) -> Result<(), Ended> {
    let mut newest = VecDeque::new();
    while let Some(record) = next_by_time(&mut heads).await? {
        if wanted.from.is_some() {
            lines.value(&Line::of(topic, &record)).await?;
        } else {
            newest.push_back(record);
            newest.drain(..newest.len().saturating_sub(NEWEST));
        }
    }
    for record in &newest {
        lines.value(&Line::of(topic, record)).await?;
    }
    lines.flush().await?;
    if wanted.follow { follow(&lines, heads, topic, &stop).await } else { Ok(()) }
}

async fn next_by_time(heads: &mut [Head]) -> Result<Option<Stored>, ReadError> {
    for head in heads.iter_mut() {
        head.fill().await?;
    }
    let first = heads.iter_mut().filter(|head| !head.read.is_empty()).min_by_key(|head| (head.read[0].time, head.partition));
    Ok(first.and_then(|head| head.read.pop_front()))
}

impl Head {
    async fn fill(&mut self) -> Result<(), ReadError> {
        let left = self.end.saturating_sub(self.reader.position());
        if self.read.is_empty() && left > 0 {
            let at_once = RECORDS_AT_ONCE.min(left as usize);
            let read = self.reader.available(at_once, BYTES_AT_ONCE).await?;
            if read.is_empty() {
                self.end = self.reader.position(); // what stood there was dropped by retention meanwhile
            }
            self.read.extend(read);
        }
        Ok(())
    }
}

async fn follow(lines: &Lines, heads: Vec<Head>, topic: Topic, stop: &CancellationToken) -> Result<(), Ended> {
    let mut partitions = tokio::task::JoinSet::new();
    for head in heads {
        partitions.spawn(follow_one(lines.clone(), head.reader, topic));
    }
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = lines.gone() => Ok(()),
        Some(ended) = partitions.join_next() => ended.unwrap_or(Err(Ended::Gone)),
    }
}

async fn follow_one(mut lines: Lines, mut reader: Reader, topic: Topic) -> Result<(), Ended> {
    loop {
        for record in reader.next(RECORDS_AT_ONCE, BYTES_AT_ONCE).await? {
            lines.value(&Line::of(topic, &record)).await?;
        }
        lines.flush().await?;
    }
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'static str,
    partition: u32,
    offset: u64,
    key: std::borrow::Cow<'a, str>,
    time: Time,
    value: std::borrow::Cow<'a, RawValue>,
}

impl<'a> Line<'a> {
    fn of(topic: Topic, record: &'a Stored) -> Self {
        Self {
            topic: topic.name(),
            partition: record.position.partition,
            offset: record.position.offset,
            key: String::from_utf8_lossy(&record.key),
            time: record.time,
            value: one_line(&record.value),
        }
    }
}

/// A record's JSON on one line. What came from outside may stand on several; inside of texts line breaks are always escaped.
fn one_line(json: &[u8]) -> std::borrow::Cow<'_, RawValue> {
    let kept = std::str::from_utf8(json).ok().filter(|text| !text.contains(['\n', '\r']));
    if let Some(kept) = kept.and_then(|text| serde_json::from_str::<&RawValue>(text).ok()) {
        return std::borrow::Cow::Borrowed(kept);
    }
    let text = String::from_utf8_lossy(json).replace(['\n', '\r'], " ");
    let value = RawValue::from_string(text).or_else(|_| RawValue::from_string("null".to_owned()));
    std::borrow::Cow::Owned(value.expect("null is JSON"))
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_record_stands_on_one_line() {
        for (json, line) in
            [(r#"{"a":1.10}"#, r#"{"a":1.10}"#), ("{\n \"a\": \"b\\nc\"\r\n}", r#"{  "a": "b\nc"  }"#), ("not json", "null")]
        {
            assert_eq!(one_line(json.as_bytes()).get(), line);
        }
    }
}
