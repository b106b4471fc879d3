//! The master key's file: read, or made when nothing is sealed yet. Mode 0600.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, bail};
use schemas::{
    directory::Directory,
    secret::{KEY_BYTES, Key},
    world::World,
};

/// The key in the file. When there is no file and nothing was ever sealed, a new key is made if it may be; when something was, only its
/// old key will do.
pub fn open(file: &Path, directory: &Directory, world: &dyn World, may_make: bool) -> anyhow::Result<Key> {
    let sealed = directory.all().0.next();
    let key = match fs::read_to_string(file) {
        Ok(text) => Key::from_hex(&text).with_context(|| format!("the master key file {} must hold 64 hex digits", file.display()))?,
        Err(error) if error.kind() == ErrorKind::NotFound && sealed.is_none() && may_make => return make(file, world),
        Err(error) if error.kind() == ErrorKind::NotFound && sealed.is_none() => bail!(
            "the master key file {} is missing; `rapidmetrics migrate` makes one, and every process of the cluster needs the same",
            file.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "the directory holds secrets sealed under a master key, and the file {} is missing; \
             put the key back, or name its file in security.master_key_file",
            file.display()
        ),
        Err(error) => return Err(error).with_context(|| format!("the master key file {} cannot be read", file.display())),
    };
    if sealed.is_some_and(|workspace| key.open(admin::API_KEY_PURPOSE, &workspace.api_key).is_err()) {
        bail!("the master key in {} is not the one under which the directory's secrets were sealed; put that one back", file.display());
    }
    warn_if_open_to_others(file);
    Ok(key)
}

/// Refuses two key files that hold different keys; either may be missing.
pub fn same_or_missing(one: &Path, other: &Path) -> anyhow::Result<()> {
    if one.exists() && other.exists() && read(one)?.to_hex() != read(other)?.to_hex() {
        bail!(
            "{} and {} hold different master keys: what is sealed under the first must stay readable. Name another file in \
             security.master_key_file, or none that is there yet",
            one.display(),
            other.display()
        );
    }
    Ok(())
}

/// Copies a key file to where none is; one that is there was compared before.
pub fn copy_if_missing(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() || !from.exists() {
        return Ok(());
    }
    write(to, &read(from)?).with_context(|| format!("the master key file {} cannot be written", to.display()))?;
    println!("copied {} to {}", from.display(), to.display());
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Key> {
    let text = fs::read_to_string(file).with_context(|| format!("the master key file {} cannot be read", file.display()))?;
    Key::from_hex(&text).with_context(|| format!("the master key file {} must hold 64 hex digits", file.display()))
}

fn make(file: &Path, world: &dyn World) -> anyhow::Result<Key> {
    let mut bytes = [0; KEY_BYTES];
    world.fill(&mut bytes);
    let key = Key::new(bytes);
    write(file, &key).with_context(|| format!("the master key file {} cannot be written", file.display()))?;
    tracing::info!(file = %file.display(), "made a master key; keep a copy of it apart from the data");
    Ok(key)
}

/// Synced, name and all, before anything is sealed under it.
fn write(file: &Path, key: &Key) -> std::io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(out, "{}", key.to_hex().as_str())?;
    out.sync_all()?;
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn warn_if_open_to_others(file: &Path) {
    if let Ok(about) = fs::metadata(file)
        && about.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(file = %file.display(), "the master key file can be read by others; chmod 600 it");
    }
}

#[cfg(test)]
mod tests {
    use schemas::{
        directory::{Change, Workspace},
        id::WorkspaceId,
        secret::NONCE_BYTES,
    };

    use super::*;
    use crate::world::RealWorld;

    fn with_a_secret_under(key: &Key) -> Directory {
        let mut directory = Directory::default();
        let api_key = key.seal(admin::API_KEY_PURPOSE, b"rm_live_x", [1; NONCE_BYTES]);
        let workspace = Workspace { id: WorkspaceId::new([1; 12]), name: "A".to_owned(), api_key, api_key_lookup: key.lookup("rm_live_x") };
        directory.fold(Change::WorkspaceCreated(workspace)).expect("a workspace needs nothing before it");
        directory
    }

    #[test]
    fn a_key_is_made_once_and_only_it_opens_the_folder_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("master.key");
        let made = open(&file, &Directory::default(), &RealWorld::default(), true).expect("a new folder gets a key");
        assert_eq!(fs::metadata(&file).expect("it was written").permissions().mode() & 0o777, 0o600);
        let directory = with_a_secret_under(&made);
        assert_eq!(open(&file, &directory, &RealWorld::default(), true).expect("it is the one").to_hex(), made.to_hex());

        let other = folder.path().join("other.key");
        let missing =
            open(&other, &directory, &RealWorld::default(), true).expect_err("nothing may be sealed under a second key").to_string();
        assert!(missing.contains("other.key is missing; put the key back"), "{missing}");
        open(&other, &Directory::default(), &RealWorld::default(), true).expect("it is new");
        let wrong = open(&other, &directory, &RealWorld::default(), true).expect_err("it is another key").to_string();
        assert!(wrong.contains("is not the one"), "{wrong}");
        fs::write(&file, "abc").expect("a file of a few bytes");
        assert!(open(&file, &directory, &RealWorld::default(), true).is_err_and(|error| error.to_string().contains("64 hex digits")));
    }
}
