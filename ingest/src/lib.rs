//! The door: HTTP in, one durable append, an answer.
//!
//! It checks only what can be checked without a database (funnel known, key right, body small and well-formed), stamps what the judge
//! must not look up, appends one raw record per event, and answers after the append is durable. It concludes nothing: what a webhook's
//! answer says is the judge's verdict.
//!
//! hyper drives the connections and one `match` routes them. An axum `Router` boxes each future and each body; the door's cost per
//! event is a figure of the product, and three routes need no more than a `match`.

mod admit;
mod answer;
mod append;
mod body;
mod call;
mod config;
mod content;
mod forwarded;
mod limit;
mod metrics;
mod refuse;
mod script;
mod serve;
mod session;
mod webhook;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use axum::{
    body::Bytes,
    http::{HeaderName, Request, Response},
};
use http_body_util::Full;
use hyper::body::Incoming;
use schemas::{directory::Directory, secret::Key, world::World};
use storage::{Answers, Intake};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use config::{Config, PublicUrl};
pub use forwarded::Network;
pub use metrics::Metrics;

use body::Body;
use call::Call;
use limit::Limits;
use refuse::Refused;
use script::{File, Script};

/// What the door is handed.
pub struct Parts {
    /// Takes raw records durably.
    pub intake: Intake,
    /// Where verdicts are awaited.
    pub answers: Answers,
    /// Funnels, their pixels and keys.
    pub directory: Arc<ArcSwap<Directory>>,
    /// The master key, under which presented API keys are looked up.
    pub keys: Key,
    /// Time and new ids.
    pub world: Arc<dyn World>,
    /// The settings.
    pub config: Config,
    /// Where the door counts.
    pub metrics: Metrics,
}

/// Serves until `stop`, then takes no more, answers what it has, and returns within the drain timeout.
/// An error means that the listener is of no use any more.
pub async fn run(listener: tokio::net::TcpListener, parts: Parts, stop: CancellationToken) -> Result<(), std::io::Error> {
    serve::serve(listener, Arc::new(Door::new(parts)), stop).await
}

/// Every answer's body is whole: nothing is streamed.
pub(crate) type Reply = Response<Full<Bytes>>;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The door as its routes see it.
pub(crate) struct Door {
    intake: Intake,
    answers: Answers,
    directory: Arc<ArcSwap<Directory>>,
    keys: Key,
    world: Arc<dyn World>,
    config: Config,
    metrics: Metrics,
    limits: Limits,
    script: Script,
}

/// The routes, as metrics label them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// One of the script's files.
    Script,
    Session,
    Webhook,
    Other,
}

impl Route {
    /// The route of a path, and the funnel in it.
    fn of(path: &str) -> (Self, &str) {
        match path.strip_prefix("/v1/webhook/custom/") {
            Some(funnel) if !funnel.is_empty() && !funnel.contains('/') => (Self::Webhook, funnel),
            _ if path == "/v1/session" => (Self::Session, ""),
            _ if File::at(path).is_some() => (Self::Script, ""),
            _ => (Self::Other, ""),
        }
    }
}

impl Door {
    fn new(parts: Parts) -> Self {
        let Parts { intake, answers, directory, keys, world, config, metrics } = parts;
        let limits = Limits::new(&config);
        Self { intake, answers, directory, keys, world, limits, config, metrics, script: Script::new() }
    }

    /// How browsers reach us: as the settings say, else as the request does.
    pub(crate) fn base(&self, call: &Call) -> String {
        self.config.public_url.get().map_or_else(|| call.base(), str::to_owned)
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Reply {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let mut body = Body::new(body, &head.headers);
        let call = Call::new(head, peer, &self.config.trusted_proxies, self.world.new_id());
        let (route, funnel) = Route::of(call.path());
        let answered = match route {
            Route::Script => script::answer(self, &call),
            Route::Session => session::answer(self, &call, &mut body).await,
            Route::Webhook => webhook::answer(self, &call, funnel, &mut body).await,
            Route::Other => Err(Refused::NotFound),
        };
        let mut reply = answered.unwrap_or_else(Refused::reply);
        if route == Route::Session {
            session::share(&call, &mut reply);
        }
        let id = call.request_id();
        tracing::debug!(?route, status = reply.status().as_u16(), request_id = ?id, "answered");
        reply.headers_mut().insert(REQUEST_ID, id);
        body.leave(self.config.body_timeout());
        self.metrics.answered(route, reply.status(), started.elapsed());
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn a_path_has_one_route() {
        for (path, route) in [
            ("/v1/session", (Route::Session, "")),
            ("/v1/session.js", (Route::Script, "")),
            ("/v1/session/fn_1.json", (Route::Script, "")),
            ("/v1/webhook/custom/fn_1", (Route::Webhook, "fn_1")),
            ("/v1/webhook/custom/", (Route::Other, "")),
            ("/v1/webhook/custom/fn_1/", (Route::Other, "")),
            ("/v1/session/", (Route::Other, "")),
            ("/", (Route::Other, "")),
            ("*", (Route::Other, "")),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
