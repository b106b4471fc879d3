//! `migrate`: topics, tables and the shared master key of a cluster.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use schemas::directory::Directory;
use storage::Storage;

use super::Base;
use crate::{config::Engine, house, instance::Instance, master_key, telemetry, world::RealWorld};

/// What to make.
#[derive(Args)]
pub struct Migrate {}

impl Migrate {
    /// Makes what is missing, and says what was made.
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        let settings = base.settings()?;
        telemetry::start(&settings.log)?;
        let Engine::Cluster(cluster) = &settings.engine else {
            bail!("there is nothing to make: the embedded engine makes its folder by itself; set storage.engine = \"cluster\"");
        };
        let key_file = house::master_key_file(&settings)?;
        house::make_folder(&settings.storage.data)?;
        let instance = Instance::of(&settings.storage.data, &RealWorld)?;
        let made = Storage::migrate(&cluster.config(&settings.storage, instance.name().to_owned(), None)).await?;
        drop(instance);
        for name in &made {
            println!("made {name}");
        }
        if !key_file.exists() {
            master_key::open(&key_file, &Directory::default(), &RealWorld, true)?;
            println!("made {}", key_file.display());
        }
        println!("topics and tables are as this release needs them");
        Ok(ExitCode::SUCCESS)
    }
}
