//! Moves an embedded folder into a cluster. Whatever kills this command, the same command goes on; what it copied is there once.
//!
//! 1. The cluster is looked at: it must be empty, or hold what this very move copied. Nothing has changed so far.
//! 2. The process that runs on the folder is asked to leave it: its door answers 503, judge and sink finish, the folder is marked *moving*,
//!    the process ends. Without one, or if it left anything, judge and sink finish here.
//! 3. Everything is copied.
//! 4. The folder is marked *moved*, for ever; then the cluster may be used.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use schemas::{
    row::{Intent, Row},
    time::Time,
    topic::{Group, Topic},
    world::World,
};
use serde_json::{Value, json};
use storage::{Consumed, Mark, Move, MoveState, OpenError, Progress, Step, Storage};
use tokio::time::Instant;

use super::{Target, folder_of};
use crate::{
    command::desk::Desk,
    config::{Engine, Settings},
    doorplate::Doorplate,
    drain,
    house::{self, House},
    master_key, role,
    shutdown::Tasks,
};

/// How long a process that was asked to leave may take to end.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub async fn run(settings: Settings, from: &Path) -> anyhow::Result<()> {
    let from = folder_of(from)?;
    let key_file = house::master_key_file(&settings)?;
    let target = Target::of(&settings)?;
    master_key::same_or_missing(&from.join("master.key"), &key_file)?;
    target.make().await?;
    let to = target.open().await?;
    let mark = mark_of(&from, &target)?;
    let pause_at = settings.storage.pause_at.clone();
    let moving = Move::new(mark.id, mark.aborted.clone(), &to, pause_at.as_deref())?;
    let has_ended = moving.check().await?;
    if mark.state == MoveState::Moved {
        // The folder's mark goes first: this run, or one before it, may have ended between the two.
        if !has_ended {
            moving.end().await?;
        }
        println!("{} was moved to {}", from.display(), target.words());
        return Ok(());
    }

    // A folder that is marked is being left, if it is not left already.
    let is_marked = Mark::read(&from)?.is_some_and(|there| there.state == MoveState::Moving);
    let is_asked = is_marked || ask_to_leave(&from, &mark).await?;
    let store = open(&settings, &from, is_asked).await?;
    master_key::copy_if_missing(&from.join("master.key"), &key_file)?;
    let store = finish(settings, &from, store).await?;
    // Whoever asked may have died before the mark was there.
    if Mark::read(&from)?.is_none_or(|there| there.state != MoveState::Moving) {
        mark.write(&from).with_context(|| format!("the mark of {} cannot be written", from.display()))?;
    }
    println!("{} is marked as moving; copying to {}", from.display(), target.words());

    moving.begin(&store).await?;
    let waiting = moving.copy(&store, &from, target.world.now(), &mut tell).await?;
    number(&store, &to, &waiting, target.world.now()).await?;
    mark.become_moved().write(&from).with_context(|| format!("the mark of {} cannot be written", from.display()))?;
    moving.end().await?;
    store.close().await;
    to.close().await;
    println!("{} was moved to {}; start the roles there", from.display(), target.words());
    Ok(())
}

/// The folder's mark, or that of a new move.
fn mark_of(from: &Path, target: &Target) -> anyhow::Result<Mark> {
    let to = target.words();
    let new = |after: Option<&Mark>| Mark::new(target.world.new_id(), to.clone(), after);
    match Mark::read(from)? {
        Some(mark) if mark.state == MoveState::Aborted => Ok(new(Some(&mark))),
        Some(mark) if mark.to != to => {
            bail!("{} is being moved, or was moved, to another cluster ({}), and these settings name {to}", from.display(), mark.to)
        }
        Some(mark) => Ok(mark),
        None => Ok(new(None)),
    }
}

/// Asks the process that runs on the folder to finish and end. Answers whether there was one.
async fn ask_to_leave(from: &Path, mark: &Mark) -> anyhow::Result<bool> {
    let Some((url, token)) = Doorplate::read(from) else { return Ok(false) };
    let desk = Desk::at(&url, &token)?;
    if desk.get::<Value>("").await.is_err() {
        return Ok(false); // a plate that a killed process left; the folder's lock knows
    }
    println!("the process at {url} takes no more events, finishes, and leaves the folder");
    let granted: Value = desk.post("move", &json!({"id": mark.id, "to": mark.to})).await.context("the process did not leave its folder")?;
    tracing::debug!(%granted, "the process leaves");
    Ok(true)
}

/// Opens the folder; waits for a process that is leaving it.
async fn open(settings: &Settings, from: &Path, is_asked: bool) -> anyhow::Result<Storage> {
    let until = Instant::now() + if is_asked { LEAVE_WITHIN } else { Duration::ZERO };
    loop {
        let config = storage::Config { data: from.to_owned(), ..settings.storage.clone() };
        let opened = tokio::task::spawn_blocking(move || Storage::open_embedded_to_move(&config)).await;
        match opened.context("the store broke down while it opened")? {
            Err(OpenError::Locked(_)) if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
            opened => return Ok(opened?),
        }
    }
}

/// Lets judge and sink finish what is left, and tells every attempt whose answer will never come as ambiguous.
async fn finish(mut settings: Settings, from: &Path, store: Storage) -> anyhow::Result<Storage> {
    let has_open = drain::has_open_attempts(&store).await?;
    if drain::Left::of(&store).await?.is_nothing() && !has_open {
        return Ok(store);
    }
    println!("finishing what the folder holds");
    settings.security.master_key_file = house::master_key_file(&settings)?;
    settings.engine = Engine::Embedded;
    settings.storage.data = PathBuf::from(from);
    store.refuse_events(true);
    let mut house = House::on(settings, store.clone(), None).await?;
    let mut tasks = Tasks::new()?;
    role::follow_directory(&mut house, &mut tasks);
    role::process(&house, &mut tasks)?;
    role::deliver(&house, &mut tasks)?;
    tasks.until_drained(&house).await?;
    projections::capi::settle(role::sink(&house, projections::capi::Metrics::new())?).await?;
    let left = drain::Left::of(&store).await?;
    if !left.is_nothing() || drain::has_open_attempts(&store).await? {
        bail!("the folder still holds unfinished work ({left:?}); run the same command again");
    }
    Ok(store)
}

/// Attempts are numbered on: a number must never mean two requests. The note beside the sink's offset says so, and how many dispatches
/// wait.
async fn number(from: &Storage, to: &Storage, waiting: &[u64], now: Time) -> anyhow::Result<()> {
    let mut next = 0;
    for partition in 0..from.partitions(Topic::Dispatch) {
        next = next.max(from.deliveries().take_over(partition).await?.next_attempt);
    }
    for (partition, waiting) in (0..).zip(waiting) {
        let taken = to.deliveries().take_over(partition).await?;
        let settled = next.max(taken.next_attempt);
        if settled > taken.next_attempt {
            // An attempt of nothing carries the number on.
            let pixel_id = schemas::id::PixelId::parse("0")?;
            let nothing = |settled_now| Intent {
                partition,
                attempt: settled - 1,
                at: now,
                pixel_id: pixel_id.clone(),
                settled: settled_now,
                items: vec![],
            };
            for settled_now in [false, true] {
                let mut step = Step::named("move");
                step.rows.push(Row::Intent(nothing(settled_now)));
                to.commit(step).await?;
            }
        }
        // What ended is the folder's; what waits is counted here from now on.
        let note = projections::capi::Note { waiting: *waiting, dispatched: *waiting, settled, ..projections::capi::Note::default() };
        let mut step = Step::named("move");
        step.consumed.push(Consumed {
            group: Group::Capi,
            partition,
            next_offset: 0,
            metadata: Some(serde_json::to_string(&note)?),
            lease: None,
        });
        to.commit(step).await?;
    }
    Ok(())
}

fn tell(progress: Progress) {
    let Progress { name, copied, there, is_done } = progress;
    let there = if there > 0 { format!(", {there} were there") } else { String::new() };
    let so_far = if is_done { "" } else { " so far" };
    println!("{name:12} {copied} copied{so_far}{there}");
}
