//! The file that outlives the process: one JSON line per thing that happened, read again at start.
//!
//! A line is written before the answer leaves, so `kill -9` loses nothing that was answered. It is not synced: the
//! box promises to survive its own death, not the machine's.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::pixel::Pixel;

/// What happened.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Entry<'a> {
    /// A pixel was added or replaced.
    Pixel {
        /// Its id.
        id: Cow<'a, str>,
        /// Its token and mode.
        pixel: Cow<'a, Pixel>,
    },
    /// A POST to the events endpoint.
    Post {
        /// The pixel it went to.
        pixel: Cow<'a, str>,
        /// When it came.
        at_ms: u64,
        /// Whether it broke a rule.
        rejected: bool,
        /// Name and id of each event accepted.
        events: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    },
    /// A report from the pixel in a page.
    Hit {
        /// The pixel it was for.
        pixel: Cow<'a, str>,
        /// When it came.
        at_ms: u64,
        /// The event's name.
        name: Cow<'a, str>,
        /// The event's id.
        id: Option<Cow<'a, str>>,
    },
}

/// The open file, or nothing when the box lives in memory only.
#[derive(Debug, Default)]
pub struct Journal {
    file: Option<File>,
    length: u64,
    line: Vec<u8>,
}

impl Journal {
    /// Opens `journal.jsonl` in the folder, hands every whole line to `tell`, and cuts off a torn last one.
    pub fn open(folder: &Path, mut tell: impl FnMut(Entry)) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join("journal.jsonl");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
        file.try_lock().with_context(|| format!("{} is in use by another process", path.display()))?;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut line = Vec::new();
        let mut length = 0;
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            let entry = serde_json::from_slice(&line);
            tell(entry.with_context(|| format!("{} is damaged at byte {length}: move it away to start anew", path.display()))?);
            length += line.len() as u64;
            line.clear();
        }
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Journal { file: Some(file), length, line })
    }

    /// Writes one line. After a failure the file is as it was before.
    pub fn append(&mut self, entry: &Entry) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.line.clear();
        serde_json::to_writer(&mut self.line, entry)?;
        self.line.push(b'\n');
        if let Err(error) = file.write_all(&self.line) {
            file.set_len(self.length)?;
            file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += self.line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::io::Write;

    use super::{Entry, Journal};

    fn hit(name: &str) -> Entry<'_> {
        Entry::Hit { pixel: Cow::Borrowed("1"), at_ms: 5, name: Cow::Borrowed(name), id: Some(Cow::Borrowed("f:\n\"o")) }
    }

    fn told(folder: &std::path::Path) -> (Journal, usize) {
        let mut count = 0;
        let journal = Journal::open(folder, |entry| {
            assert_eq!(entry, hit("Lead"));
            count += 1;
        });
        (journal.expect("opens"), count)
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_rest_is_told_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut journal, _) = told(folder.path());
        journal.append(&hit("Lead")).expect("written");
        journal.append(&hit("Lead")).expect("written");
        journal.file.as_mut().expect("open").write_all(b"{\"hit\":{\"pix").expect("torn");
        drop(journal);
        let (mut journal, count) = told(folder.path());
        assert_eq!(count, 2);
        journal.append(&hit("Lead")).expect("written");
        drop(journal);
        assert_eq!(told(folder.path()).1, 3);
    }
}
