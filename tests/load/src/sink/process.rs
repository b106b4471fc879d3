//! The program's role `deliver` on a folder that was filled beforehand. It stops itself just before its first request and is then told to
//! go on, so that what a start costs does not count.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{
    cluster::Member,
    program::{self, PATIENCE, Server},
};

/// How often it is asked how far it is. Each answer costs it about a third of a millisecond.
const LOOK: Duration = Duration::from_millis(100);
/// So much CPU a look is what a process uses that has nothing to do.
const REST: Duration = Duration::from_millis(10);

/// The running role.
pub struct Sink {
    member: Member,
    before: Duration,
    began: Instant,
}

impl Sink {
    /// Starts it; it sends from now on.
    pub async fn start(data: &Path, meta: &Server) -> anyhow::Result<Self> {
        let mut command = program::program("rapidmetrics")?;
        command.arg("deliver").arg("--data").arg(data);
        let base_url = format!("http://{}", meta.address);
        let settings = [
            ("CAPI__BASE_URL", base_url.as_str()),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
            ("LOG__LEVEL", "warn"),
            ("STORAGE__PAUSE_AT", "stop/intent.before"),
        ];
        command.envs(settings.map(|(key, value)| (format!("RAPIDMETRICS_{key}"), value)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut server = Server::of(child, meta.address);
        server.stopped().await?;
        let before = server.cpu()?;
        let began = Instant::now();
        server.go_on()?;
        Ok(Self { member: Member::of(server, "deliver", data).await?, before, began })
    }

    /// Waits until so many deliveries have their outcome and the store has put away what it wrote. Answers the CPU time, and how long it
    /// took until the last outcome.
    pub async fn ended(&self, deliveries: u64) -> anyhow::Result<(Duration, Duration)> {
        loop {
            let ended = self.outcomes().await?;
            if ended >= deliveries {
                break;
            }
            ensure!(self.began.elapsed() < PATIENCE, "{ended} of {deliveries} deliveries have an outcome after {PATIENCE:?}");
            tokio::time::sleep(LOOK).await;
        }
        let took = self.began.elapsed();
        let mut used = self.member.server.cpu()?;
        loop {
            tokio::time::sleep(LOOK * 2).await;
            let now = self.member.server.cpu()?;
            if now.saturating_sub(used) <= REST {
                return Ok((now.saturating_sub(self.before), took));
            }
            ensure!(self.began.elapsed() < PATIENCE, "it does not come to rest within {PATIENCE:?}");
            used = now;
        }
    }

    /// Ends it in order.
    pub fn end(self) -> anyhow::Result<()> {
        self.member.end()
    }

    async fn outcomes(&self) -> anyhow::Result<u64> {
        let is_outcome = |name: &str| {
            name.starts_with("rapidmetrics_capi_dispatches{")
                && !name.contains(r#"state="dispatched""#)
                && !name.contains(r#"state="waiting""#)
        };
        let metrics = self.member.metrics().await?;
        Ok(metrics.iter().filter(|(name, _)| is_outcome(name)).map(|(_, value)| *value as u64).sum())
    }
}
