//! What every suite stands on: the real binary, Meta in a box as a process of its own, and a client that can send any bytes.
#![allow(dead_code, reason = "each suite uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

pub mod cluster;
pub mod http;
pub mod load;
pub mod trial;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::Client;
use serde_json::{Value, json};

/// How long a condition may take on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` gives something; fails with what was waited for.
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_at_most(PATIENCE, what, condition)
}

/// Waits until `condition` gives something, for a given time.
pub fn wait_at_most<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that was free a moment ago, below the range from which the kernel takes ports for outgoing connections.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 18_000 + (std::process::id() % 900) as u16 * 15;
    (0..15)
        .cycle()
        .take(300)
        .map(|_| base + NEXT.fetch_add(1, Ordering::Relaxed) % 15)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of fifteen ports is free")
}

/// The binary under test.
pub fn rapidmetrics() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rapidmetrics"))
}

/// A program of the workspace, built beside the binary under test.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_rapidmetrics")).with_file_name(name)
}

/// A child that is killed when the test forgets it, with its standard error kept for the failure message.
pub struct Process {
    child: Child,
    pub log: Arc<Mutex<String>>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> (Self, BufReader<std::process::ChildStdout>) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the binary starts");
        end_with_us(child.id());
        let log = Arc::new(Mutex::new(String::new()));
        let (errors, kept) = (child.stderr.take().expect("piped"), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                if std::env::var_os("RAPIDMETRICS_TEST_LOG").is_some() {
                    eprintln!("    {line}");
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let out = BufReader::new(child.stdout.take().expect("piped"));
        (Self { child, log }, out)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("it was our child");
    }

    /// SIGTERM, and the exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        signal(self.id(), "TERM");
        self.wait()
    }

    pub fn wait(&mut self) -> ExitStatus {
        let log = self.log.clone();
        wait_for("the process to end", || self.child.try_wait().expect("it is our child")).tap(|_| drop(log))
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

trait Tap: Sized {
    fn tap(self, f: impl FnOnce(&Self)) -> Self {
        f(&self);
        self
    }
}
impl<T> Tap for T {}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the last lines of the process:");
            tail.iter().rev().for_each(|line| eprintln!("    {line}"));
        }
    }
}

/// Ends a child when this test process is gone, however it went: a house in a `static` is never dropped.
fn end_with_us(child: u32) {
    let watch = "(while kill -0 \"$0\" && kill -0 \"$1\"; do sleep 1; done; kill -9 \"$1\") &";
    let words = [watch.to_owned(), std::process::id().to_string(), child.to_string()];
    let (input, output, errors) = (Stdio::null(), Stdio::null(), Stdio::null());
    Command::new("sh").arg("-c").args(words).stdin(input).stdout(output).stderr(errors).status().expect("a shell is everywhere");
}

/// Sends a signal by the command everyone has.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill is everywhere");
    assert!(status.success(), "kill -{name} {pid}");
}

/// Meta in a box, a process of its own: it outlives the house that is killed.
pub struct MetaBox {
    pub process: Process,
    pub url: String,
    client: Client,
}

impl MetaBox {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more words on its command line.
    pub fn start_with(words: &[&str]) -> Self {
        let mut command = Command::new(beside("meta-sandbox"));
        let (process, mut out) = Process::spawn(command.args(["--listen", "127.0.0.1:0", "--json"]).args(words));
        let mut line = String::new();
        out.read_line(&mut line).expect("it says where it listens");
        let ready: Value = serde_json::from_str(&line).expect("one JSON line");
        let url = ready["listen"].as_str().expect("its address").to_owned();
        Self { process, client: Client::of(&url), url }
    }

    pub fn at(url: &str) -> (Client, String) {
        (Client::of(url), url.to_owned())
    }

    pub fn put_pixel(&self, id: &str, token: &str) {
        let answer = self.client.put(&format!("/sandbox/pixels/{id}"), &json!({"access_token": token, "mode": "strict"}));
        assert!(answer.status < 300, "{answer:?}");
    }

    pub fn faults(&self, faults: &Value) {
        let answer = self.client.put("/sandbox/faults", faults);
        assert!(answer.status < 300, "{answer:?}");
    }

    pub fn no_faults(&self) {
        let answer = self.client.send("DELETE", "/sandbox/faults", &[], b"");
        assert!(answer.status < 300, "{answer:?}");
    }

    /// What goes wrong when, from now on.
    pub fn script(&self, text: &str) {
        let answer = self.client.send("PUT", "/sandbox/script", &[], text.as_bytes());
        assert!(answer.status < 300, "{answer:?}");
    }

    /// What should be counted in the end: pixel, event name, event id.
    pub fn expect(&self, events: &[(String, String, String)]) {
        let line = |(pixel, name, id): &(String, String, String)| json!({"pixel": pixel, "event_name": name, "event_id": id}).to_string();
        let lines: Vec<String> = events.iter().map(line).collect();
        let answer = self.client.send("PUT", "/sandbox/expected", &[], lines.join("\n").as_bytes());
        assert!(answer.status < 300, "{answer:?}");
    }

    pub fn conversion(&self, pixel: &str, name: &str, event_id: &str) -> Value {
        conversion(&self.client, pixel, name, event_id)
    }

    pub fn conversions(&self, pixel: &str) -> Vec<Value> {
        let answer = self.client.get(&format!("/sandbox/conversions?pixel={pixel}"));
        serde_json::from_slice(&answer.body).expect("a list")
    }

    pub fn requests(&self, pixel: &str) -> Vec<Value> {
        let answer = self.client.get(&format!("/sandbox/requests?pixel={pixel}&limit=10000"));
        serde_json::from_slice(&answer.body).expect("a list")
    }

    pub fn report(&self) -> Value {
        serde_json::from_slice(&self.client.get("/sandbox/report").body).expect("an object")
    }
}

/// What a box counts for one event.
pub fn conversion(meta: &Client, pixel: &str, name: &str, event_id: &str) -> Value {
    let id = event_id.replace('%', "%25").replace(':', "%3A").replace('|', "%7C").replace(' ', "%20");
    let answer = meta.get(&format!("/sandbox/conversions?pixel={pixel}&event_name={name}&event_id={id}"));
    serde_json::from_slice(&answer.body).expect("an object")
}

/// A workspace with one funnel and its pixels, made through the commands.
#[derive(Clone, Debug)]
pub struct Account {
    pub workspace: String,
    pub funnel: String,
    pub api_key: String,
    pub pixels: Vec<String>,
}

/// The house as an operator runs it: all roles, embedded, on a data folder that survives it.
pub struct House {
    pub process: Process,
    pub data: PathBuf,
    pub public: String,
    pub client: Client,
    port: u16,
    env: HashMap<String, String>,
}

impl House {
    /// Starts the house and waits until it is ready.
    pub fn start(data: &Path, meta: &MetaBox, env: &[(&str, &str)]) -> Self {
        let mut all: HashMap<String, String> = [
            ("RAPIDMETRICS_CAPI__BASE_URL", meta.url.as_str()),
            ("RAPIDMETRICS_ADMIN__LISTEN", "127.0.0.1:0"),
            ("RAPIDMETRICS_CAPI__REQUEST_TIMEOUT_MS", "1500"),
            ("RAPIDMETRICS_CAPI__RETRY_BASE_MS", "50"),
            ("RAPIDMETRICS_CAPI__RETRY_MAX_MS", "400"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        all.extend(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let port = free_port();
        let process = Self::spawn(data, port, &all);
        let public = format!("http://127.0.0.1:{port}");
        let mut house = Self { process, data: data.to_owned(), client: Client::of(&public), public, port, env: all };
        house.wait_ready();
        house
    }

    fn spawn(data: &Path, port: u16, env: &HashMap<String, String>) -> Process {
        let mut command = rapidmetrics();
        command.arg("--data").arg(data).envs(env).env("RAPIDMETRICS_INGEST__LISTEN", format!("127.0.0.1:{port}"));
        Process::spawn(&mut command).0
    }

    pub fn wait_ready(&mut self) {
        let started = Instant::now();
        wait_for("the house to be ready", || {
            if let Some(status) = self.process.has_ended() {
                panic!("the house ended after {:?}: {status}\n{}", started.elapsed(), self.process.log());
            }
            let ready = self.admin()?.try_send("GET", "/health/ready", &[], b"").ok()?;
            (ready.status == 200).then_some(())
        });
    }

    /// `kill -9`, then the same again with other settings on top.
    pub fn kill_and_start(&mut self, env: &[(&str, &str)]) {
        self.process.kill();
        self.start_again(env);
    }

    pub fn start_again(&mut self, env: &[(&str, &str)]) {
        self.begin_again(env);
        self.wait_ready();
    }

    /// The same without waiting until it is ready: it may be about to stand still before that.
    pub fn begin_again(&mut self, env: &[(&str, &str)]) {
        let _ = std::fs::remove_file(self.data.join("admin.url")); // a stale one would point at the dead process
        for (key, value) in env {
            if value.is_empty() {
                self.env.remove(*key)
            } else {
                self.env.insert((*key).to_owned(), (*value).to_owned())
            };
        }
        self.process = Self::spawn(&self.data, self.port, &self.env);
    }

    pub fn admin(&self) -> Option<Client> {
        let url = std::fs::read_to_string(self.data.join("admin.url")).ok()?;
        Some(Client::of(url.trim()))
    }

    pub fn metrics(&self) -> String {
        let answer = self.admin().expect("it runs").get("/metrics");
        String::from_utf8(answer.body).expect("text")
    }

    /// Runs a command against this house and reads its JSON lines.
    pub fn command(&self, words: &[&str]) -> Vec<Value> {
        command_on(&self.data, words)
    }

    /// Makes a workspace, a funnel and pixels, known to the box under their tokens.
    pub fn account(&self, meta: &MetaBox, pixels: &[&str]) -> Account {
        let workspace = self.command(&["workspace", "create", "Shop"]).remove(0);
        let workspace_id = workspace["id"].as_str().expect("an id").to_owned();
        let funnel = self.command(&["funnel", "create", "--server-leg-wait-s", "0", "--workspace", &workspace_id, "Main"]).remove(0);
        let funnel_id = funnel["id"].as_str().expect("an id").to_owned();
        for pixel in pixels {
            let token = format!("token-of-{pixel}");
            meta.put_pixel(pixel, &token);
            self.command(&["pixel", "add", "--funnel", &funnel_id, "--id", pixel, "--token", &token]);
        }
        Account {
            workspace: workspace_id,
            funnel: funnel_id,
            api_key: workspace["api_key"].as_str().expect("a key").to_owned(),
            pixels: pixels.iter().map(|p| (*p).to_owned()).collect(),
        }
    }

    /// Posts a webhook.
    pub fn webhook(&self, account: &Account, body: &Value) -> http::Answer {
        self.client.webhook(&account.funnel, &account.api_key, body.to_string().as_bytes())
    }

    pub fn export(&self, what: &str) -> Vec<Value> {
        self.command(&["export", what])
    }

    /// Waits until no delivery waits and all expected ones are there.
    pub fn wait_delivered(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} deliveries with an outcome"), || {
            let deliveries = self.export("deliveries");
            let ended = deliveries.iter().filter(|d| d["outcome"] != "waiting").count();
            (ended == deliveries.len() && ended >= count).then_some(deliveries)
        })
    }
}

/// Runs a command on a data folder and reads its JSON lines.
pub fn command_on(data: &Path, words: &[&str]) -> Vec<Value> {
    try_command_on(data, words).unwrap_or_else(|why| panic!("{words:?}: {why}"))
}

/// The same; an error is what the command said.
pub fn try_command_on(data: &Path, words: &[&str]) -> Result<Vec<Value>, String> {
    let output = rapidmetrics().args(words).arg("--json").arg("--data").arg(data).output().expect("the binary starts");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("text");
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect())
}

/// The demo, as a newcomer starts it, on free ports.
pub struct Demo {
    pub process: Process,
    pub ready: Value,
    pub public: Client,
    pub meta: Client,
}

impl Demo {
    pub fn start(data: Option<&Path>, env: &[(&str, &str)]) -> Self {
        let mut command = rapidmetrics();
        command.arg("demo").arg("--json");
        for listener in ["--public", "--admin", "--meta", "--shop"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        let (process, mut out) = Process::spawn(command.envs(env.iter().copied()));
        let mut line = String::new();
        out.read_line(&mut line).expect("it says that it is ready");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}\n{}", process.log()));
        let of = |name: &str| Client::of(ready[name].as_str().expect("an address"));
        Self { public: of("public"), meta: of("meta"), process, ready }
    }

    pub fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().expect("a text")
    }

    pub fn pixels(&self) -> Vec<String> {
        self.ready["pixels"].as_array().expect("a list").iter().map(|p| p["id"].as_str().expect("an id").to_owned()).collect()
    }

    pub fn webhook(&self, body: &Value) -> http::Answer {
        self.public.webhook(self.text("funnel_id"), self.text("api_key"), body.to_string().as_bytes())
    }

    pub fn export(&self, what: &str) -> Vec<Value> {
        command_on(Path::new(self.text("data")), &["export", what])
    }
}
