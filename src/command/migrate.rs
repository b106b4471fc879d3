//! `migrate`: topics, tables and the shared master key of a cluster; with `--from` also everything that an embedded folder holds.

mod abort;
mod folder;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use schemas::{directory::Directory, world::World};
use storage::{ClusterConfig, Storage};

use super::Base;
use crate::{
    config::{Engine, Settings},
    house,
    instance::Instance,
    master_key, telemetry,
    world::RealWorld,
};

/// What to make.
#[derive(Args)]
pub struct Migrate {
    /// Move an embedded data folder into the cluster: through the process that runs on it, which ends, or the folder itself. Run again, it
    /// goes on where it stopped
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Give a move up that has not ended: the folder goes on, and what was copied is taken away
    #[arg(long, requires = "from")]
    abort: bool,
}

impl Migrate {
    /// Makes what is missing, and says what was made.
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        let settings = base.settings()?;
        telemetry::start(&settings.log)?;
        match &self.from {
            None => make(&settings).await?,
            Some(from) if self.abort => abort::run(&settings, from).await?,
            Some(from) => folder::run(settings, from).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn make(settings: &Settings) -> anyhow::Result<()> {
    let key_file = house::master_key_file(settings)?;
    let target = Target::of(settings)?;
    target.make().await?;
    if !key_file.exists() {
        master_key::open(&key_file, &Directory::default(), &RealWorld::of(settings.clock)?, true)?;
        println!("made {}", key_file.display());
    }
    println!("topics and tables are as this release needs them");
    Ok(())
}

/// The cluster of the settings.
struct Target {
    config: ClusterConfig,
    world: RealWorld,
    /// Two commands of one data folder do not work at once.
    _instance: Instance,
}

impl Target {
    fn of(settings: &Settings) -> anyhow::Result<Self> {
        let Engine::Cluster(cluster) = &settings.engine else {
            bail!("there is nothing to make: the embedded engine makes its folder by itself; set storage.engine = \"cluster\"");
        };
        house::make_folder(&settings.storage.data)?;
        let world = RealWorld::of(settings.clock)?;
        let instance = Instance::of(&settings.storage.data, &world)?;
        Ok(Self { config: cluster.config(&settings.storage, instance.name().to_owned(), None), world, _instance: instance })
    }

    /// Makes topics and tables that are not there.
    async fn make(&self) -> anyhow::Result<()> {
        for name in Storage::migrate(&self.config).await? {
            println!("made {name}");
        }
        Ok(())
    }

    /// Opens it for a move alone.
    async fn open(&self) -> anyhow::Result<Storage> {
        let mut config = self.config.clone();
        // A move has time: a broker that is started again meanwhile shall not end it.
        config.kafka.delivery_timeout_ms = config.kafka.delivery_timeout_ms.max(60_000);
        Ok(Storage::open_cluster_to_move(config, self.world.new_id()).await?)
    }

    /// The cluster in words, as a folder's mark has it.
    fn words(&self) -> String {
        format!("topics {}*, keyspace {}", self.config.kafka.prefix, self.config.cql.keyspace)
    }
}

/// The folder, which must hold a store.
fn folder_of(from: &Path) -> anyhow::Result<PathBuf> {
    if !from.join("store").is_dir() {
        bail!("{} is no data folder of the embedded engine: there is no store in it", from.display());
    }
    std::path::absolute(from).with_context(|| format!("{} cannot be found", from.display()))
}
