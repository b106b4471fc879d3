//! How long the disk takes to make 4 KiB durable while something else is measured: its stalls are everybody's who waits for a write.

use std::{
    fs::File,
    io::{self, Seek, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Between two writes: often enough to meet a stall, seldom enough to be no load.
const BETWEEN: Duration = Duration::from_millis(20);
const BYTES: usize = 4_096;

/// Writes until it is asked what it found.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<Duration>>>,
}

impl Probe {
    /// Begins to write to a file without a name, in the folder for temporary files: it tells of the servers' disk where that is the same one.
    pub fn start() -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        Ok(Self { stop, thread: std::thread::spawn(move || write(file, &until)) })
    }

    /// How long each write took, the shortest first.
    pub fn end(self) -> io::Result<Vec<Duration>> {
        self.stop.store(true, Relaxed);
        let mut took = self.thread.join().map_err(|_| io::Error::other("the disk's probe panicked"))??;
        took.sort_unstable();
        Ok(took)
    }
}

fn write(mut file: File, until: &AtomicBool) -> io::Result<Vec<Duration>> {
    let mut took = Vec::new();
    while !until.load(Relaxed) {
        let began = Instant::now();
        file.rewind()?;
        file.write_all(&[0; BYTES])?;
        file.sync_data()?;
        took.push(began.elapsed());
        std::thread::sleep(BETWEEN);
    }
    Ok(took)
}
