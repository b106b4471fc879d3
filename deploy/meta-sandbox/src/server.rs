//! Connections in, the route table, and the way out.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::sandbox::Sandbox;
use crate::{browser, control, events, steer};

/// Each costs a task and a few buffers.
const CONNECTIONS_MAX: usize = 10_000;
/// How long to wait for a request's head. This also ends idle connections, so it stands above the 90 s for which common
/// clients keep one: the box must never close a connection just as the next request leaves.
const HEAD_WAIT: Duration = Duration::from_secs(120);
/// What is under way when the box is told to stop has this long to finish.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until `shutdown` is cancelled, then lets go of what is under way.
pub async fn run(listener: TcpListener, sandbox: Sandbox, shutdown: CancellationToken) -> anyhow::Result<()> {
    let routes = routes(sandbox);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, routes.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::info!("requests still held are dropped");
    }
    Ok(())
}

fn routes(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/{version}/{pixel}/events", post(events::receive).fallback(events::wrong_path))
        .route("/fbevents.js", get(browser::script))
        .route("/{locale}/fbevents.js", get(browser::script))
        .route("/signals/config/{pixel}", get(browser::pixel_config))
        .route("/tr", get(browser::image).post(browser::beacon))
        .route("/tr/", get(browser::image).post(browser::beacon))
        .route("/sandbox/health", get(control::health))
        .route("/sandbox/pixels/{id}", put(steer::put_pixel))
        .route("/sandbox/conversions", get(control::conversions))
        .route("/sandbox/requests", get(control::requests))
        .route("/sandbox/hits", get(control::hits))
        .route("/sandbox/remarks", get(control::remarks))
        .route("/sandbox/report", get(control::report))
        .route("/sandbox/faults", get(steer::faults).put(steer::put_faults).delete(steer::delete_faults))
        .route("/sandbox/latency", get(steer::latency).put(steer::put_latency).delete(steer::delete_latency))
        .route("/sandbox/budgets", get(steer::budgets).put(steer::put_budgets).delete(steer::delete_budgets))
        .route("/sandbox/script", get(steer::script).put(steer::put_script).delete(steer::delete_script))
        .route("/sandbox/expected", put(steer::put_expected))
        .fallback(events::wrong_path)
        .with_state(sandbox)
        .layer(from_fn(open_to_pages))
}

/// Pages of any origin may ask: the box holds nothing that is worth hiding.
async fn open_to_pages(request: Request, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type, authorization"));
    }
    response
}

async fn serve(stream: TcpStream, routes: Router, shutdown: CancellationToken) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answer = routes.clone().oneshot(request.map(Body::new));
        async move {
            let response = answer.await.unwrap_or_else(|never: Infallible| match never {});
            if HangUp::is_in(&response) { Err(HungUp) } else { Ok(response) }
        }
    });
    // Small answers must not wait for the client's acknowledgement of the ones before.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    if ended.is_err_and(|error| error.is_user()) {
        // A reset, not a polite end: what a client sees when the other side falls over.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

/// Marks a response that must never leave: the connection is reset in its place.
#[derive(Clone, Copy)]
pub(crate) struct HangUp;

impl HangUp {
    pub(crate) fn response() -> Response {
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        response.extensions_mut().insert(HangUp);
        response
    }

    pub(crate) fn is_in(response: &Response) -> bool {
        response.extensions().get::<HangUp>().is_some()
    }
}

/// What the connection is told when it must end without an answer.
#[derive(Debug)]
struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for HungUp {}
