//! A data folder as the program would have made it: pixels in its directory, dispatches in its log.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, ensure};
use projections::capi::Note;
use schemas::{
    delivery::Outcome,
    directory::{Change, DirectoryRecord, Pixel, Workspace},
    dispatch::Dispatch,
    envelope::VERSION,
    id::PixelId,
    secret::{KEY_BYTES, Key, NONCE_BYTES},
    topic::{Group, Topic},
    world::World,
};
use storage::{Append, Storage};

use super::event;
use crate::{
    judge,
    meta::{self, TOKEN},
    program::Server,
    traffic::RealWorld,
};

/// Dispatches appended at once.
const APPEND_RECORDS: usize = 2_000;

/// So many pixels, each with an id of its own.
pub fn pixels(count: u64) -> Vec<PixelId> {
    (0..count).map(|number| PixelId::parse(&(1_234_567_890_000_000 + number).to_string()).expect("digits")).collect()
}

/// A box that knows those pixels.
pub async fn meta(pixels: &[PixelId]) -> anyhow::Result<Server> {
    meta::start(&pixels.iter().map(PixelId::as_str).collect::<Vec<_>>()).await
}

/// The key under which everything is sealed.
pub fn key() -> Key {
    Key::new([7; KEY_BYTES])
}

/// What the directory has to be told of a workspace with those pixels.
pub fn changes(pixels: &[PixelId]) -> Vec<Change> {
    let keys = key();
    let workspace = Change::WorkspaceCreated(Workspace {
        id: event::workspace(),
        name: "Load".to_owned(),
        api_key: keys.seal("api-key", b"rm_load", nonce()),
        api_key_lookup: keys.lookup("rm_load"),
    });
    let pixel = |id: &PixelId| {
        let access_token = keys.seal("access-token", TOKEN.as_bytes(), nonce());
        Change::PixelSet(Pixel { id: id.clone(), workspace_id: event::workspace(), access_token, test_event_code: None })
    };
    std::iter::once(workspace).chain(pixels.iter().map(pixel)).collect()
}

/// Makes the folder, with its key, its directory and its log.
pub async fn fill(data: &Path, pixels: &[PixelId], dispatches: impl IntoIterator<Item = Dispatch>) -> anyhow::Result<()> {
    std::fs::create_dir_all(data)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(data.join("master.key"))?;
    writeln!(file, "{}", key().to_hex().as_str())?;
    let storage = Storage::open_embedded(&judge::storage(data.to_owned())?)?;
    let appender = storage.appender();
    appender.append(changes(pixels).into_iter().map(directory_record).collect()).await?;
    let mut dispatches = dispatches.into_iter().map(|dispatch| event::append(&dispatch)).peekable();
    while dispatches.peek().is_some() {
        appender.append(dispatches.by_ref().take(APPEND_RECORDS).collect()).await?;
    }
    storage.close().await;
    Ok(())
}

/// Checks that every delivery of a folder whose program has ended is in the ledger's books with its outcome, as many of each as named.
pub async fn check(data: &Path, delivered: u64, rejected: u64) -> anyhow::Result<()> {
    let storage = Storage::open_embedded(&judge::storage(data.to_owned())?)?;
    let (mut dispatched, mut found) = (0, [0; 2]);
    for partition in 0..storage.partitions(Topic::Dispatch) {
        let committed = storage.committed(Group::Capi, partition).await?;
        let (_, end) = storage.bounds(Topic::Dispatch, partition).await?;
        ensure!(committed.next_offset == end, "partition {partition} is consumed up to {} of {end}", committed.next_offset);
        let Some(note) = committed.metadata else { continue }; // nobody had anything to do there
        let note: Note = serde_json::from_str(&note).context("the sink's note cannot be read")?;
        dispatched += note.dispatched;
        for (sum, outcome) in found.iter_mut().zip([Outcome::Delivered, Outcome::Rejected]) {
            *sum += note.ended[outcome as usize];
        }
    }
    storage.close().await;
    ensure!(
        dispatched == delivered + rejected && found == [delivered, rejected],
        "of {dispatched} deliveries {found:?} are delivered and rejected, and it should be {delivered} and {rejected}"
    );
    Ok(())
}

fn directory_record(change: Change) -> Append {
    let key = change.entity();
    let record = DirectoryRecord { id: RealWorld.new_id(), version: VERSION, at: RealWorld.now(), change };
    let value = serde_json::to_vec(&record).expect("a record is JSON");
    Append { topic: Topic::Directory, key: key.into(), value: value.into(), time: record.at }
}

fn nonce() -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    RealWorld.fill(&mut nonce);
    nonce
}
