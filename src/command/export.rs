//! `export purchases|leads|deliveries`: the ledger, one row a line. With `--json` the row as it is; without, columns.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, ValueEnum};

use super::{Base, Reach, cell, desk::Desk, fields};

/// Print the ledger's purchases, leads or deliveries, one a line.
#[derive(Args)]
pub struct Export {
    what: What,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Purchases, each in its newest revision
    Purchases,
    /// Leads, each in its newest revision
    Leads,
    /// What became of every dispatch; without an outcome it waits
    Deliveries,
}

/// A column: its title, the field, and how wide it usually is. Rows are printed as they come, so no one knows the widest.
type Column = (&'static str, &'static str, usize);

impl What {
    fn path(self) -> &'static str {
        match self {
            Self::Purchases => "export/purchases",
            Self::Leads => "export/leads",
            Self::Deliveries => "export/deliveries",
        }
    }

    fn columns(self) -> &'static [Column] {
        const FACT: &[Column] = &[
            ("FUNNEL", "funnel_id", 15),
            ("ORDER", "order_id", 20),
            ("AMOUNT", "amount", 12),
            ("CUR", "currency", 3),
            ("LEGS", "legs", 15),
            ("OCCURRED AT", "occurred_at", 27),
            ("EVENT", "event_id", 36),
        ];
        const DELIVERY: &[Column] = &[
            ("PIXEL", "pixel_id", 16),
            ("EVENT NAME", "event_name", 16),
            ("OUTCOME", "outcome", 9),
            ("ATTEMPTS", "attempts", 8),
            ("AMBIGUOUS", "ambiguous_attempts", 9),
            ("EVENT", "event_id", 36),
        ];
        match self {
            Self::Purchases | Self::Leads => FACT,
            Self::Deliveries => DELIVERY,
        }
    }
}

impl Export {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        let desk = Desk::reach(base, &self.reach).await?;
        let columns = self.what.columns();
        let mut out = io::stdout();
        if !self.json {
            writeln!(out, "{}", line(columns, |(title, _, _)| (*title).to_owned()))?;
        }
        let printed = desk
            .lines(self.what.path(), |rows| {
                let mut out = io::BufWriter::new(out.lock());
                for row in rows {
                    if self.json {
                        out.write_all(row)?;
                        out.write_all(b"\n")?;
                    } else {
                        let row = fields(std::str::from_utf8(row).map_err(io::Error::other)?)?;
                        writeln!(out, "{}", line(columns, |(_, field, _)| cell(&row, field)))?;
                    }
                }
                out.flush()
            })
            .await;
        desk.leave().await;
        printed?;
        Ok(ExitCode::SUCCESS)
    }
}

fn line(columns: &[Column], text: impl Fn(&Column) -> String) -> String {
    let cells: Vec<String> = columns.iter().map(|column| format!("{:width$}", text(column), width = column.2)).collect();
    cells.join("  ").trim_end().to_owned()
}
