//! The door on a real engine: over sockets, with a judge that says what the test wants.

mod connections;
mod house;
mod script;
mod session;
mod webhook;
