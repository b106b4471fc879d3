//! The program: opens the box, says where it is, and serves until it is told to stop.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use meta_sandbox::{Config, Sandbox};
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
    let sandbox = Sandbox::open(Config { data: arguments.data })?;
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
