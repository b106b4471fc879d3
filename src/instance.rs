//! This process's name among those of a cluster: made once, kept in the data folder, and held by one process at a time.
//!
//! The brokers know by it what a process that died left open, and abort that as soon as its successor comes. Two processes of one name
//! would stop each other, hence the lock.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use schemas::world::World;

const FILE: &str = "instance";

/// The name, held while this lives.
pub struct Instance {
    name: String,
    _lock: File,
}

impl Instance {
    /// The name in a folder; made if there is none.
    pub fn of(folder: &Path, world: &dyn World) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let wrong = || format!("the file {} cannot be used", path.display());
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).with_context(wrong)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("the data folder {} is in use by another process; give each process its own with --data", folder.display());
        }
        let mut name = fs::read_to_string(&path).with_context(wrong)?.trim().to_owned();
        if name.is_empty() {
            name = world.new_id().simple().to_string();
            writeln!(file, "{name}").and_then(|()| file.sync_all()).with_context(wrong)?;
        }
        Ok(Self { name, _lock: file })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::RealWorld;

    #[test]
    fn a_folder_has_one_name_for_ever_and_one_process_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = Instance::of(folder.path(), &RealWorld::default()).expect("it is new");
        let name = first.name().to_owned();
        let taken = Instance::of(folder.path(), &RealWorld::default()).err().map(|error| error.to_string());
        assert!(taken.is_some_and(|why| why.contains("is in use by another process")));
        drop(first);
        assert_eq!(Instance::of(folder.path(), &RealWorld::default()).expect("it is free").name(), name);
    }
}
