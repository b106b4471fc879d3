//! The programs that are measured, each a process of its own beside this one: the bare server, and ours.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    bare, cpu,
    meta::{PIXEL, TOKEN},
};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. It is killed when it is forgotten.
pub struct Server {
    child: Child,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Server {
    /// A child that answers there.
    pub fn of(child: Child, address: SocketAddr) -> Self {
        Self { child, address }
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end (SIGTERM), so that it leaves its groups and keeps what it knows, and waits.
    pub fn end(mut self) -> anyhow::Result<()> {
        ensure!(Command::new("kill").arg(self.child.id().to_string()).status()?.success(), "it ended before it was asked to");
        let status = self.child.wait()?;
        ensure!(status.success(), "it was asked to end, and ended with {status}");
        Ok(())
    }

    /// Waits until it has stopped itself, as by SIGSTOP.
    pub async fn stopped(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while cpu::state(self.child.id())? != 'T' {
            ensure!(self.child.try_wait()?.is_none(), "it ended before it stopped");
            ensure!(began.elapsed() < PATIENCE, "it did not stop itself within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Tells it to go on (SIGCONT).
    pub fn go_on(&self) -> anyhow::Result<()> {
        ensure!(Command::new("kill").arg("-CONT").arg(self.child.id().to_string()).status()?.success(), "it is gone");
        Ok(())
    }

    /// CPU time it has used so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::used(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

/// The bare server.
pub fn bare() -> anyhow::Result<Server> {
    let (child, address) = start(Command::new(std::env::current_exe()?).arg(bare::COMMAND))?;
    Ok(Server { child, address: address.trim().parse()? })
}

/// Our program in a data folder of its own, with one workspace, funnel and pixel.
pub struct House {
    /// The running process.
    pub server: Server,
    /// The funnel's id.
    pub funnel: String,
    /// The workspace's API key.
    pub api_key: String,
}

impl House {
    /// Makes the folder's contents and starts the program with those arguments and settings.
    pub fn start(data: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let Account { funnel, api_key } = account(data)?;
        let address = free_address()?;
        let mut command = program("rapidmetrics")?;
        command.args(arguments).arg("--data").arg(data);
        command.env("RAPIDMETRICS_INGEST__LISTEN", address.to_string()).env("RAPIDMETRICS_ADMIN__LISTEN", "127.0.0.1:0");
        command.env("RAPIDMETRICS_LOG__LEVEL", "warn").envs(settings.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let server = Server { child, address };
        answers(address)?;
        Ok(Self { server, funnel, api_key })
    }
}

/// Who sends, and by which key.
pub struct Account {
    /// The funnel's id.
    pub funnel: String,
    /// The workspace's API key.
    pub api_key: String,
}

/// Makes a workspace with one funnel and one pixel.
pub fn account(data: &Path) -> anyhow::Result<Account> {
    let workspace = told(data, &["workspace", "create", "Load"])?;
    let (workspace, api_key) = (text(&workspace, "id")?, text(&workspace, "api_key")?);
    let funnel = text(&told(data, &["funnel", "create", "--server-leg-wait-s", "0", "--workspace", &workspace, "Shop"])?, "id")?;
    told(data, &["pixel", "add", "--funnel", &funnel, "--id", PIXEL, "--token", TOKEN])?;
    Ok(Account { funnel, api_key })
}

/// What a command answers in JSON. It asks whoever runs on the folder; where nobody does, it opens the folder itself.
fn told(data: &Path, words: &[&str]) -> anyhow::Result<Value> {
    let output = program("rapidmetrics")?.args(words).arg("--json").arg("--data").arg(data).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "rapidmetrics {} failed", words.join(" "));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    answer[field].as_str().map(str::to_owned).with_context(|| format!("the answer lacks {field}"))
}

/// A program of the workspace, built beside this one.
pub fn program(name: &str) -> anyhow::Result<Command> {
    let path: PathBuf = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is not built; start the benchmark with tests/load/run", path.display());
    Ok(Command::new(path))
}

/// Starts a program that prints one line when it is ready.
pub fn start(command: &mut Command) -> anyhow::Result<(Child, String)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).env("RUST_LOG", "warn").spawn()?;
    let mut line = String::new();
    let out: Option<ChildStdout> = child.stdout.take();
    BufReader::new(out.context("its output is piped")?).read_line(&mut line)?;
    Ok((child, line))
}

fn answers(address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        ensure!(began.elapsed() < PATIENCE, "nothing answers on {address} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A port that is free, below the range from which the kernel takes ports for outgoing connections.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let first = 21_000 + (std::process::id() % 10_000) as u16;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = (first..first + 500).find(is_free).context("none of 500 ports is free")?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
