//! Meta in a box: a stand-in for Meta's Conversions API and for `fbevents.js`.
//!
//! A request travels `server` → `events` → `body` (one of three encodings) → `check` (Meta's rules as a table) →
//! `ledger` (what Meta would count), and on its way meets what `conduct` decides: a `fault`,
//! a line of the `script`, a `latency`, a `budget`. A page's pixel comes in through `browser`;
//! people and tests look through `control` and steer through `steer`. What must outlive the process goes through the `journal`.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use meta_sandbox::{Config, Mode, Sandbox, run};
//!
//! let sandbox = Sandbox::open(Config::default())?;
//! sandbox.put_pixel("1234567890", "EAAtoken", Mode::Real)?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! run(listener, sandbox, tokio_util::sync::CancellationToken::new()).await
//! # }
//! ```

mod body;
mod browser;
mod budget;
mod check;
mod clock;
mod conduct;
mod control;
mod dice;
mod events;
mod expected;
mod fault;
mod journal;
mod json;
mod latency;
mod ledger;
mod pixel;
mod refusal;
mod ring;
mod sandbox;
mod script;
mod server;
mod steer;

pub use clock::Clock;
pub use ledger::{Conversion, Totals};
pub use pixel::{Mode, TokenState};
pub use sandbox::{Config, Sandbox};
pub use server::run;
