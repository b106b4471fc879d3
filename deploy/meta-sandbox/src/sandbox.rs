//! The box itself: pixels, ledger, what came in, and the faults in force, shared by every request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::ensure;
use bytes::Bytes;
use serde::Serialize;

use crate::clock::Clock;
use crate::conduct::Conduct;
use crate::expected::{Expected, Losses};
use crate::journal::{Entry, Journal};
use crate::ledger::{Channel, Conversion, Ledger, Totals};
use crate::pixel::{Mode, Pixel, Pixels, TokenState, is_id};
use crate::refusal::Refusal;
use crate::ring::Ring;
use crate::script::Script;

/// How the box is set up.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The folder that holds the journal; without one the box forgets everything when it stops.
    pub data: Option<PathBuf>,
}

/// Meta in a box. Clones are the same box.
#[derive(Debug, Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    books: Mutex<Books>,
    seen: Mutex<Seen>,
    conduct: Mutex<Conduct>,
    clock: Clock,
    traces: AtomicU64,
}

/// What the journal makes durable.
#[derive(Debug, Default)]
struct Books {
    journal: Journal,
    pixels: Pixels,
    ledger: Ledger,
    /// Memory only: whoever expects says so again after a restart.
    expected: Expected,
}

/// What was seen lately; memory only.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Ring<Request>,
    pub(crate) hits: Ring<Hit>,
    pub(crate) remarks: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

/// A POST to the events endpoint as it came.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) pixel: String,
    pub(crate) received_at: u64,
    /// What was answered; 0 when no answer was sent.
    pub(crate) status: u16,
    /// Code and subcode of the error that was answered.
    pub(crate) code: Option<i64>,
    pub(crate) subcode: Option<i64>,
    /// How the body says it is encoded.
    pub(crate) content_type: String,
    /// Where the token that counts stood.
    pub(crate) token_in: Option<&'static str>,
    /// The token is already out of it.
    pub(crate) body: Bytes,
}

/// A report from the pixel in a page.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Hit {
    pub(crate) pixel: String,
    pub(crate) received_at: u64,
    pub(crate) event_name: String,
    pub(crate) event_id: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) params: BTreeMap<String, String>,
    /// Everything else that was said: cookies, referrer, data processing options.
    pub(crate) other: BTreeMap<String, String>,
}

impl Sandbox {
    /// Opens the box and reads its journal, if it has one.
    pub fn open(config: Config) -> anyhow::Result<Self> {
        Sandbox::open_with_clock(config, Clock::default())
    }

    /// The same with another clock than the machine's.
    pub fn open_with_clock(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let mut books = Books::default();
        if let Some(folder) = config.data {
            books.journal = Journal::open(&folder, |entry| books.apply(&entry, 0))?;
        }
        let shared = Shared { books: Mutex::new(books), clock, traces: AtomicU64::new(clock.now_ms()), ..Shared::default() };
        Ok(Sandbox { shared: Arc::new(shared) })
    }

    /// Adds a pixel, or replaces its token and mode. Its id is Meta's: decimal digits.
    pub fn put_pixel(&self, id: &str, access_token: &str, mode: Mode) -> anyhow::Result<()> {
        self.put(id, Pixel { access_token: access_token.to_owned(), mode, token_state: TokenState::Valid })
    }

    pub(crate) fn put(&self, id: &str, pixel: Pixel) -> anyhow::Result<()> {
        ensure!(is_id(id), "a pixel's id is 1 to 32 decimal digits, {id:?} is not");
        ensure!(!pixel.access_token.is_empty(), "access_token is empty");
        let mut books = self.books();
        if books.pixels.get(id) == Some(&pixel) {
            return Ok(());
        }
        books.write(&Entry::Pixel { id: Cow::Borrowed(id), pixel: Cow::Owned(pixel) }, self.now_ms())?;
        Ok(())
    }

    /// Puts a script in force; its times count from now. Of a script with a bad line nothing is taken, and the error names the line.
    pub fn put_script(&self, text: &str) -> anyhow::Result<()> {
        let script = Script::read(text, self.now_ms()).map_err(anyhow::Error::msg)?;
        self.conduct().play(Some(script));
        Ok(())
    }

    /// Reads what should be counted in the end, in place of what was expected before, and says how many events that is.
    pub(crate) fn put_expected(&self, text: &str) -> Result<usize, String> {
        // Read outside of the lock, so that a long list holds up nobody; looked up within it, so that nothing slips through between.
        let mut expected = Expected::read(text)?;
        let mut books = self.books();
        expected.look_back(|pixel, name, id| books.ledger.conversion(pixel, name, id).count > 0);
        let count = expected.len();
        books.expected = expected;
        Ok(count)
    }

    /// By pixel, what of the expected events was lost.
    pub(crate) fn losses(&self) -> BTreeMap<String, Losses> {
        self.books().expected.losses()
    }

    /// Lets a token write to a pixel, or says why not.
    pub(crate) fn admit(&self, pixel: &str, token: Option<&str>) -> Result<Mode, Refusal> {
        let now_ms = self.now_ms();
        let conduct = self.conduct();
        self.books().pixels.admit(pixel, token, |pixel, token_since_ms| conduct.token(pixel, token_since_ms, now_ms))
    }

    /// What Meta would count for one event.
    pub fn conversion(&self, pixel: &str, event_name: &str, event_id: &str) -> Conversion {
        self.books().ledger.conversion(pixel, event_name, event_id)
    }

    /// The sums of every pixel.
    pub fn report(&self) -> BTreeMap<String, Totals> {
        self.books().ledger.report().clone()
    }

    pub(crate) fn with_ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.books().ledger)
    }

    pub(crate) fn with_pixels<T>(&self, look: impl FnOnce(&Pixels) -> T) -> T {
        look(&self.books().pixels)
    }

    /// Makes something true: in the journal first, then in memory. Only pixels the box knows are counted.
    pub(crate) fn record(&self, entry: &Entry) -> std::io::Result<()> {
        let mut books = self.books();
        let (Entry::Pixel { id: pixel, .. } | Entry::Post { pixel, .. } | Entry::Hit { pixel, .. }) = entry;
        if books.pixels.get(pixel).is_none() {
            return Ok(());
        }
        books.write(entry, self.now_ms()).inspect_err(|error| tracing::error!(%error, "cannot write the journal"))
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the box behaves. Taken before the books where both are needed.
    pub(crate) fn conduct(&self) -> MutexGuard<'_, Conduct> {
        self.shared.conduct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    /// A new id to quote to support.
    pub(crate) fn trace_id(&self) -> String {
        format!("Abox{:019x}", self.shared.traces.fetch_add(1, Ordering::Relaxed))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.shared.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn write(&mut self, entry: &Entry, now_ms: u64) -> std::io::Result<()> {
        self.journal.append(entry)?;
        self.apply(entry, now_ms);
        Ok(())
    }

    /// The box is a fold of its journal: live and at start the same lines go through here.
    fn apply(&mut self, entry: &Entry, now_ms: u64) {
        match entry {
            Entry::Pixel { id, pixel } => {
                self.pixels.put(id, pixel.clone().into_owned(), now_ms);
                self.ledger.open(id);
            }
            Entry::Post { pixel, at_ms, rejected, events } => {
                self.ledger.request(pixel, *rejected);
                for (name, id) in events {
                    self.add(Channel::Server, pixel, name, id.as_deref(), *at_ms);
                }
            }
            Entry::Hit { pixel, at_ms, name, id } => self.add(Channel::Browser, pixel, name, id.as_deref(), *at_ms),
        }
    }

    fn add(&mut self, channel: Channel, pixel: &str, name: &str, id: Option<&str>, at_ms: u64) {
        self.ledger.add(channel, pixel, name, id, at_ms);
        self.expected.meet(pixel, name, id);
    }
}
