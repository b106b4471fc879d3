//! The sink: dispatches that stand in the log go to Meta in a box, which is a process of its own.

mod bare;
pub mod cost;
mod event;
mod folder;
pub mod isolation;
pub mod neighbours;
pub mod payload;
mod process;
