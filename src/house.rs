//! The house itself: the store, the directory, the master key, the world, and everyone's metrics, opened in that order.

use std::{
    fs::DirBuilder,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use prometheus::{Registry, process_collector::ProcessCollector};
use schemas::{directory::Directory, secret::Key, world::World};
use storage::Storage;
use tokio::sync::{mpsc, watch};

use crate::{
    config::{Engine, Settings},
    directory::Follower,
    doorplate::Doorplate,
    instance::Instance,
    master_key,
    world::RealWorld,
};

/// After `shutdown.deadline_ms`, and together with it below the 30 s that supervisors leave.
const CLOSE_WITHIN: Duration = Duration::from_secs(4);

/// What the rooms of this process share.
pub struct House {
    pub settings: Settings,
    pub storage: Storage,
    pub directory: Arc<ArcSwap<Directory>>,
    pub folded: watch::Receiver<u64>,
    pub keys: Key,
    pub world: Arc<dyn World>,
    pub registry: Registry,
    pub checks: admin::Checks,
    /// Taken by the task that follows the directory.
    pub follower: Option<Follower>,
    /// Hung out when the desk answers, taken in on a clean exit.
    pub doorplate: Option<Doorplate>,
    /// Where the desk hands on a wish to move the folder, and where it is heard: by [`crate::shutdown::Tasks`].
    pub moves: (mpsc::Sender<admin::MoveAsked>, Option<mpsc::Receiver<admin::MoveAsked>>),
    /// In a cluster, this process's name, held while it lives.
    _instance: Option<Instance>,
}

impl House {
    /// Opens log and ledger and folds the directory.
    pub async fn open(settings: Settings) -> anyhow::Result<Self> {
        make_folder(&settings.storage.data)?;
        let spool = settings.spool.as_ref().map(|spool| spool.folder.as_path());
        spool.map_or(Ok(()), make_folder)?;
        let world = RealWorld::of(settings.clock)?;
        let (storage, instance) = match &settings.engine {
            Engine::Embedded => (open_storage(settings.storage.clone()).await?, None),
            Engine::Cluster(cluster) => {
                let instance = Instance::of(&settings.storage.data, &world)?;
                let config = cluster.config(&settings.storage, instance.name().to_owned(), settings.spool.as_ref());
                (Storage::open_cluster(config, world.new_id()).await?, Some(instance))
            }
        };
        Self::on(settings, storage, instance).await
    }

    /// The house on log and ledger that are open.
    pub async fn on(settings: Settings, storage: Storage, instance: Option<Instance>) -> anyhow::Result<Self> {
        let world: Arc<dyn World> = Arc::new(RealWorld::of(settings.clock)?);
        if settings.clock.scale > 1 {
            tracing::warn!(scale = settings.clock.scale, "the clock runs faster than the machine's: that is for tests only");
        }
        let follower = Follower::open(&storage, settings.spool.as_ref().map(|spool| spool.folder.as_path())).await?;
        let (directory, folded) = (follower.directory(), follower.folded());
        let keys = master_key::open(&master_key_file(&settings)?, &directory.load(), &*world, may_make_key(&settings))?;
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        storage.register(&registry)?;
        let checks = admin::Checks::default();
        checks.pass("storage");
        checks.pass("directory");
        Ok(Self {
            settings,
            storage,
            directory,
            folded,
            keys,
            world,
            registry,
            checks,
            follower: Some(follower),
            doorplate: None,
            moves: {
                let (asks, asked) = mpsc::channel(1);
                (asks, Some(asked))
            },
            _instance: instance,
        })
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.settings.storage.data
    }

    /// Takes the doorplate in and closes the store. A disk that hangs must not hold the process: everything acknowledged is synced.
    pub async fn close(self) {
        drop(self.doorplate);
        if tokio::time::timeout(CLOSE_WITHIN, self.storage.close()).await.is_err() {
            tracing::error!("the store did not close in time; the process ends without it");
            std::process::exit(1);
        }
    }
}

/// The folder holds personal data: only its owner may look inside. One that is there keeps the mode it has.
pub fn make_folder(data: &Path) -> anyhow::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(data) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("the data folder {} cannot be made", data.display()))
        }
        _ => Ok(()),
    }
}

/// Reading old journals blocks, so it has a thread of its own.
async fn open_storage(config: storage::Config) -> anyhow::Result<Storage> {
    let opened = tokio::task::spawn_blocking(move || Storage::open_embedded(&config)).await;
    Ok(opened.context("the store broke down while it opened")??)
}

/// The master key's file. Processes of a cluster share one, so it must be named.
pub fn master_key_file(settings: &Settings) -> anyhow::Result<PathBuf> {
    let named = &settings.security.master_key_file;
    match settings.engine {
        _ if !named.as_os_str().is_empty() => Ok(named.clone()),
        Engine::Embedded => Ok(settings.storage.data.join("master.key")),
        Engine::Cluster(_) => anyhow::bail!(
            "every process of a cluster needs the same master key: name its file with security.master_key_file (`rapidmetrics migrate` makes it)"
        ),
    }
}

/// A process of a cluster that made a key of its own would seal under what nobody else has.
fn may_make_key(settings: &Settings) -> bool {
    matches!(settings.engine, Engine::Embedded)
}
