//! `funnel create --workspace ID NAME`, `funnel set ID`, `funnel list`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

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
        /// How long a browser purchase waits for its webhook before Meta hears of it; 0 switches it off (60)
        #[arg(long, value_name = "SECONDS")]
        server_leg_wait_s: Option<u32>,
        /// Its name, for people
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Change a funnel's settings; when this answers they hold
    Set {
        /// The funnel
        #[arg(value_name = "ID")]
        funnel: String,
        /// How long a browser purchase waits for its webhook before Meta hears of it; 0 switches it off
        #[arg(long, value_name = "SECONDS", required_unless_present = "site")]
        server_leg_wait_s: Option<u32>,
        /// A setting of its pages, as consent=pending or allowed_origins=https://a.example,https://b.example; without a value its default.
        /// May be given several times
        #[arg(long, value_name = "SETTING=VALUE")]
        site: Vec<String>,
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

/// What is shown of one funnel.
const COLUMNS: [(&str, &str); 6] = [
    ("funnel", "id"),
    ("workspace", "workspace_id"),
    ("name", "name"),
    ("currency", "currency"),
    ("server leg wait s", "server_leg_wait_s"),
    ("site", "site"),
];

impl Funnel {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Create { workspace, currency, server_leg_wait_s, name, json, reach } => {
                let desk = Desk::reach(base, &reach).await?;
                let wish = json!({"workspace_id": workspace, "name": name, "currency": currency, "server_leg_wait_s": server_leg_wait_s});
                let answer = desk.post::<Box<Object>>("funnels", &wish).await;
                desk.leave().await;
                super::print(&answer?, json, &COLUMNS)?;
            }
            Verb::Set { funnel, server_leg_wait_s, site, json, reach } => {
                let site = site.iter().map(|setting| named(setting)).collect::<Result<Map<String, Value>, _>>()?;
                let desk = Desk::reach(base, &reach).await?;
                let wish = json!({"server_leg_wait_s": server_leg_wait_s, "site": site});
                let answer = desk.patch::<Box<Object>>(&format!("funnels/{funnel}"), &wish).await;
                desk.leave().await;
                super::print(&answer?, json, &COLUMNS)?;
            }
            Verb::List { json, reach } => {
                let desk = Desk::reach(base, &reach).await?;
                let list = desk.get::<Vec<Box<Object>>>("funnels").await;
                desk.leave().await;
                let columns = [
                    ("FUNNEL", "id"),
                    ("WORKSPACE", "workspace_id"),
                    ("NAME", "name"),
                    ("CURRENCY", "currency"),
                    ("WAIT S", "server_leg_wait_s"),
                    ("PIXELS", "pixels"),
                ];
                super::print_list(&list?, json, &columns)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A setting of a funnel's pages as the desk takes it.
fn named(setting: &str) -> anyhow::Result<(String, Value)> {
    let (name, value) = setting.split_once('=').ok_or_else(|| anyhow::anyhow!("--site takes SETTING=VALUE, and {setting:?} has no ="))?;
    let value = match (name, value) {
        (_, "") => Value::Null,
        ("allowed_origins", list) => list.split(',').map(str::trim).collect(),
        (_, "true") => Value::Bool(true),
        (_, "false") => Value::Bool(false),
        (_, text) => text.into(),
    };
    Ok((name.to_owned(), value))
}
