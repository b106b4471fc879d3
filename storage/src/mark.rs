//! The mark of a data folder that moves into a cluster, or has moved: a boot refuses both, so that nothing is concluded twice.
//!
//! One small file in the folder, replaced as a whole and synced, name and all, before anything is copied.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::OpenError;

const FILE: &str = "move";
/// Aborted moves remembered: what they left in a cluster may be emptied by the next one.
const ABORTED_MAX: usize = 16;

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveState {
    /// It began and has not ended.
    Moving,
    /// It has ended: the cluster goes on, and the folder never again.
    Moved,
    /// It was given up: the folder goes on.
    Aborted,
}

/// The mark of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which move it is. The cluster has it on record too.
    pub id: Uuid,
    /// How far it has come.
    pub state: MoveState,
    /// Where to, in words: prefix and keyspace.
    pub to: String,
    /// Earlier moves of this folder that were given up.
    #[serde(default)]
    pub aborted: Vec<Uuid>,
}

impl Mark {
    /// A new move, after what an older mark says.
    pub fn new(id: Uuid, to: String, before: Option<&Self>) -> Self {
        Self { id, state: MoveState::Moving, to, aborted: before.map(|before| before.aborted.clone()).unwrap_or_default() }
    }

    /// The same move, further on.
    #[must_use]
    pub fn become_moved(self) -> Self {
        Self { state: MoveState::Moved, ..self }
    }

    /// The move, given up.
    #[must_use]
    pub fn become_aborted(mut self) -> Self {
        self.aborted.retain(|aborted| *aborted != self.id);
        self.aborted.push(self.id);
        let too_many = self.aborted.len().saturating_sub(ABORTED_MAX);
        self.aborted.drain(..too_many);
        Self { state: MoveState::Aborted, ..self }
    }

    /// The mark of a folder, if it has one.
    pub fn read(folder: &Path) -> Result<Option<Self>, OpenError> {
        let unreadable = |cause: String| OpenError::Engine { folder: folder.to_owned(), cause };
        let text = match fs::read_to_string(folder.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(format!("its mark {FILE} cannot be read: {error}"))),
        };
        let mark = serde_json::from_str(&text);
        mark.map(Some).map_err(|error| unreadable(format!("its mark {FILE} is damaged ({error}); restore it from a backup")))
    }

    /// Writes the mark; on `Ok` it survives.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let beside = folder.join(format!("{FILE}.new"));
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        writeln!(out, "{}", serde_json::to_string(self)?)?;
        out.sync_all()?;
        fs::rename(&beside, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    }

    /// Refuses a folder that belongs to a move.
    pub(crate) fn refuse(folder: &Path) -> Result<(), OpenError> {
        match Self::read(folder)? {
            Some(Self { state: MoveState::Moving, to, .. }) => Err(OpenError::Moving { folder: folder.to_owned(), to }),
            Some(Self { state: MoveState::Moved, to, .. }) => Err(OpenError::Moved { folder: folder.to_owned(), to }),
            Some(Self { state: MoveState::Aborted, .. }) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_refused_while_it_moves_and_for_ever_after_but_not_after_an_abort() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        assert!(Mark::refuse(at).is_ok());
        let mark = Mark::new(Uuid::from_u128(1), "there".to_owned(), None);
        let wrote = |mark: &Mark| mark.write(at).expect("it is written");
        wrote(&mark);
        assert!(Mark::refuse(at).is_err_and(|why| why.to_string().contains("--abort")));
        let aborted = mark.become_aborted();
        wrote(&aborted);
        assert!(Mark::refuse(at).is_ok());
        let again = Mark::new(Uuid::from_u128(2), "there".to_owned(), Some(&aborted));
        assert_eq!(again.aborted, [Uuid::from_u128(1)]);
        wrote(&again.become_moved());
        assert!(Mark::refuse(at).is_err_and(|why| why.to_string().contains("was moved")));
        fs::write(at.join(FILE), "{").expect("a few bytes");
        assert!(Mark::refuse(at).is_err_and(|why| why.to_string().contains("is damaged")));
    }
}
