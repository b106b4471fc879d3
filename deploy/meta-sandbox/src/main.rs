//! The program: opens the box, says where it is, and serves until it is told to stop.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use meta_sandbox::{Clock, Config, Sandbox};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Meta in a box: a stand-in for Meta's Conversions API and for fbevents.js.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Keep pixels, counters and the dedup ledger in this folder; without it, in memory only
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Play this script of outages from the start
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Let the box's clock run so many times as fast as the machine's, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1)]
    clock_scale: u32,
    /// When the box's clock read what the machine's did, in milliseconds since 1970; without it, at the start
    #[arg(long, value_name = "MS")]
    clock_epoch: Option<u64>,
    /// Print one JSON line on standard output once ready
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();

    let shutdown = CancellationToken::new();
    cancel_on_signal(shutdown.clone())?;
    let clock = Clock::scaled(arguments.clock_scale)?;
    let clock = arguments.clock_epoch.map_or(Ok(clock), |epoch_ms| clock.from_epoch(epoch_ms))?;
    let sandbox = Sandbox::open_with_clock(Config { data: arguments.data }, clock)?;
    if let Some(path) = arguments.script {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        sandbox.put_script(&text).with_context(|| format!("{} is no script", path.display()))?;
    }
    let listener = TcpListener::bind(arguments.listen).await.with_context(|| format!("cannot listen on {}", arguments.listen))?;
    announce(listener.local_addr()?, arguments.json)?;
    meta_sandbox::run(listener, sandbox, shutdown).await
}

fn announce(address: SocketAddr, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    if json {
        writeln!(out, r#"{{"ready":true,"listen":"http://{address}"}}"#)?;
    } else {
        writeln!(out, "Meta in a box listens on http://{address}")?;
    }
    out.flush()
}

fn cancel_on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}
