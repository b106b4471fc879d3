//! How a command reaches the desk: of the process that runs on the data folder, or, if none runs, of its own over the same folder. Both
//! answer the same HTTP, so a command is written once.

use std::{fs, io, path::Path};

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Base, Reach};
use crate::{
    config::Settings,
    doorplate::{self, Doorplate},
    house::House,
    http, role, telemetry,
};

/// The desk, reached.
pub struct Desk {
    http: reqwest::Client,
    url: String,
    token: String,
    own: Option<Own>,
}

/// The desk of this very process.
struct Own {
    house: House,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
}

impl Desk {
    /// Reaches the desk of a folder that is there.
    pub async fn reach(base: &Base, reach: &Reach) -> anyhow::Result<Self> {
        Self::find(base, reach, false).await
    }

    /// The same, making the folder if it is new.
    pub async fn reach_or_make(base: &Base, reach: &Reach) -> anyhow::Result<Self> {
        Self::find(base, reach, true).await
    }

    /// A desk whose address and token are known.
    pub fn at(url: &str, token: &str) -> anyhow::Result<Self> {
        Ok(Self { http: http::to_ourselves()?, url: url.trim_end_matches('/').to_owned(), token: token.to_owned(), own: None })
    }

    async fn find(base: &Base, reach: &Reach, make: bool) -> anyhow::Result<Self> {
        telemetry::start_quietly();
        if let (Some(url), Some(file)) = (&reach.admin, &reach.token_file) {
            let token = fs::read_to_string(file).with_context(|| format!("the token file {} cannot be read", file.display()))?;
            return Self::at(url, token.trim());
        }
        let settings = base.settings()?;
        let data = settings.storage.data.clone();
        let running = match Doorplate::read(&data) {
            Some((url, token)) => Self::at(&url, &token)?.if_it_answers().await,
            None => Err(anyhow!("no admin.url hangs in {}", data.display())),
        };
        match running {
            Ok(desk) => Ok(desk),
            Err(_) if !make && !data.exists() => {
                bail!("there is no data folder {}; name it with --data", data.display())
            }
            // A plate may point nowhere after a crash, or to a stranger who took the port: the folder's lock knows.
            Err(why) => Self::open(settings).await.with_context(|| why_not_running(&why, &data)),
        }
    }

    async fn if_it_answers(self) -> anyhow::Result<Self> {
        self.get::<Value>("").await.map(|_| self)
    }

    async fn open(settings: Settings) -> anyhow::Result<Self> {
        let mut house = House::open(settings).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let token = admin::Token::new(&*house.world);
        let desk = Self::at(&doorplate::url(listener.local_addr()?), token.as_str())?;
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        let parts = role::desk(&house, token)?;
        let serving = admin::run(listener, parts, stop.clone());
        tasks.spawn(async { drop(serving.await) });
        if let Some(follower) = house.follower.take() {
            let following = follower.run(stop.clone());
            tasks.spawn(async { drop(following.await) });
        }
        Ok(Self { own: Some(Own { house, stop, tasks }), ..desk })
    }

    /// Asks; the answer's JSON as it came.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(self.http.get(self.path(path))).await
    }

    /// Asks for something to be made.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, wish: &Value) -> anyhow::Result<T> {
        self.answer(self.http.post(self.path(path)).json(wish)).await
    }

    /// Asks for something to be changed.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, wish: &Value) -> anyhow::Result<T> {
        self.answer(self.http.patch(self.path(path)).json(wish)).await
    }

    /// Reads a stream, handing on its lines in the groups in which they came.
    pub async fn lines(&self, path: &str, each: impl FnMut(std::slice::Iter<'_, &[u8]>) -> io::Result<()>) -> anyhow::Result<()> {
        self.stream(self.http.get(self.path(path)), each).await
    }

    /// Asks for something to be done, and reads the stream that tells how it goes.
    pub async fn post_lines(
        &self,
        path: &str,
        wish: &Value,
        each: impl FnMut(std::slice::Iter<'_, &[u8]>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        self.stream(self.http.post(self.path(path)).json(wish), each).await
    }

    async fn stream(
        &self,
        request: reqwest::RequestBuilder,
        mut each: impl FnMut(std::slice::Iter<'_, &[u8]>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut response = self.accepted(request).await?;
        let mut rest = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the stream broke off; what was printed is not everything")? {
            rest.extend_from_slice(&chunk);
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let lines: Vec<&[u8]> = rest[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
            each(lines.iter())?;
            drop(rest.drain(..whole));
        }
        Ok(())
    }

    /// Closes what was opened.
    pub async fn leave(self) {
        if let Some(mut own) = self.own {
            drop(self.http); // its kept connections would hold up the desk
            own.stop.cancel();
            while own.tasks.join_next().await.is_some() {}
            own.house.close().await;
        }
    }

    fn path(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.url).trim_end_matches('/').to_owned()
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> anyhow::Result<T> {
        self.accepted(request).await?.json().await.context("the desk's answer is not JSON")
    }

    async fn accepted(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = request.bearer_auth(&self.token).send().await.with_context(|| format!("{} does not answer", self.url))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let refused: Value = response.json().await.unwrap_or_default();
        match refused["error"]["message"].as_str() {
            Some(message) => bail!("{message}"),
            None => bail!("{} answers {status}; is that the admin listener of RapidMetrics?", self.url),
        }
    }
}

fn why_not_running(why: &anyhow::Error, data: &Path) -> String {
    format!("no running process was found through {} ({why:#}), and the folder cannot be opened either", data.display())
}
