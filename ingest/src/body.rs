//! A request's body, read whole with a limit that holds while it streams.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use crate::refuse::Refused;

/// A caller who is refused may still be sending. So many bytes more are taken and thrown away, so that it comes to read the answer.
const REST_BYTES_MAX: usize = 1024 * 1024;

/// A body that has not been read to its end yet.
pub(crate) struct Body {
    frames: Incoming,
    done: bool,
    /// The caller waits for `100 Continue` before it sends: reading would ask for it.
    waits: bool,
}

impl Body {
    pub(crate) fn new(frames: Incoming, headers: &HeaderMap) -> Self {
        Self { frames, done: false, waits: headers.contains_key(header::EXPECT) }
    }

    /// The whole body, if it is at most `bytes_max` and comes in time.
    pub(crate) async fn read(&mut self, bytes_max: usize, timeout: Duration) -> Result<Bytes, Refused> {
        if self.frames.size_hint().lower() > bytes_max as u64 {
            return Err(Refused::TooLarge { bytes_max });
        }
        self.waits = false;
        tokio::time::timeout(timeout, self.collect(bytes_max)).await.unwrap_or(Err(Refused::Slow))
    }

    /// A small body comes in one piece and is not copied.
    async fn collect(&mut self, bytes_max: usize) -> Result<Bytes, Refused> {
        let first = self.next().await?.unwrap_or_default();
        if first.len() > bytes_max {
            return Err(Refused::TooLarge { bytes_max });
        }
        if self.done || self.frames.is_end_stream() {
            return Ok(first);
        }
        let announced = self.frames.size_hint().lower() as usize; // at most `bytes_max`: checked before
        let mut all = BytesMut::with_capacity(first.len() + announced);
        all.extend_from_slice(&first);
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > bytes_max {
                return Err(Refused::TooLarge { bytes_max });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        while let Some(frame) = self.frames.frame().await {
            if let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        self.done = true;
        Ok(None)
    }

    /// Leaves the body. What a caller is still sending is taken beside the answer, up to a bound, then the connection is closed.
    pub(crate) fn leave(mut self, timeout: Duration) {
        if self.done || self.waits || self.frames.is_end_stream() {
            return;
        }
        let rest = async move {
            let mut taken = 0;
            while let Ok(Some(piece)) = self.next().await {
                taken += piece.len();
                if taken > REST_BYTES_MAX {
                    break;
                }
            }
        };
        tokio::spawn(tokio::time::timeout(timeout, rest));
    }
}
