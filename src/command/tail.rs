//! `tail TOPIC`: records of the log. With `--json` each with its place, as the desk sends it; without, the record alone.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Base, Reach, desk::Desk};

/// Print records of a topic, one a line.
///
/// Without --from the newest ten. With --json each record stands in
/// {"topic","partition","offset","key","time","value":{…}}; without, the value alone is printed.
#[derive(Args)]
pub struct Tail {
    /// raw, events, purchases, leads, dispatch, deliveries, directory, commands, audit or dead
    topic: String,
    /// Where to begin
    #[arg(long, value_name = "WHERE")]
    from: Option<From>,
    /// Go on as records come
    #[arg(long)]
    follow: bool,
    /// Print each record with its place in the log
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    /// The first record that is kept
    Beginning,
    /// Only what comes from now on
    End,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

impl Tail {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        let desk = Desk::reach(base, &self.reach).await?;
        let from = match self.from {
            Some(From::Beginning) => "&from=beginning",
            Some(From::End) => "&from=end",
            None => "",
        };
        let path = format!("tail/{}?follow={}{from}", self.topic, self.follow);
        let mut out = io::stdout();
        let printed = desk
            .lines(&path, |lines| {
                let mut out = out.lock();
                for line in lines {
                    if self.json {
                        out.write_all(line)?;
                    } else {
                        out.write_all(serde_json::from_slice::<Line>(line)?.value.get().as_bytes())?;
                    }
                    out.write_all(b"\n")?;
                }
                out.flush()
            })
            .await;
        desk.leave().await;
        printed?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
