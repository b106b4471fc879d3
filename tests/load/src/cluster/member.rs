//! One process of a role, and what it says of itself.

use std::{net::SocketAddr, path::Path, process::Command, process::Stdio, time::Duration, time::Instant};

use anyhow::{bail, ensure};

use crate::{
    client::Connection,
    program::{self, PATIENCE, Server},
};

/// A process of a role.
pub struct Member {
    /// The process, and where it takes events if it is a door.
    pub server: Server,
    desk: SocketAddr,
}

impl Member {
    /// Starts it and waits until it is ready.
    pub async fn start(mut command: Command, role: &str, data: &Path) -> anyhow::Result<Self> {
        let address = program::free_address()?;
        command.env("RAPIDMETRICS_INGEST__LISTEN", address.to_string());
        let server = Server::of(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?, address);
        Self::of(server, role, data).await
    }

    /// Waits until a process that was started is ready.
    pub async fn of(mut server: Server, role: &str, data: &Path) -> anyhow::Result<Self> {
        let began = Instant::now();
        loop {
            if let Some(desk) = desk(data)
                && let Ok((200, _)) = get(desk, "/health/ready").await
            {
                return Ok(Self { server, desk });
            }
            if let Some(status) = server.has_ended()? {
                bail!("{role} ended: {status}");
            }
            ensure!(began.elapsed() < PATIENCE, "{role} is not ready after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its metrics, each with its labels and value.
    pub async fn metrics(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let (_, text) = get(self.desk, "/metrics").await?;
        let pair = |line: &str| line.rsplit_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
        Ok(text.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect())
    }

    /// Asks it to end, and waits.
    pub fn end(self) -> anyhow::Result<()> {
        self.server.end()
    }
}

/// The address that a process has written into its folder.
fn desk(data: &Path) -> Option<SocketAddr> {
    std::fs::read_to_string(data.join("admin.url")).ok()?.trim().strip_prefix("http://")?.parse().ok()
}

async fn get(desk: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut connection = Connection::open(desk).await?;
    let (status, body) = connection.exchange(format!("GET {path} HTTP/1.1\r\nhost: desk\r\n\r\n").as_bytes()).await?;
    Ok((status, String::from_utf8_lossy(body).into_owned()))
}
