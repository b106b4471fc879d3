//! The house as a cluster: each role a process of its own, on topics and tables of their own on real servers.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{Account, House, MetaBox, Process, command_on, free_port, http::Client, rapidmetrics, signal, try_command_on, wait_for};

/// Topics, tables, master key and folders of one test.
pub struct Cluster {
    pub prefix: String,
    pub brokers: String,
    env: HashMap<String, String>,
    folder: tempfile::TempDir,
    pub account: Account,
    desk: Option<Member>,
    /// Deliveries that the probes of [`Cluster::open_account`] ask for.
    probed: u64,
}

/// One process of a role.
pub struct Member {
    pub process: Process,
    pub role: &'static str,
    pub data: PathBuf,
    /// Where it takes events, if it is a door.
    pub door: Door,
    port: u16,
    env: HashMap<String, String>,
}

impl Cluster {
    /// Topics, tables, a desk and an account; `None`, said as a skip, where there are no servers.
    pub fn start(meta: &MetaBox, name: &str) -> Option<Self> {
        let (kafka, cql) = Self::servers()?;
        Some(Self::on(meta, name, &kafka, &cql, 1))
    }

    /// The settings of a cluster that is not made yet.
    pub fn planned(meta: &MetaBox, name: &str) -> Option<Self> {
        let (kafka, cql) = Self::servers()?;
        Some(Self::plan(meta, name, &kafka, &cql, 1))
    }

    /// Topics and tables, and no process yet.
    pub fn made(meta: &MetaBox, name: &str) -> Option<Self> {
        Self::planned(meta, name).map(Self::migrated)
    }

    fn migrated(self) -> Self {
        let made = self.migrate().output().expect("the binary starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self
    }

    /// One process of all roles, which keeps here what is local.
    pub fn house(&self, data: &Path, meta: &MetaBox) -> House {
        self.house_with(data, meta, &[])
    }

    /// The same with other settings on top.
    pub fn house_with(&self, data: &Path, meta: &MetaBox, settings: &[(&str, &str)]) -> House {
        let mut env: Vec<(&str, &str)> = self.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        env.extend(settings);
        House::start(data, meta, &env)
    }

    fn servers() -> Option<(String, String)> {
        let server = |name: &str| std::env::var(name).ok();
        let (Some(kafka), Some(cql)) = (server("RAPIDMETRICS_TEST_KAFKA"), server("RAPIDMETRICS_TEST_CQL")) else {
            println!("skipped: RAPIDMETRICS_TEST_KAFKA and RAPIDMETRICS_TEST_CQL name no servers (tests/servers up)");
            return None;
        };
        Some((kafka, cql))
    }

    /// The same on named servers, with so many copies of everything.
    pub fn on(meta: &MetaBox, name: &str, kafka: &str, cql: &str, copies: u32) -> Self {
        let mut cluster = Self::plan(meta, name, kafka, cql, copies).migrated();
        cluster.open_desk();
        cluster
    }

    /// `migrate` with this cluster's settings; more words may follow.
    pub fn migrate(&self) -> Command {
        let mut command = rapidmetrics();
        command.arg("migrate").arg("--data").arg(self.folder.path().join("migrate")).envs(&self.env);
        command
    }

    /// Another setting for all its processes.
    pub fn set(&mut self, key: &str, value: &str) {
        self.env.insert(format!("RAPIDMETRICS_{key}"), value.to_owned());
    }

    /// The settings of all its processes.
    pub fn env(&self) -> &HashMap<String, String> {
        &self.env
    }

    pub fn open_desk(&mut self) {
        self.desk = Some(self.member("admin", "desk", &[]));
    }

    fn plan(meta: &MetaBox, name: &str, kafka: &str, cql: &str, copies: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let unique = format!("{name}{}", std::process::id());
        let env = [
            ("STORAGE__ENGINE", "cluster".to_owned()),
            ("STORAGE__KAFKA__BROKERS", kafka.to_owned()),
            ("STORAGE__KAFKA__PREFIX", format!("{unique}.")),
            ("STORAGE__KAFKA__REPLICATION", copies.to_string()),
            ("STORAGE__KAFKA__MIN_INSYNC_REPLICAS", copies.div_ceil(2).to_string()),
            ("STORAGE__KAFKA__SESSION_TIMEOUT_MS", "6000".to_owned()),
            ("STORAGE__CQL__NODES", cql.to_owned()),
            ("STORAGE__CQL__KEYSPACE", unique.clone()),
            ("STORAGE__CQL__REPLICATION_FACTOR", copies.to_string()),
            ("SECURITY__MASTER_KEY_FILE", folder.path().join("master.key").display().to_string()),
            ("CAPI__BASE_URL", meta.url.clone()),
            ("CAPI__REQUEST_TIMEOUT_MS", "1500".to_owned()),
            ("CAPI__RETRY_BASE_MS", "50".to_owned()),
            ("CAPI__RETRY_MAX_MS", "400".to_owned()),
            ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ];
        let env: HashMap<String, String> = env.into_iter().map(|(key, value)| (format!("RAPIDMETRICS_{key}"), value)).collect();
        let nobody = Account { workspace: String::new(), funnel: String::new(), api_key: String::new(), pixels: vec![] };
        Self { prefix: format!("{unique}."), brokers: kafka.to_owned(), env, folder, account: nobody, desk: None, probed: 0 }
    }

    /// Starts a process of a role and waits until it is ready.
    pub fn member(&self, role: &'static str, name: &str, env: &[(&str, &str)]) -> Member {
        let mut all = self.env.clone();
        all.extend(env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let data = self.folder.path().join(name);
        let port = if role == "ingest" { free_port() } else { 0 };
        let process = Member::spawn(role, &data, port, &all);
        let mut member = Member { process, role, data, door: Door(Client::of(&format!("http://127.0.0.1:{port}"))), port, env: all };
        member.wait_ready();
        member
    }

    /// Makes the workspace, its funnel and pixels, and waits until a door knows the last of them.
    pub fn open_account(&mut self, meta: &MetaBox, door: &Member, pixels: &[&str]) {
        let workspace = self.command(&["workspace", "create", "Shop"]).remove(0);
        let text = |value: &Value, name: &str| value[name].as_str().expect("a text").to_owned();
        let funnel =
            self.command(&["funnel", "create", "--server-leg-wait-s", "0", "--workspace", &text(&workspace, "id"), "Main"]).remove(0);
        for pixel in pixels {
            let token = format!("token-of-{pixel}");
            meta.put_pixel(pixel, &token);
            self.command(&["pixel", "add", "--funnel", &text(&funnel, "id"), "--id", pixel, "--token", &token]);
        }
        self.account = Account {
            workspace: text(&workspace, "id"),
            funnel: text(&funnel, "id"),
            api_key: text(&workspace, "api_key"),
            pixels: pixels.iter().map(|pixel| (*pixel).to_owned()).collect(),
        };
        // Every role folds the directory at its own pace: the last pixel is known when a webhook is dispatched to all of them.
        let probe = json!({"event":"lead","email":"probe@example.com"});
        let mut probed = 0;
        wait_for("the door to know the pixels", || {
            let answer = door.door.webhook(&self.account, &probe)?;
            probed += answer.1["pixel_events_queued"].as_u64().unwrap_or(0);
            (answer.0 == 200 && answer.1["pixel_events_queued"] == pixels.len()).then_some(())
        });
        self.probed += probed;
    }

    /// Waits until all that the probes asked for is delivered: the answer to a probe is faster than its dispatch.
    pub fn wait_probes_delivered(&self) {
        wait_for("the probes to be delivered", || {
            let deliveries = self.export("deliveries");
            let all = deliveries.len() as u64 >= self.probed && deliveries.iter().all(|delivery| delivery["outcome"] == "delivered");
            all.then_some(())
        });
    }

    /// Runs a command against the desk and reads its JSON lines.
    pub fn command(&self, words: &[&str]) -> Vec<Value> {
        command_on(&self.desk.as_ref().expect("it runs").data, words)
    }

    /// A table's rows; waits while the ledger is away.
    pub fn export(&self, what: &str) -> Vec<Value> {
        let data = &self.desk.as_ref().expect("it runs").data;
        wait_for("the desk to read the ledger", || try_command_on(data, &["export", what]).ok())
    }

    /// Everything committed in a topic, as a reader that is not ours sees it: kcat, `read_committed`.
    pub fn outside(&self, topic: &str) -> Vec<Value> {
        let name = format!("{}{topic}.v1", self.prefix);
        let output = Command::new("kcat")
            .args([
                "-C",
                "-q",
                "-e",
                "-b",
                &self.brokers,
                "-t",
                &name,
                "-o",
                "beginning",
                "-X",
                "isolation.level=read_committed",
                "-f",
                "%s\n",
            ])
            .output()
            .expect("kcat is installed (tests/run does it)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

impl Member {
    fn spawn(role: &str, data: &PathBuf, port: u16, env: &HashMap<String, String>) -> Process {
        let mut command = rapidmetrics();
        command.arg(role).arg("--data").arg(data).envs(env).env("RAPIDMETRICS_INGEST__LISTEN", format!("127.0.0.1:{port}"));
        Process::spawn(&mut command).0
    }

    pub fn wait_ready(&mut self) {
        wait_for(&format!("{} to be ready", self.role), || {
            if let Some(status) = self.process.has_ended() {
                panic!("{} ended: {status}\n{}", self.role, self.process.log());
            }
            self.is_ready().then_some(())
        });
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        let Ok(url) = std::fs::read_to_string(self.data.join("admin.url")) else { return false };
        Client::of(url.trim()).try_send("GET", "/health/ready", &[], b"").is_ok_and(|answer| answer.status == 200)
    }

    /// Its readiness in one word; `None` while nobody answers.
    pub fn readiness(&self) -> Option<String> {
        let url = std::fs::read_to_string(self.data.join("admin.url")).ok()?;
        let answer = Client::of(url.trim()).try_send("GET", "/health/ready", &[], b"").ok()?;
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        body["status"].as_str().map(str::to_owned)
    }

    /// One of its metrics, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let Ok(url) = std::fs::read_to_string(self.data.join("admin.url")) else { return 0.0 };
        let Ok(answer) = Client::of(url.trim()).try_send("GET", "/metrics", &[], b"") else { return 0.0 };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_file(self.data.join("admin.url")); // it would point at the dead process
    }

    /// Starts it again with other settings on top; an empty one is taken away.
    pub fn start_again(&mut self, env: &[(&str, &str)]) {
        for (key, value) in env {
            if value.is_empty() {
                self.env.remove(*key)
            } else {
                self.env.insert((*key).to_owned(), (*value).to_owned())
            };
        }
        self.process = Self::spawn(self.role, &self.data, self.port, &self.env);
    }

    pub fn stop(&self) {
        signal(self.process.id(), "STOP");
    }

    pub fn go_on(&self) {
        signal(self.process.id(), "CONT");
    }
}

/// A door's address; senders keep it when its process dies.
#[derive(Clone)]
pub struct Door(Client);

impl Door {
    /// The door at an address.
    pub fn at(url: &str) -> Self {
        Self(Client::of(url))
    }

    /// Posts a webhook: status and JSON; `None` without an answer.
    pub fn webhook(&self, account: &Account, body: &Value) -> Option<(u16, Value)> {
        let path = format!("/v1/webhook/custom/{}", account.funnel);
        let headers = [("content-type", "application/json"), ("x-api-key", account.api_key.as_str())];
        let answer = self.0.try_send("POST", &path, &headers, body.to_string().as_bytes()).ok()?;
        Some((answer.status, serde_json::from_slice(&answer.body).ok()?))
    }

    /// Posts a batch of the script.
    pub fn session(&self, body: &Value) -> Option<u16> {
        let headers = [("content-type", "text/plain"), ("user-agent", "Test/1.0")];
        self.0.try_send("POST", "/v1/session", &headers, body.to_string().as_bytes()).ok().map(|answer| answer.status)
    }
}
