//! Connections in, and the way out. Hyper's builder is driven by hand because `axum::serve` arms no header timeout.

use std::time::Duration;

use axum::{Router, body::Body};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Config;

/// What is under way when the desk is told to stop has this long to finish; streams end by themselves.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) async fn serve(listener: TcpListener, routes: Router, config: &Config, stop: CancellationToken) -> std::io::Result<()> {
    let header_wait = Duration::from_millis(config.header_timeout_ms);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < config.connections_max => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, routes.clone(), header_wait, stop.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, or the caller went away: neither is a reason to stop serving the others.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::info!("connections still held are dropped");
    }
    Ok(())
}

async fn converse(stream: TcpStream, routes: Router, header_wait: Duration, stop: CancellationToken) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| routes.clone().oneshot(request.map(Body::new)));
    let _ = stream.set_nodelay(true); // small answers must not wait for the client's acknowledgement of the ones before
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_wait);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
