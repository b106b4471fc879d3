//! `replay --pixel ID --outcome rejected --since TIME`: sends again what ended so. First the count, then progress.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Base, Object, Reach, desk::Desk};

/// Send again what ended as rejected, unknown, expired or cancelled at a pixel.
///
/// First it is counted how many deliveries match and how many of them Meta would no longer accept. Each is sent under the id it always had and
/// shows as a new attempt; what was rejected is rendered anew. What is replayed matches no more, so the command may be run again after
/// any interruption.
#[derive(Args)]
pub struct Replay {
    /// Meta's id of the pixel
    #[arg(long, value_name = "META_ID")]
    pixel: String,
    /// How they ended
    #[arg(long)]
    outcome: Outcome,
    /// They ended then or later: a time like 2026-11-25T18:00:00Z, or a day like 2026-11-25
    #[arg(long, value_name = "TIME")]
    since: String,
    /// They ended before that; now, without it
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Print JSON objects, one a line: the count, then progress, the last with `"done":true`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, ValueEnum)]
enum Outcome {
    /// Meta, or our own check, said no
    Rejected,
    /// Sent, and the answer lost: Meta may have some of them
    Unknown,
    /// Older than Meta accepts
    Expired,
    /// Pixel or funnel deleted, or an operator said so
    Cancelled,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    sentence: String,
    sendable: u64,
    until: String,
    #[serde(default)]
    done: bool,
}

impl Replay {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        let desk = Desk::reach(base, &self.reach).await?;
        let done = self.replay(&desk).await;
        desk.leave().await;
        done.map(|()| ExitCode::SUCCESS)
    }

    async fn replay(&self, desk: &Desk) -> anyhow::Result<()> {
        let counted = desk.post::<Box<Object>>("replay", &self.wish(self.until.as_deref(), true)).await?;
        let count: Answer = serde_json::from_str(counted.get())?;
        self.say(counted.get(), &count.sentence)?;
        if self.dry_run || count.sendable == 0 {
            return Ok(());
        }
        // The very span that was counted.
        let mut is_done = false;
        let replayed = desk
            .post_lines("replay", &self.wish(Some(&count.until), false), |lines| {
                for line in lines {
                    let line = std::str::from_utf8(line).map_err(io::Error::other)?;
                    let answer: Answer = serde_json::from_str(line)?;
                    is_done |= answer.done;
                    self.say(line, &answer.sentence)?;
                }
                Ok(())
            })
            .await;
        replayed.context("run the same command again: what was replayed is not replayed twice")?;
        anyhow::ensure!(is_done, "the desk stopped before the end; run the same command again: what was replayed is not replayed twice");
        if !self.json {
            let mut out = io::stdout().lock();
            writeln!(out, "The sink sends them now; `rapidmetrics totals --pixel {}` says what became of them.", self.pixel)?;
            out.flush()?;
        }
        Ok(())
    }

    fn wish(&self, until: Option<&str>, dry_run: bool) -> Value {
        let (pixel, outcome, since) = (&self.pixel, self.outcome.name(), &self.since);
        json!({"pixel_id": pixel, "outcome": outcome, "since": since, "until": until, "dry_run": dry_run})
    }

    fn say(&self, json: &str, sentence: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", if self.json { json } else { sentence })?;
        out.flush()
    }
}
