//! The roles: each binds what it listens on, is handed its parts, and runs as a task with a reason to stop of its own.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;

use crate::{
    doorplate::Doorplate,
    house::House,
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

/// Where the process can be reached.
pub struct Addresses {
    /// The public listener, if the process has one.
    pub public: Option<SocketAddr>,
    /// The admin listener.
    pub admin: SocketAddr,
    /// What the desk asks for.
    pub token: admin::Token,
}

/// Starts the roles, and the desk beside them.
pub async fn start(house: &mut House, roles: &[Role], tasks: &mut Tasks) -> anyhow::Result<Addresses> {
    // Bind first: a port that is taken stops the boot before anything works.
    let public = match roles.contains(&Role::Ingest) {
        true => Some(bind("ingest.listen", &house.settings.ingest.listen).await?),
        false => None,
    };
    let desk = bind("admin.listen", &house.settings.admin.listen).await?;
    let addresses = Addresses {
        public: public.as_ref().map(TcpListener::local_addr).transpose()?,
        admin: desk.local_addr()?,
        token: admin::Token::new(&*house.world),
    };
    follow_directory(house, tasks);
    for role in roles {
        match role {
            Role::Ingest => {}
            Role::Process => process(house, tasks)?,
            Role::Deliver => deliver(house, tasks)?,
        }
    }
    if let Some(listener) = public {
        ingest(house, tasks, listener)?; // last: whatever comes in finds everyone at work
    }
    admin(house, tasks, desk, addresses.token.clone())?;
    let plate =
        Doorplate::hang(house.data(), addresses.admin, &addresses.token).context("admin.url cannot be written to the data folder")?;
    house.doorplate = Some(plate);
    Ok(addresses)
}

/// Binds a listener, or says which setting to change.
pub async fn bind(setting: &str, address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; give another address with {setting}"))
}

fn follow_directory(house: &mut House, tasks: &mut Tasks) {
    if let Some(follower) = house.follower.take() {
        tasks.start(Task::Directory, &house.checks, |stop| async move { Ok(follower.run(stop).await?) });
    }
}

fn ingest(house: &House, tasks: &mut Tasks, listener: TcpListener) -> anyhow::Result<()> {
    let metrics = ingest::Metrics::new();
    metrics.register(&house.registry)?;
    let parts = ingest::Parts {
        appender: house.storage.appender(),
        answers: house.storage.answers(),
        directory: house.directory.clone(),
        keys: house.keys.clone(),
        world: house.world.clone(),
        config: house.settings.ingest.clone(),
        metrics,
    };
    tasks.start(Task::Ingest, &house.checks, |stop| async move { Ok(ingest::run(listener, parts, stop).await?) });
    Ok(())
}

fn process(house: &House, tasks: &mut Tasks) -> anyhow::Result<()> {
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

fn deliver(house: &House, tasks: &mut Tasks) -> anyhow::Result<()> {
    let metrics = projections::capi::Metrics::new();
    metrics.register(&house.registry)?;
    let parts = projections::capi::Parts {
        storage: house.storage.clone(),
        directory: house.directory.clone(),
        keys: house.keys.clone(),
        world: house.world.clone(),
        http: http_client()?,
        config: house.settings.capi.clone(),
        metrics,
    };
    tasks.start(Task::Deliver, &house.checks, |stop| async move { Ok(projections::capi::run(parts, stop).await?) });
    Ok(())
}

fn admin(house: &House, tasks: &mut Tasks, listener: TcpListener, token: admin::Token) -> anyhow::Result<()> {
    let parts = desk(house, token)?;
    let probe = (house.storage.appender(), house.world.clone(), house.checks.clone());
    tasks.start(Task::Admin, &house.checks, |stop| async move {
        let (appender, world, checks) = probe;
        let (served, ()) = tokio::join!(admin::run(listener, parts, stop.clone()), admin::probe(appender, world, checks, stop));
        Ok(served?)
    });
    Ok(())
}

/// What the desk is handed.
pub fn desk(house: &House, token: admin::Token) -> anyhow::Result<admin::Parts> {
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
        config: house.settings.admin.clone(),
    })
}

/// The sink's way out. It goes to the configured Meta base URL only: a redirect would carry the access token elsewhere.
fn http_client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("rapidmetrics/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .build()
        .context("no HTTPS client can be made; are the system's CA certificates installed?")
}
