//! The roles: each binds what it listens on, is handed its parts, and runs as a task with a reason to stop of its own.

use admin::Token;
use anyhow::Context;
use storage::Intake;
use tokio::net::TcpListener;

use crate::{
    config::{Engine, Settings},
    doorplate::Doorplate,
    house::House,
    http,
    shutdown::{Task, Tasks},
};

/// What a process can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The door.
    Ingest,
    /// The judge.
    Process,
    /// The sink.
    Deliver,
}

impl Role {
    /// Everything.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Process, Self::Deliver];
}

/// What the process listens on, bound before anything works: a port that is taken stops the boot.
pub struct Listeners {
    /// For the door, if the process has one.
    pub public: Option<TcpListener>,
    /// For the desk.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds what the settings say.
    pub async fn bind(settings: &Settings, roles: &[Role]) -> anyhow::Result<Self> {
        let public = if roles.contains(&Role::Ingest) { Some(bind("ingest.listen", &settings.ingest.listen).await?) } else { None };
        Ok(Self { public, admin: bind("admin.listen", &settings.admin.listen).await? })
    }
}

/// Binds a listener, or says what to change.
pub async fn bind(setting: &str, address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; give another address with {setting}"))
}

/// Starts the roles, and the desk beside them. Answers the desk's token.
pub async fn start(house: &mut House, roles: &[Role], listeners: Listeners, tasks: &mut Tasks) -> anyhow::Result<Token> {
    let token = Token::new(&*house.world);
    let address = listeners.admin.local_addr()?;
    follow_directory(house, tasks);
    for role in roles {
        match role {
            Role::Process => process(house, tasks)?,
            Role::Deliver => deliver(house, tasks)?,
            Role::Ingest => {} // last: whatever comes in finds everyone at work
        }
    }
    let intake = intake(house, tasks).await?;
    if let Some(listener) = listeners.public {
        ingest(house, tasks, listener, intake.clone()).await?;
    }
    admin(house, tasks, listeners.admin, token.clone(), intake)?;
    house.doorplate = Some(Doorplate::hang(house.data(), address, &token).context("admin.url cannot be written to the data folder")?);
    Ok(token)
}

/// Follows the directory.
pub fn follow_directory(house: &mut House, tasks: &mut Tasks) {
    if let Some(follower) = house.follower.take() {
        tasks.start(Task::Directory, &house.checks, |stop| async move { Ok(follower.run(stop).await?) });
    }
}

/// The log, and for a door the spool before it if the settings name one.
async fn intake(house: &House, tasks: &mut Tasks) -> anyhow::Result<Intake> {
    let appender = house.storage.appender();
    let Some(spool) = house.settings.spool.clone() else { return Ok(Intake::direct(appender)) };
    let intake = Intake::with_spool(appender, spool).await?;
    intake.register(&house.registry)?;
    let drained = intake.clone();
    tasks.start(Task::Spool, &house.checks, |stop| async move { Ok(drained.drain(stop).await?) });
    Ok(intake)
}

async fn ingest(house: &House, tasks: &mut Tasks, listener: TcpListener, intake: Intake) -> anyhow::Result<()> {
    let metrics = ingest::Metrics::new();
    metrics.register(&house.registry)?;
    let parts = ingest::Parts {
        intake,
        answers: house.storage.answers().await?,
        directory: house.directory.clone(),
        keys: house.keys.clone(),
        world: house.world.clone(),
        config: house.settings.ingest.clone(),
        metrics,
    };
    tasks.start(Task::Ingest, &house.checks, |stop| async move { Ok(ingest::run(listener, parts, stop).await?) });
    Ok(())
}

/// Starts the judge.
pub fn process(house: &House, tasks: &mut Tasks) -> anyhow::Result<()> {
    let metrics = processor::Metrics::new();
    metrics.register(&house.registry)?;
    let parts = processor::Parts {
        storage: house.storage.clone(),
        keys: house.keys.clone(),
        world: house.world.clone(),
        config: house.settings.processor.clone(),
        metrics,
    };
    tasks.start(Task::Process, &house.checks, |stop| async move { Ok(processor::run(parts, stop).await?) });
    Ok(())
}

/// Starts the sink.
pub fn deliver(house: &House, tasks: &mut Tasks) -> anyhow::Result<()> {
    let metrics = projections::capi::Metrics::new();
    metrics.register(&house.registry)?;
    let parts = sink(house, metrics)?;
    tasks.start(Task::Deliver, &house.checks, |stop| async move { Ok(projections::capi::run(parts, stop).await?) });
    Ok(())
}

/// What the sink is handed.
pub fn sink(house: &House, metrics: projections::capi::Metrics) -> anyhow::Result<projections::capi::Parts> {
    Ok(projections::capi::Parts {
        storage: house.storage.clone(),
        directory: house.directory.clone(),
        keys: house.keys.clone(),
        world: house.world.clone(),
        http: http::to_meta(&house.settings.capi)?,
        config: house.settings.capi.clone(),
        metrics,
    })
}

fn admin(house: &House, tasks: &mut Tasks, listener: TcpListener, token: Token, intake: Intake) -> anyhow::Result<()> {
    let mut parts = desk(house, token)?;
    if matches!(house.settings.engine, Engine::Embedded) {
        parts.moves = Some(house.moves.0.clone());
    }
    let probe = (intake, house.world.clone(), house.checks.clone());
    tasks.start(Task::Admin, &house.checks, |stop| async move {
        let (intake, world, checks) = probe;
        let (served, ()) = tokio::join!(admin::run(listener, parts, stop.clone()), admin::probe(intake, world, checks, stop));
        Ok(served?)
    });
    Ok(())
}

/// What the desk is handed.
pub fn desk(house: &House, token: Token) -> anyhow::Result<admin::Parts> {
    let metrics = admin::Metrics::new();
    metrics.register(&house.registry)?;
    Ok(admin::Parts {
        storage: house.storage.clone(),
        directory: house.directory.clone(),
        folded: house.folded.clone(),
        keys: house.keys.clone(),
        world: house.world.clone(),
        token,
        registry: house.registry.clone(),
        metrics,
        checks: house.checks.clone(),
        moves: None,
        config: house.settings.admin.clone(),
    })
}
