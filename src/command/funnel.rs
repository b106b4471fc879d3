//! `funnel create --workspace ID NAME`, `funnel list`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Base, Object, Reach, desk::Desk};

/// Make and list funnels.
#[derive(Args)]
pub struct Funnel {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a funnel; when this answers it takes events
    Create {
        /// The workspace that owns it
        #[arg(long, value_name = "ID")]
        workspace: String,
        /// The currency of amounts that name none (USD)
        #[arg(long, value_name = "CODE")]
        currency: Option<String>,
        /// Its name, for people
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the funnels
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Funnel {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Create { workspace, currency, name, json, reach } => {
                let desk = Desk::reach(base, &reach).await?;
                let answer =
                    desk.post::<Box<Object>>("funnels", &json!({"workspace_id": workspace, "name": name, "currency": currency})).await;
                desk.leave().await;
                let columns = [("funnel", "id"), ("workspace", "workspace_id"), ("name", "name"), ("currency", "currency")];
                super::print(&answer?, json, &columns)?;
            }
            Verb::List { json, reach } => {
                let desk = Desk::reach(base, &reach).await?;
                let list = desk.get::<Vec<Box<Object>>>("funnels").await;
                desk.leave().await;
                let columns =
                    [("FUNNEL", "id"), ("WORKSPACE", "workspace_id"), ("NAME", "name"), ("CURRENCY", "currency"), ("PIXELS", "pixels")];
                super::print_list(&list?, json, &columns)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
