//! `demo`: everything, plus Meta in a box, plus a small shop page: a newcomer sees one purchase travel.

mod cast;
mod shop;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use clap::Args;
use meta_sandbox::Sandbox;
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::TcpListener;

use self::cast::{Cast, Known};
use super::{Base, desk::Desk};
use crate::{
    config::{ConfigError, Override, Settings},
    doorplate::url,
    house::House,
    http,
    role::{self, Listeners, Role},
    shutdown::{Task, Tasks},
    telemetry,
};

/// Longest wait until everything answers; it takes a fraction of a second.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Run everything plus Meta in a box plus a small shop page.
///
/// Without --data the data stands in a temporary folder that is removed at the end.
#[derive(Args)]
pub struct Demo {
    /// The public listener; port 0 picks a free one, here and below
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    public: String,
    /// The admin listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    admin: String,
    /// Meta in a box
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    meta: String,
    /// The shop page
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    shop: String,
    /// Print one JSON line on standard output once everything answers
    #[arg(long)]
    json: bool,
}

/// Where everything answers.
struct Urls {
    shop: String,
    public: String,
    admin: String,
    meta: String,
}

/// The one line on standard output.
#[derive(Serialize)]
struct Line<'a> {
    ready: bool,
    shop: &'a str,
    public: &'a str,
    admin: &'a str,
    meta: &'a str,
    funnel_id: &'a str,
    api_key: &'a str,
    pixels: &'a [cast::Pixel; 2],
    data: &'a Path,
}

impl Urls {
    fn of(listeners: &Listeners, meta: &TcpListener, shop: &TcpListener) -> io::Result<Self> {
        let at = |listener: &TcpListener| listener.local_addr().map(url);
        let public = listeners.public.as_ref().map(at).transpose()?.unwrap_or_default();
        Ok(Self { shop: at(shop)?, public, admin: at(&listeners.admin)?, meta: at(meta)? })
    }
}

impl Demo {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        let listeners =
            Listeners { public: Some(role::bind("--public", &self.public).await?), admin: role::bind("--admin", &self.admin).await? };
        let meta = role::bind("--meta", &self.meta).await?;
        let shop = role::bind("--shop", &self.shop).await?;
        let urls = Urls::of(&listeners, &meta, &shop)?;
        let (data, temporary) = data_folder(base)?;
        let settings = self.settings(base, &data, &urls.meta)?;
        telemetry::start(&settings.log)?;
        crate::allow_connections();
        let mut house = House::open(settings).await?;
        let mut tasks = Tasks::new()?;

        // The box hears of its pixels before the sink can send: what waited in a kept folder leaves at once.
        let known = Known::of(&house)?;
        let sandbox = Sandbox::open(meta_sandbox::Config { data: Some(data.join("meta")) })?;
        known.introduce_to(&sandbox)?;
        let boxed = sandbox.clone();
        tasks.start(Task::Meta, &house.checks, |stop| meta_sandbox::run(meta, boxed, stop));

        let token = role::start(&mut house, &Role::ALL, listeners, &mut tasks).await?;
        let cast = known.complete(&Desk::at(&urls.admin, token.as_str())?).await?;
        let page = shop::Shop::new(&house, sandbox, &urls, &cast)?;
        tasks.start(Task::Shop, &house.checks, |stop| page.run(shop, stop));

        all_answer(&urls, &cast).await?;
        self.announce(&urls, &cast, &data, temporary.is_some())?;
        let code = tasks.until_told(&mut house).await;
        house.close().await;
        Ok(code) // the temporary folder goes with its guard
    }

    /// What the flags and the box say goes above every other layer; all else is as anywhere.
    fn settings(&self, base: &Base, data: &Path, meta_url: &str) -> Result<Settings, ConfigError> {
        let set = |flag, section, key, value: String| Override { flag, section, key, value };
        base.settings_with(vec![
            set("--data", "storage", "data", data.to_string_lossy().into_owned()),
            set("--public", "ingest", "listen", self.public.clone()),
            set("--admin", "admin", "listen", self.admin.clone()),
            set("--meta", "capi", "base_url", meta_url.to_owned()),
            set("--meta", "capi", "pixel_script_url", format!("{meta_url}/fbevents.js")),
        ])
    }

    fn announce(&self, urls: &Urls, cast: &Cast, data: &Path, temporary: bool) -> io::Result<()> {
        let Urls { shop, public, admin, meta } = urls;
        let Cast { funnel_id, api_key, pixels } = cast;
        let mut out = io::stdout().lock();
        if self.json {
            let line = Line { ready: true, shop, public, admin, meta, funnel_id, api_key, pixels, data };
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
            return out.flush();
        }
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("rapidmetrics"));
        let (program, data, kept) = (program.display(), data.display(), if temporary { "removed at the end" } else { "kept" });
        write!(
            out,
            r#"
Everything runs, and nothing leaves this machine.

  shop    {shop}   buy something and watch the purchase travel
  public  {public}   session.js and the webhook
  admin   {admin}   health, metrics, admin API
  meta    {meta}   Meta in a box: /sandbox/report, /sandbox/conversions
  data    {data}   {kept}

  funnel  {funnel_id}
  API key {api_key}
  pixels  {first}, {second}

A backend reports a sale:

  curl -sS {public}/v1/webhook/custom/{funnel_id} -H 'x-api-key: {api_key}' -H 'content-type: application/json' \
    -d '{{"event":"purchase","email":"ada@example.com","amount":49.90,"currency":"EUR","order_id":"ORD-123"}}'

What the ledger and Meta then say:

  {program} export purchases --data {data}
  curl -sS {meta}/sandbox/report

Ctrl-C stops it.
"#,
            first = pixels[0].id,
            second = pixels[1].id,
        )?;
        out.flush()
    }
}

/// The folder that was named, or a temporary one with its guard.
fn data_folder(base: &Base) -> io::Result<(PathBuf, Option<TempDir>)> {
    if let Some(data) = &base.data {
        return Ok((std::path::absolute(data)?, None));
    }
    let folder = tempfile::Builder::new().prefix("rapidmetrics-demo-").tempdir()?;
    Ok((folder.path().to_owned(), Some(folder)))
}

/// Waits until each of the four says that it is there.
async fn all_answer(urls: &Urls, cast: &Cast) -> anyhow::Result<()> {
    let http = http::to_ourselves()?;
    let pages = [
        format!("{}/health/ready", urls.admin),
        format!("{}/v1/session.js?fid={}", urls.public, cast.funnel_id),
        format!("{}/sandbox/health", urls.meta),
        format!("{}/", urls.shop),
    ];
    let waiting = async {
        for page in &pages {
            while !http.get(page).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    if tokio::time::timeout(READY_WITHIN, waiting).await.is_err() {
        bail!("not everything answers after {READY_WITHIN:?}; {}/health/ready says what is missing", urls.admin);
    }
    Ok(())
}
