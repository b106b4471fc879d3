//! Answers that are streams: one JSON object a line, written as they are read, at the pace of whoever reads them.

use std::io;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::refuse::Refused;

/// Lines are gathered up to this size, so that small records do not cost a chunk each.
const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks that may wait for a slow reader; beyond it the reading of the store waits.
const CHUNKS_WAITING_MAX: usize = 4;

/// The end into which lines are written.
#[derive(Clone)]
pub(crate) struct Lines {
    out: mpsc::Sender<io::Result<Bytes>>,
    gathered: BytesMut,
}

/// The reader went away: there is nobody left to write for.
pub(crate) struct Gone;

/// Why a stream ended early.
pub(crate) enum Ended {
    Gone,
    Refused(Refused),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl<E: Into<Refused>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// An answer whose lines are written by `write`. If that fails in the middle the connection breaks off, so that nobody takes a part
/// for the whole.
pub(crate) fn answer<W, F>(write: W) -> Response
where
    W: FnOnce(Lines) -> F,
    F: Future<Output = Result<(), Ended>> + Send + 'static,
{
    let (out, mut chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
    let writing = write(Lines { out: out.clone(), gathered: BytesMut::new() });
    tokio::spawn(async move {
        if let Err(Ended::Refused(refused)) = writing.await {
            tracing::warn!(?refused, "a stream broke off");
            let _ = out.send(Err(io::Error::other("the store cannot be read"))).await; // nobody to tell if the reader is gone
        }
    });
    let body = Body::from_stream(futures_util::stream::poll_fn(move |context| chunks.poll_recv(context)));
    ([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

impl Lines {
    /// Writes one value as a line.
    pub(crate) async fn value(&mut self, value: &impl Serialize) -> Result<(), Gone> {
        serde_json::to_writer((&mut self.gathered).writer(), value).expect("our own words serialise, and memory takes every byte");
        self.gathered.put_u8(b'\n');
        self.flush_if_full().await
    }

    /// Sends what was gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), Gone> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.out.send(Ok(self.gathered.split().freeze())).await.map_err(|_| Gone)
    }

    /// Resolves when nobody reads any more.
    pub(crate) async fn gone(&self) {
        self.out.closed().await;
    }

    async fn flush_if_full(&mut self) -> Result<(), Gone> {
        if self.gathered.len() >= CHUNK_BYTES { self.flush().await } else { Ok(()) }
    }
}
