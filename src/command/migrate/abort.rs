//! Gives a move up: what it copied is taken away, then the folder goes on.

use std::path::Path;

use anyhow::{Context, bail};
use storage::{Mark, Move, MoveState, Storage};

use super::{Target, folder_of};
use crate::config::{Engine, Settings};

pub async fn run(settings: &Settings, from: &Path) -> anyhow::Result<()> {
    let from = folder_of(from)?;
    let mark = match Mark::read(&from)? {
        Some(mark) if mark.state == MoveState::Moving => mark,
        Some(mark) if mark.state == MoveState::Moved => {
            bail!("{} was moved to {}, which goes on from it: there is no way back", from.display(), mark.to)
        }
        Some(_) | None => bail!("{} is not being moved: there is nothing to give up", from.display()),
    };
    // The lock keeps away a command that is at work on it.
    let config = storage::Config { data: from.clone(), ..settings.storage.clone() };
    let store = tokio::task::spawn_blocking(move || Storage::open_embedded_to_move(&config)).await.context("the store broke down")??;
    match settings.engine {
        Engine::Cluster(_) => empty(settings, &mark).await?,
        // The next move knows by the mark what it may empty.
        Engine::Embedded => {
            println!("what was copied is taken away when the next move begins, or by this command with the cluster's settings");
        }
    }
    store.close().await;
    drop(store);
    mark.become_aborted().write(&from).with_context(|| format!("the mark of {} cannot be written", from.display()))?;
    println!("the move is given up; {} goes on as it was", from.display());
    Ok(())
}

async fn empty(settings: &Settings, mark: &Mark) -> anyhow::Result<()> {
    let target = Target::of(settings)?;
    if mark.to != target.words() {
        bail!("the folder is being moved to {}, and these settings name {}", mark.to, target.words());
    }
    let to = target.open().await?;
    Move::new(mark.id, Vec::new(), &to, None)?.abort().await?;
    to.close().await;
    println!("topics and tables are empty again");
    Ok(())
}
