//! The desk: what operators, scripts and monitors talk to. Health, metrics, and the small API behind the commands.
//!
//! | call | token | answer |
//! |---|---|---|
//! | `GET /` | no | one page that says what is here |
//! | `GET /health/live` | no | 200 while the process runs |
//! | `GET /health/ready` | no | 200 or 503, and every check by name |
//! | `GET /metrics` | no | Prometheus text |
//! | `GET`, `POST /api/v1/workspaces`, `/funnels`, `/pixels` | yes | lists, and what was made |
//! | `GET /api/v1/pixels/{id}` | yes | a pixel's state: whether Meta takes its events, and what waits |
//! | `POST /api/v1/move` | yes | the process takes no more, finishes what it holds, marks its folder and ends |
//! | `GET /api/v1/receipt?order_id=…\|event_id=…` | yes | the whole life of one order or event |
//! | `GET /api/v1/totals` | yes | what became of everything that was dispatched |
//! | `POST /api/v1/replay` | yes | how many deliveries of an outcome can be sent again; or sends them, one JSON object a line of progress |
//! | `GET /api/v1/tail/{topic}` | yes | one JSON object a line: a record of the log with its place |
//! | `GET /api/v1/export/{purchases\|leads\|deliveries}` | yes | one JSON object a line: a row of the ledger |
//!
//! The token goes into `Authorization: Bearer …`. What was made is answered only when this process has folded it.

mod checks;
mod config;
mod directory;
mod export;
mod health;
mod home;
mod lines;
mod metrics;
mod moving;
mod pixel;
mod probe;
mod receipt;
mod refuse;
mod replay;
mod routes;
mod server;
mod span;
mod tail;
#[cfg(test)]
mod tests;
mod token;
mod told;
mod totals;
mod wish;

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::Registry;
use schemas::{
    directory::Directory,
    secret::Key,
    time::{DAY_US, Time},
    world::World,
};
use storage::Storage;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, watch},
};
use tokio_util::sync::CancellationToken;

pub use checks::Checks;
pub use config::Config;
pub use metrics::Metrics;
pub use moving::MoveAsked;
pub use probe::probe;
pub use token::Token;

/// The purpose under which API keys are sealed.
pub const API_KEY_PURPOSE: &str = "api-key";
/// The purpose under which access tokens are sealed.
pub const ACCESS_TOKEN_PURPOSE: &str = "access-token";

/// What the desk is handed.
pub struct Parts {
    /// To read log and ledger, and to append to the directory; the desk never commits a step.
    pub storage: Storage,
    /// The directory as folded so far.
    pub directory: Arc<ArcSwap<Directory>>,
    /// The directory holds every record below this offset.
    pub folded: watch::Receiver<u64>,
    /// The master key, under which new secrets are sealed.
    pub keys: Key,
    /// Time and randomness.
    pub world: Arc<dyn World>,
    /// What a caller must show.
    pub token: Token,
    /// Every room's metrics.
    pub registry: Registry,
    /// This room's own.
    pub metrics: Metrics,
    /// What readiness asks.
    pub checks: Checks,
    /// Where a wish to move the folder goes; `None` where nobody could grant it.
    pub moves: Option<mpsc::Sender<MoveAsked>>,
    /// This room's settings.
    pub config: Config,
}

/// The desk, shared by every request.
struct Desk {
    parts: Parts,
    /// Held from the check of a change until it is folded, so that the next change is checked against it.
    changing: Mutex<()>,
    /// Held while the whole ledger is walked through, so that the memory of it has one bound.
    counting: Mutex<()>,
    /// Ends streams that follow the log.
    stop: CancellationToken,
}

/// Serves until `stop` is cancelled, then lets what is under way finish.
pub async fn run(listener: TcpListener, parts: Parts, stop: CancellationToken) -> std::io::Result<()> {
    let config = parts.config.clone();
    let desk = Arc::new(Desk { parts, changing: Mutex::new(()), counting: Mutex::new(()), stop: stop.clone() });
    server::serve(listener, routes::routes(desk), &config, stop).await
}

/// When Meta stops accepting an event.
fn deadline(occurred_at: Time) -> Time {
    occurred_at.plus_micros(7 * DAY_US)
}

/// The hour of its deadline: a part of the key of `waiting`.
fn deadline_hour(occurred_at: Time) -> i64 {
    deadline(occurred_at).seconds() / 3_600
}
