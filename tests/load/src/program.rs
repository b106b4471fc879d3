//! The programs that are measured, each a process of its own beside this one: the bare server, ours, and Meta in a box.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::{bare, client::Connection, cpu};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Meta's id of the one pixel, and its token.
const PIXEL: &str = "1234567890123456";
const TOKEN: &str = "EAAload";

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

/// Meta in a box, which knows the pixel.
pub async fn meta_box() -> anyhow::Result<Server> {
    let (child, ready) = start(program("meta-sandbox")?.args(["--listen", "127.0.0.1:0", "--json"]))?;
    let ready: Value = serde_json::from_str(&ready)?;
    let address = ready["listen"].as_str().and_then(|url| url.strip_prefix("http://")).context("the box does not say where it listens")?;
    let server = Server { child, address: address.parse()? };
    let body = format!(r#"{{"access_token":"{TOKEN}","mode":"real"}}"#);
    let request = format!(
        "PUT /sandbox/pixels/{PIXEL} HTTP/1.1\r\nhost: box\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = Connection::open(server.address).await?;
    let (status, answer) = connection.exchange(request.as_bytes()).await?;
    ensure!(status < 300, "the box does not take the pixel: {}", String::from_utf8_lossy(answer));
    Ok(server)
}

/// How many events the box has taken of the pixel.
pub async fn events_taken(meta: &Server) -> anyhow::Result<u64> {
    let mut connection = Connection::open(meta.address).await?;
    let (_, answer) = connection.exchange(b"GET /sandbox/report HTTP/1.1\r\nhost: box\r\n\r\n").await?;
    let report: Value = serde_json::from_slice(answer)?;
    Ok(report[PIXEL]["events"].as_u64().unwrap_or(0))
}

/// Waits until the box has taken that many.
pub async fn all_taken(meta: &Server, events: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let taken = events_taken(meta).await?;
        if taken >= events {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the box has {taken} of {events} events after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
fn start(command: &mut Command) -> anyhow::Result<(Child, String)> {
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
