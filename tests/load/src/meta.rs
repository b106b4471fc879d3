//! Meta in a box, a process of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::{
    client::Connection,
    program::{self, PATIENCE, Server},
};

/// Meta's id of the one pixel where one is enough.
pub const PIXEL: &str = "1234567890123456";
/// The token of every pixel.
pub const TOKEN: &str = "EAAload";

/// What the box took, over all pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Requests, whatever became of them.
    pub requests: u64,
    /// Copies of events.
    pub events: u64,
}

/// Starts a box that knows those pixels.
pub async fn start(pixels: &[&str]) -> anyhow::Result<Server> {
    let (child, ready) = program::start(program::program("meta-sandbox")?.args(["--listen", "127.0.0.1:0", "--json"]))?;
    let ready: Value = serde_json::from_str(&ready)?;
    let address = ready["listen"].as_str().and_then(|url| url.strip_prefix("http://")).context("the box does not say where it listens")?;
    let meta = Server::of(child, address.parse()?);
    for pixel in pixels {
        put(&meta, &format!("pixels/{pixel}"), &format!(r#"{{"access_token":"{TOKEN}","mode":"real"}}"#)).await?;
    }
    Ok(meta)
}

/// Tells the box how to be: a PUT below `/sandbox/`.
pub async fn put(meta: &Server, path: &str, body: &str) -> anyhow::Result<()> {
    let request = format!(
        "PUT /sandbox/{path} HTTP/1.1\r\nhost: box\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = Connection::open(meta.address).await?;
    let (status, answer) = connection.exchange(request.as_bytes()).await?;
    ensure!(status < 300, "the box does not take {path}: {}", String::from_utf8_lossy(answer));
    Ok(())
}

/// What it has taken so far.
pub async fn taken(meta: &Server) -> anyhow::Result<Taken> {
    let mut connection = Connection::open(meta.address).await?;
    let (_, answer) = connection.exchange(b"GET /sandbox/report HTTP/1.1\r\nhost: box\r\n\r\n").await?;
    let report: serde_json::Map<String, Value> = serde_json::from_slice(answer)?;
    let sum = |of: &str| report.values().filter_map(|pixel| pixel[of].as_u64()).sum();
    Ok(Taken { requests: sum("requests"), events: sum("events") })
}

/// Waits until it has taken that many events.
pub async fn all_taken(meta: &Server, events: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let taken = taken(meta).await?.events;
        if taken >= events {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the box has {taken} of {events} events after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
