//! `totals`: what became of everything that was dispatched. Ends with 1 where something is neither recorded nor waiting.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Base, Object, Reach, desk::Desk, print_list, receipt::path};

/// Print what became of everything that was dispatched: delivered, rejected, expired, cancelled, unknown or waiting.
///
/// Counted from log and ledger, which takes a walk through both. Something that is neither recorded nor waiting is missing; then the
/// command ends with 1.
#[derive(Args)]
pub struct Totals {
    /// Only this pixel
    #[arg(long, value_name = "META_ID")]
    pixel: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Answer<'a> {
    dispatched: u64,
    delivered: u64,
    rejected: u64,
    expired: u64,
    cancelled: u64,
    unknown: u64,
    waiting: u64,
    missing: u64,
    holds: bool,
    unreadable: u64,
    #[serde(borrow)]
    pixels: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    pixel_id: &'a str,
    waiting: u64,
    #[serde(borrow)]
    waiting_money: Vec<Money<'a>>,
    first_loss_hour: Option<&'a str>,
}

#[derive(Deserialize)]
struct Money<'a> {
    currency: &'a str,
    purchases: u64,
    #[serde(borrow)]
    amount: &'a RawValue,
}

impl Totals {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        let path = path("totals", [("pixel_id", self.pixel)])?;
        let desk = Desk::reach(base, &self.reach).await?;
        let answer = desk.get::<Box<Object>>(&path).await;
        desk.leave().await;
        let text = answer?;
        let answer: Answer<'_> = serde_json::from_str(text.get())?;
        if self.json {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", text.get())?;
            out.flush()?;
        } else {
            account(&answer)?;
        }
        if !answer.holds {
            anyhow::bail!(
                "{} of {} dispatches are neither recorded nor waiting: the process's log names them; keep the data as it is and report this",
                answer.missing,
                answer.dispatched
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A table of pixels, what waits of each, and the sum as a sentence.
fn account(answer: &Answer<'_>) -> anyhow::Result<()> {
    let columns = [
        ("PIXEL", "pixel_id"),
        ("DISPATCHED", "dispatched"),
        ("DELIVERED", "delivered"),
        ("REJECTED", "rejected"),
        ("EXPIRED", "expired"),
        ("CANCELLED", "cancelled"),
        ("UNKNOWN", "unknown"),
        ("WAITING", "waiting"),
        ("MISSING", "missing"),
    ];
    let rows: Vec<Box<Object>> = answer.pixels.iter().map(|pixel| (*pixel).to_owned()).collect();
    print_list(&rows, false, &columns)?;
    let mut out = io::stdout().lock();
    for pixel in &answer.pixels {
        let pixel: Part<'_> = serde_json::from_str(pixel.get())?;
        if let Some(hour) = pixel.first_loss_hour {
            let money = pixel.waiting_money.iter().map(|money| {
                let purchases = if money.purchases == 1 { "purchase" } else { "purchases" };
                format!(", {} {purchases} of {} {}", money.purchases, money.amount, money.currency)
            });
            let money: String = money.collect();
            let (events, id) = (pixel.waiting, pixel.pixel_id);
            writeln!(out, "pixel {id}: {events} waiting{money}; Meta stops accepting the first of them in the hour that begins at {hour}")?;
        }
    }
    let Answer { dispatched, delivered, rejected, expired, cancelled, unknown, waiting, missing, .. } = answer;
    let missed = if *missing > 0 { format!(" + {missing} missing") } else { String::new() };
    writeln!(
        out,
        "{dispatched} dispatched = {delivered} delivered + {rejected} rejected + {expired} expired + {cancelled} cancelled + {unknown} unknown + \
         {waiting} waiting{missed}"
    )?;
    if answer.unreadable > 0 {
        writeln!(out, "{} records of the topic are no dispatch; they stand in the topic dead", answer.unreadable)?;
    }
    Ok(out.flush()?)
}
