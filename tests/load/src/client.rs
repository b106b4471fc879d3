//! A cheap HTTP/1.1 client: one request at a time on a connection that is kept, no more of the protocol than our servers use.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::traffic::Template;

/// Connections in a closed loop.
pub const CONNECTIONS: usize = 64;
/// An answer that is larger than this is none of ours.
const ANSWER_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("nobody answers on {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(4 * 1_024) })
    }

    /// Sends one whole request, reads one whole answer: its status and body.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let (head, end) = loop {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the server closed the connection instead of answering");
            if let Some(whole) = whole(&self.answer)? {
                break whole;
            }
        };
        let status = self.answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok());
        Ok((status.context("the answer has no status")?, &self.answer[head..end]))
    }
}

/// Where the body of an answer begins and ends, once all of it is there.
fn whole(answer: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else { return Ok(None) };
    let length = content_length(&answer[..head]).context("the answer does not say how long it is")?;
    if length > ANSWER_BYTES_MAX {
        bail!("an answer of {length} bytes");
    }
    Ok((answer.len() >= head + length).then_some((head, head + length)))
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head.split(|byte| *byte == b'\n').find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}

/// Who is asked for what, and which number comes next: no two requests of one benchmark are the same.
#[derive(Clone)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// The request.
    pub template: Template,
    /// The status of a good answer.
    pub status: u16,
    /// The next turn.
    pub turns: Arc<AtomicU64>,
}

impl Target {
    /// A target whose requests begin with the first turn.
    pub fn new(address: SocketAddr, request: String, status: u16) -> Self {
        Self { address, template: Template::new(request), status, turns: Arc::default() }
    }

    /// Sends the next request and checks its answer.
    pub async fn ask(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let (status, body) = connection.exchange(self.template.turn(turn)).await?;
        ensure!(status == self.status, "answered {status}: {}", String::from_utf8_lossy(body));
        Ok(())
    }
}

/// How long a closed loop goes on.
#[derive(Clone, Copy)]
pub enum Until {
    /// For a time.
    Passed(Duration),
    /// Until so many requests were answered.
    Answered(u64),
}

/// Each connection sends its next request when its last was answered. Answers how many were.
pub async fn closed_loop(target: &Target, until: Until) -> anyhow::Result<u64> {
    let began = Instant::now();
    let left = Arc::new(AtomicU64::new(match until {
        Until::Passed(_) => u64::MAX,
        Until::Answered(count) => count,
    }));
    let take = |left: &AtomicU64| left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (mut target, left) = (target.clone(), left.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(target.address).await?;
                let mut answered = 0;
                while take(&left) && !matches!(until, Until::Passed(time) if began.elapsed() >= time) {
                    target.ask(&mut connection).await?;
                    answered += 1;
                }
                anyhow::Ok(answered)
            })
        })
        .collect();
    let mut answered = 0;
    for task in tasks {
        answered += task.await??;
    }
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is_there() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        for cut in 0..answer.len() {
            assert_eq!(whole(&answer[..cut]).expect("it may be"), None, "{cut}");
        }
        assert_eq!(whole(answer).expect("it is"), Some((38, 40)));
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
