//! `pixel add --funnel ID --id META_ID --token TOKEN`, `pixel show META_ID`, `pixel list`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Base, Object, Reach, desk::Desk};

/// Add, list and show pixels.
#[derive(Args)]
pub struct Pixel {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Link a pixel to a funnel; a pixel that is known gets the new token
    Add {
        /// The funnel
        #[arg(long, value_name = "ID")]
        funnel: String,
        /// Meta's id of the pixel (dataset)
        #[arg(long, value_name = "META_ID")]
        id: String,
        /// Its Conversions API access token
        #[arg(long)]
        token: String,
        /// Meta's test event code
        #[arg(long, value_name = "CODE")]
        test_event_code: Option<String>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show one pixel: whether Meta takes its events, and what waits
    Show {
        /// Meta's id of the pixel
        #[arg(value_name = "META_ID")]
        id: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the pixels
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Pixel {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Add { funnel, id, token, test_event_code, json, reach } => {
                let desk = Desk::reach(base, &reach).await?;
                let wish = json!({"funnel_id": funnel, "id": id, "token": token, "test_event_code": test_event_code});
                let answer = desk.post::<Box<Object>>("pixels", &wish).await;
                desk.leave().await;
                super::print(&answer?, json, &[("pixel", "id"), ("funnel", "funnel_id")])?;
            }
            Verb::Show { id, json, reach } => {
                if !id.bytes().all(|byte| byte.is_ascii_digit()) {
                    anyhow::bail!("{id} is no id of a pixel: Meta's ids are digits"); // it goes into a path
                }
                let desk = Desk::reach(base, &reach).await?;
                let answer = desk.get::<Box<Object>>(&format!("pixels/{id}")).await;
                desk.leave().await;
                let answer = answer?;
                if !json {
                    let sentence = super::cell(&super::fields(answer.get())?, "sentence");
                    writeln!(io::stdout(), "{sentence}\n")?;
                }
                let columns = [
                    ("pixel", "id"),
                    ("workspace", "workspace_id"),
                    ("funnels", "funnels"),
                    ("state", "state"),
                    ("waiting", "waiting"),
                    ("first loss", "first_loss_hour"),
                ];
                super::print(&answer, json, &columns)?;
            }
            Verb::List { json, reach } => {
                let desk = Desk::reach(base, &reach).await?;
                let list = desk.get::<Vec<Box<Object>>>("pixels").await;
                desk.leave().await;
                let columns = [
                    ("PIXEL", "id"),
                    ("WORKSPACE", "workspace_id"),
                    ("FUNNELS", "funnels"),
                    ("TEST CODE", "test_event_code"),
                    ("STATE", "state"),
                    ("FIRST LOSS", "first_loss_hour"),
                ];
                super::print_list(&list?, json, &columns)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
