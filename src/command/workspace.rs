//! `workspace create NAME`, `workspace list`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Base, Object, Reach, desk::Desk};

/// Make and list workspaces.
#[derive(Args)]
pub struct Workspace {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a workspace; prints its id and its API key
    Create {
        /// Its name, for people
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the workspaces
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Workspace {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Create { name, json, reach } => {
                let desk = Desk::reach_or_make(base, &reach).await?;
                let answer = desk.post::<Box<Object>>("workspaces", &json!({"name": name})).await;
                desk.leave().await;
                super::print(&answer?, json, &[("workspace", "id"), ("name", "name"), ("API key", "api_key")])?;
            }
            Verb::List { json, reach } => {
                let desk = Desk::reach(base, &reach).await?;
                let list = desk.get::<Vec<Box<Object>>>("workspaces").await;
                desk.leave().await;
                super::print_list(&list?, json, &[("WORKSPACE", "id"), ("NAME", "name")])?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
