//! The house: the only place where rooms meet. Read [`run`] and [`serve`] first.

mod command;
mod config;
mod directory;
mod doorplate;
mod drain;
mod house;
mod http;
mod instance;
mod master_key;
mod role;
mod shutdown;
mod telemetry;
mod world;

use std::{io, process::ExitCode};

use clap::Parser;

use command::{Command, CommandLine};
use config::Settings;
use house::House;
use role::{Listeners, Role};
use shutdown::Tasks;

/// 10 to 15 % ahead of the system allocator in our loops.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let line = CommandLine::parse();
    match run(line).await {
        Ok(code) => code,
        // Whoever read our output has seen enough: `rapidmetrics export purchases | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rapidmetrics: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(line: CommandLine) -> anyhow::Result<ExitCode> {
    let base = line.base;
    match line.command {
        None | Some(Command::All) => serve(base.settings()?, &Role::ALL).await,
        Some(Command::Ingest) => serve(base.settings()?, &[Role::Ingest]).await,
        Some(Command::Process) => serve(base.settings()?, &[Role::Process]).await,
        Some(Command::Deliver) => serve(base.settings()?, &[Role::Deliver]).await,
        Some(Command::Admin) => serve(base.settings()?, &[]).await,
        Some(Command::Project) => anyhow::bail!("there is nothing to project yet: read models come with the dashboard"),
        Some(Command::Demo(demo)) => demo.run(&base).await,
        Some(Command::Workspace(workspace)) => workspace.run(&base).await,
        Some(Command::Funnel(funnel)) => funnel.run(&base).await,
        Some(Command::Pixel(pixel)) => pixel.run(&base).await,
        Some(Command::Receipt(receipt)) => receipt.run(&base).await,
        Some(Command::Totals(totals)) => totals.run(&base).await,
        Some(Command::Replay(replay)) => replay.run(&base).await,
        Some(Command::Tail(tail)) => tail.run(&base).await,
        Some(Command::Export(export)) => export.run(&base).await,
        Some(Command::Migrate(migrate)) => migrate.run(&base).await,
    }
}

/// Each connection takes a file descriptor, and the usual soft limit of 1,024 is below `ingest.connections_max`: ask for what the system
/// allows.
fn allow_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Opens the house, starts the roles, waits for a reason to stop, and leaves in order. The desk always runs beside the roles, because
/// each process has a health and metrics of its own.
async fn serve(mut settings: Settings, roles: &[Role]) -> anyhow::Result<ExitCode> {
    telemetry::start(&settings.log)?;
    settings.spool.take_if(|_| !roles.contains(&Role::Ingest)); // the roles of a cluster may share one file of settings
    allow_connections();
    let mut house = House::open(settings).await?;
    let mut tasks = Tasks::new()?;
    let listeners = Listeners::bind(&house.settings, roles).await?;
    let public = listeners.public.as_ref().and_then(|listener| listener.local_addr().ok()).map(tracing::field::display);
    tracing::info!(public, admin = %listeners.admin.local_addr()?, data = %house.data().display(), "listening");
    role::start(&mut house, roles, listeners, &mut tasks).await?;
    let code = tasks.until_told(&mut house).await;
    house.close().await;
    Ok(code)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
