//! A small house around the door: an engine in a folder that goes away, one funnel, and a judge that says what the test wants.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use ingest::{Config, Metrics, Parts};
use schemas::{
    directory::{Change, Directory, Funnel, Pixel, Workspace},
    id::{FunnelId, PixelId, WorkspaceId},
    money::Currency,
    secret::{Key, NONCE_BYTES},
    site::Site,
    time::Time,
    topic::Topic,
    verdict::{Answer, Verdict},
    world::World,
};
use serde_json::Value;
use storage::{Step, Storage, Stored};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Longer than any test waits for something that comes.
const SOON: Duration = Duration::from_secs(10);

pub const KEY: &str = "rm_key";

/// The settings of a test: the shipped defaults, and what the test changes.
pub fn config(changes: &str) -> Config {
    let mut table: toml::Table = include_str!("../../../deploy/defaults.toml").parse().expect("the defaults are TOML");
    let mut section = table.remove("ingest").and_then(|section| section.try_into::<toml::Table>().ok()).expect("there is a section");
    section.extend(changes.parse::<toml::Table>().expect("the changes are TOML"));
    section.try_into().expect("they are the door's settings")
}

struct Clock(AtomicU64);

impl World for Clock {
    fn now(&self) -> Time {
        Time::from_micros(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64)
    }

    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let n = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            chunk.copy_from_slice(&(n ^ (n >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

fn directory(keys: &Key) -> Directory {
    let (workspace, funnel) = (WorkspaceId::parse("ws_1").expect("an id"), FunnelId::parse("fn_1").expect("an id"));
    let pixel = PixelId::parse("1234567890").expect("an id");
    let sealed = |text: &str| keys.seal("test", text.as_bytes(), [3; NONCE_BYTES]);
    let site = serde_json::json!({"allowed_origins": ["https://*.shop.example", "https://shop.example"], "cookie_domain": "shop.example", "advanced_matching": true,
        "consent": "pending", "dnt": true});
    let mut directory = Directory::default();
    for change in [
        Change::WorkspaceCreated(Workspace {
            id: workspace.clone(),
            name: "Acme".into(),
            api_key: sealed(KEY),
            api_key_lookup: keys.lookup(KEY),
        }),
        Change::FunnelCreated(Funnel {
            id: funnel.clone(),
            workspace_id: workspace.clone(),
            name: "Shop".into(),
            currency: Currency::parse("EUR").expect("a currency"),
            server_leg_wait_s: 60,
            site: Site::default(),
        }),
        Change::FunnelCreated(Funnel {
            id: FunnelId::parse("fn_site").expect("an id"),
            workspace_id: workspace.clone(),
            name: "A shop and its own pages".into(),
            currency: Currency::parse("EUR").expect("a currency"),
            server_leg_wait_s: 60,
            site: Site::default().with(site.as_object().expect("an object").clone()).expect("settings"),
        }),
        Change::PixelSet(Pixel { id: pixel.clone(), workspace_id: workspace, access_token: sealed("EAAB"), test_event_code: None }),
        Change::PixelLinked { funnel_id: funnel, pixel_id: pixel },
    ] {
        directory.fold(change).expect("each fits the one before");
    }
    directory
}

/// The running door.
pub struct House {
    pub address: SocketAddr,
    pub storage: Storage,
    pub stop: CancellationToken,
    pub running: JoinHandle<Result<(), std::io::Error>>,
    _folder: tempfile::TempDir,
}

impl House {
    pub async fn open(changes: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open_embedded(&storage::Config {
            data: folder.path().to_owned(),
            partitions: 2,
            free_bytes_min: 0,
            queue_bytes_max: 1 << 20,
            pause_at: None,
            fail_sync_after: None,
        })
        .expect("the engine opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (keys, stop) = (Key::new([7; 32]), CancellationToken::new());
        let parts = Parts {
            intake: storage::Intake::direct(storage.appender()),
            answers: storage.answers().await.expect("the engine is open"),
            directory: Arc::new(ArcSwap::from_pointee(directory(&keys))),
            keys,
            world: Arc::new(Clock(AtomicU64::new(1))),
            config: config(changes),
            metrics: Metrics::new(),
        };
        let running = tokio::spawn(ingest::run(listener, parts, stop.clone()));
        Self { address, storage, stop, running, _folder: folder }
    }

    /// A judge that says the same of everything.
    pub fn judge(&self, verdict: &Verdict) {
        for partition in 0..self.storage.partitions(Topic::Raw) {
            let (mut reader, storage, verdict) = (self.storage.reader(Topic::Raw, partition, 0), self.storage.clone(), verdict.clone());
            tokio::spawn(async move {
                while let Ok(records) = reader.next(100, 1 << 20).await {
                    let mut step = Step::named("judge");
                    step.answers.extend(records.iter().filter_map(|record| {
                        let raw: schemas::raw::Raw<'_> = serde_json::from_slice(&record.value).expect("raw is readable");
                        let answer = Answer { raw_id: raw.id, raw_partition: partition, verdict: verdict.clone() };
                        Some(storage::Reply { to: raw.reply_to?, answer })
                    }));
                    if storage.commit(step).await.is_err() {
                        break; // the house closed
                    }
                }
            });
        }
    }

    /// All raw records, by partition and offset.
    pub async fn raw(&self) -> Vec<(Stored, Value)> {
        let mut all = Vec::new();
        for partition in 0..self.storage.partitions(Topic::Raw) {
            let records = self.storage.reader(Topic::Raw, partition, 0).available(1_000, 1 << 24).await.expect("readable");
            all.extend(records.into_iter().map(|record| {
                let value = serde_json::from_slice(&record.value).expect("raw is JSON");
                (record, value)
            }));
        }
        all
    }

    pub async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.expect("it listens"))
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut client = self.connect().await;
        client.send(request).await;
        client.reply().await
    }

    /// A webhook with the right key.
    pub async fn webhook(&self, headers: &str, body: &str) -> Reply {
        self.ask(post("/v1/webhook/custom/fn_1", &format!("x-api-key: {KEY}\r\n{headers}"), body)).await
    }
}

/// A POST as bytes; each header line ends with CRLF.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: m.example.com\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// One connection.
pub struct Client(TcpStream);

impl Client {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("it takes bytes");
    }

    /// Sends although the other side may have closed.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// The next answer.
    pub async fn reply(&mut self) -> Reply {
        let answered = async {
            let mut reply = self.read_head().await?;
            let length = reply.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.ok()?;
            reply.body = String::from_utf8(body).ok()?;
            Some(reply)
        };
        timeout(SOON, answered).await.expect("it answers soon").expect("it answers")
    }

    /// The next answer, to a HEAD.
    pub async fn head(&mut self) -> Reply {
        timeout(SOON, self.read_head()).await.expect("it answers soon").expect("it answers")
    }

    /// Waits for the other side to close; whatever it still says is thrown away.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = timeout(SOON, self.0.read_to_end(&mut rest)).await.expect("it closes soon");
    }

    async fn read_head(&mut self) -> Option<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Reply { status, head, body: String::new() })
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// All values of a header that may stand several times.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    /// The status and the error's code and field.
    pub fn error(&self) -> (u16, String, Option<String>) {
        let json = self.json();
        assert_eq!(json["status"], "error", "{json}");
        let text = |name: &str| json["error"][name].as_str().map(str::to_owned);
        (self.status, text("code").expect("an error has a code"), text("field"))
    }
}
