//! The directory's records in a file of this machine, so that a door with a spool knows its funnels while no broker can be asked.
//!
//! One JSON line for each record, `{"offset":12,"record":{…}}`, in the log's order. Secrets in it are sealed, as in the log.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use schemas::{envelope::Position, time::Time};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use storage::Stored;

const FILE: &str = "directory.jsonl";
const BESIDE: &str = "directory.jsonl.new";

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    offset: u64,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// The file, being written.
pub struct Copy {
    folder: PathBuf,
    file: File,
}

impl Copy {
    /// A new file beside the old one, empty.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.join(BESIDE))?;
        Ok(Self { folder: folder.to_owned(), file })
    }

    /// Adds records, which are there for good when this answers.
    pub fn add(&mut self, records: &[Stored]) -> io::Result<()> {
        let mut lines = Vec::new();
        for stored in records {
            let record = serde_json::from_slice(&stored.value)?;
            serde_json::to_writer(&mut lines, &Line { offset: stored.position.offset, record })?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines)?;
        self.file.sync_data()
    }

    /// It has everything: it takes the old one's place, and goes on.
    pub fn replace(&self) -> io::Result<()> {
        fs::rename(self.folder.join(BESIDE), self.folder.join(FILE))
    }
}

/// The records of the file. A last line that was being written when its process died is left out.
pub fn read(folder: &Path) -> io::Result<Vec<Stored>> {
    let text = fs::read(folder.join(FILE))?;
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines.map(|line| serde_json::from_slice(line).map(|line: Line<'_>| stored(&line)).map_err(io::Error::from)).collect()
}

fn stored(line: &Line<'_>) -> Stored {
    Stored {
        position: Position { generation: 0, partition: 0, offset: line.offset },
        key: Bytes::new(),
        value: Bytes::copy_from_slice(line.record.get().as_bytes()),
        time: Time::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, value: &'static str) -> Stored {
        Stored { value: Bytes::from_static(value.as_bytes()), ..stored(&Line { offset, record: RawValue::NULL }) }
    }

    #[test]
    fn a_copy_gives_back_what_was_added_and_leaves_out_a_torn_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut copy = Copy::begin(folder.path()).expect("it is made");
        copy.add(&[record(0, r#"{"a":1}"#), record(3, r#"{"b":2}"#)]).expect("it is written");
        assert!(read(folder.path()).is_err(), "it is not in its place yet");
        copy.replace().expect("it is renamed");
        copy.add(&[record(4, r#"{"c":3}"#)]).expect("it goes on");
        copy.file.write_all(br#"{"offset":5,"rec"#).expect("torn");
        let read = read(folder.path()).expect("it reads");
        let found: Vec<_> = read.iter().map(|stored| (stored.position.offset, &stored.value[..])).collect();
        assert_eq!(found, [(0, &br#"{"a":1}"#[..]), (3, br#"{"b":2}"#), (4, br#"{"c":3}"#)]);
    }
}
