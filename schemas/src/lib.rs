//! The words of RapidMetrics: every type that crosses a wire or a disk, and the pure rules about them.
//!
//! The way of an event, told once:
//!
//! 1. A browser batch ([`session`]) or a backend's [`webhook`] reaches the door, which appends one [`raw::Raw`] per event.
//! 2. The judge reads raw in order, looks up what the ledger [`row::Seen`] says and reaches a [`verdict::Verdict`];
//!    it concludes a [`fact`] and, for each pixel, a [`dispatch::Dispatch`]: Meta's event ([`meta`]) as frozen bytes.
//! 3. The sink sends dispatches in batches and records what became of each as a [`delivery::Delivery`].
//! 4. Whoever asks what became of an order gets a [`receipt::Receipt`].
//!
//! Who may send and where it goes stands in the [`directory::Directory`]; the [`topic`]s carry all of it.
//!
//! Nothing here does I/O, reads a clock or awaits: time, ids and randomness arrive as arguments.

pub mod click;
pub mod data_use;
pub mod dead;
pub mod delivery;
pub mod directory;
pub mod dispatch;
pub mod envelope;
pub mod fact;
pub mod id;
pub mod json;
pub mod key;
pub mod meta;
pub mod money;
pub mod order;
pub mod person;
pub mod raw;
pub mod receipt;
pub mod row;
pub mod secret;
pub mod session;
pub mod site;
pub mod time;
pub mod topic;
pub mod verdict;
pub mod webhook;
pub mod world;
