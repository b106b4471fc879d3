//! Every shape that crosses a wire or a disk as JSON: the one list by which samples and JSON Schemas are tested.

#![allow(dead_code, reason = "each test uses its part of the list")]

use std::{fs, path::PathBuf};

use schemars::{JsonSchema, Schema};
use schemas::{dead, delivery, directory, dispatch, fact, raw, receipt, row, verdict};
use serde::{Deserialize, Serialize};

/// One shape.
pub struct Shape {
    /// Its schema is `json/<name>.json`, its samples are `samples/<name>.json` and `samples/<name>-<case>.json`.
    pub name: &'static str,
    /// The schema that its type generates.
    pub schema: fn() -> Schema,
    /// Reads it into its type and writes it again.
    pub rewritten: fn(&str) -> serde_json::Result<String>,
}

fn rewritten<'a, T: Serialize + Deserialize<'a>>(text: &'a str) -> serde_json::Result<String> {
    serde_json::to_string(&serde_json::from_str::<T>(text)?)
}

fn schema<T: JsonSchema>() -> Schema {
    schemars::schema_for!(T)
}

macro_rules! shapes {
    ($($name:literal: $type:ty,)*) => {
        /// All shapes.
        pub const SHAPES: &[Shape] = &[$(Shape { name: $name, schema: schema::<$type>, rewritten: |text| rewritten::<$type>(text) },)*];
    };
}

shapes! {
    "raw": raw::Raw<'_>,
    "purchase": fact::Purchase,
    "lead": fact::Lead,
    "event": fact::Event,
    "dispatch": dispatch::Dispatch,
    "delivery": delivery::Delivery,
    "receipt": receipt::Receipt,
    "answer": verdict::Answer,
    "directory": directory::DirectoryRecord,
    "dead": dead::Dead,
    "seen": row::Seen,
    "visitor": row::Visitor,
    "person": row::PersonRow,
    "person_key": row::PersonKey,
    "intent": row::Intent,
    "waiting": row::Waiting,
}

/// The JSON files of a folder of this crate: name without ending, and text; sorted.
pub fn files(folder: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(path(folder))
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("a sample is text"))
        })
        .collect();
    files.sort();
    files
}

/// A place in this crate.
pub fn path(within: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(within)
}
