//! The command line: what the program can be asked to do. One file each; this one is the list.

mod demo;
mod desk;
mod export;
mod funnel;
mod migrate;
mod pixel;
mod receipt;
mod replay;
mod tail;
mod totals;
mod workspace;

use std::{
    collections::HashMap,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, value::RawValue};

use crate::config::{ConfigError, Override, Settings};

/// Every sale and lead counted once, told to Meta once.
///
/// Without a command: everything, on the embedded store, in the folder that `--data` names.
#[derive(Parser)]
#[command(version)]
pub struct CommandLine {
    #[command(flatten)]
    pub base: Base,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where the settings come from, for every command.
#[derive(Args)]
pub struct Base {
    /// A settings file in TOML; what it leaves out keeps its default
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The data folder (the setting storage.data, ./data)
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
}

impl Base {
    /// The settings of all layers.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        self.settings_with(Vec::new())
    }

    /// The same, with what a command says of its own.
    pub fn settings_with(&self, mut overrides: Vec<Override>) -> Result<Settings, ConfigError> {
        if let Some(data) = &self.data {
            let value = data.to_string_lossy().into_owned();
            overrides.push(Override { flag: "--data", section: "storage", key: "data", value });
        }
        Settings::read(self.config.as_deref(), std::env::vars_os().filter_map(text), overrides)
    }
}

/// Variables that are not text are not ours.
fn text((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

/// What can be asked for.
#[derive(Subcommand)]
pub enum Command {
    /// Run everything (the same as no command)
    All,
    /// Run the door: HTTP in, raw events into the log
    Ingest,
    /// Run the judge: raw events in, facts and dispatches out
    Process,
    /// Run the CAPI sink: dispatches to Meta
    Deliver,
    /// Run read models alone (none in this release)
    Project,
    /// Run the desk alone: admin API, health, metrics
    Admin,
    /// Run everything plus Meta in a box plus a small shop page, to see one purchase travel
    Demo(demo::Demo),
    /// Make the topics and tables of a cluster (storage.engine = "cluster") that are not there, and move an embedded folder into it
    Migrate(migrate::Migrate),
    /// Make and list workspaces
    Workspace(workspace::Workspace),
    /// Make and list funnels
    Funnel(funnel::Funnel),
    /// Add, list and show pixels
    Pixel(pixel::Pixel),
    /// Print the whole life of one order or event
    Receipt(receipt::Receipt),
    /// Print what became of everything that was dispatched
    Totals(totals::Totals),
    /// Send again what ended as rejected, unknown, expired or cancelled
    Replay(replay::Replay),
    /// Print records of a topic
    Tail(tail::Tail),
    /// Print the ledger's purchases, leads or deliveries
    Export(export::Export),
}

/// How a command finds the desk.
#[derive(Args)]
pub struct Reach {
    /// The desk's address; without it the process that runs on the data folder, or the folder itself
    #[arg(long, value_name = "URL", requires = "token_file")]
    admin: Option<String>,
    /// The file with the desk's token, for --admin
    #[arg(long, value_name = "FILE", requires = "admin")]
    token_file: Option<PathBuf>,
}

/// One object as the desk sent it: its fields in their order, its numbers as they were written.
type Object = RawValue;

/// Prints one answer: as one line of JSON, or as names and values in two columns.
fn print(answer: &Object, json: bool, columns: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", answer.get())?);
    }
    let width = columns.iter().map(|(title, _)| title.chars().count()).max().unwrap_or_default();
    let fields = fields(answer.get())?;
    for (title, field) in columns {
        writeln!(out, "{title:width$}  {}", cell(&fields, field))?;
    }
    Ok(out.flush()?)
}

/// Prints a list: one JSON object a line, or a table.
fn print_list(rows: &[Box<Object>], json: bool, columns: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        rows.iter().try_for_each(|row| writeln!(out, "{}", row.get()))?;
        return Ok(out.flush()?);
    }
    let mut table = vec![columns.iter().map(|(title, _)| (*title).to_owned()).collect::<Vec<_>>()];
    for row in rows {
        let fields = fields(row.get())?;
        table.push(columns.iter().map(|(_, field)| cell(&fields, field)).collect());
    }
    let widths: Vec<usize> =
        (0..columns.len()).map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()).collect();
    for row in &table {
        let line: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}")).collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(out.flush()?)
}

/// The fields of an object by name.
fn fields(object: &str) -> serde_json::Result<HashMap<&str, &RawValue>> {
    serde_json::from_str(object)
}

/// A field as people read it: texts without quotes, lists with commas, numbers as they were written.
fn cell(fields: &HashMap<&str, &RawValue>, field: &str) -> String {
    let json = fields.get(field).map_or("null", |value| value.get());
    match serde_json::from_str(json) {
        Ok(Value::Null) => "-".to_owned(),
        Ok(Value::String(text)) => text,
        Ok(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect::<Vec<_>>().join(", ")
        }
        _ => json.to_owned(),
    }
}
