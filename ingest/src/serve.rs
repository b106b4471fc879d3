//! Connections: accepted up to a cap, each with its timeouts, and drained when the house stops.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Door, limit};

/// Largest request head in bytes, and what hyper buffers of a connection.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Pause after an accept that failed for want of something (files, memory) that closing connections will give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn serve(listener: TcpListener, door: Arc<Door>, stop: CancellationToken) -> io::Result<()> {
    let connections = TaskTracker::new();
    if door.limits.any() {
        connections.spawn(forget_idle_callers(Arc::clone(&door), stop.clone()));
    }
    let accepting = accept_all(&listener, &door, &stop, &connections);
    let ended = stop.run_until_cancelled(accepting).await.unwrap_or(Ok(()));
    drop(listener);
    stop.cancel(); // if the listener failed: whoever is here is answered, then the room ends
    connections.close();
    connections.wait().await;
    ended
}

async fn accept_all(listener: &TcpListener, door: &Arc<Door>, stop: &CancellationToken, connections: &TaskTracker) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(door.config.connections_max.get() as usize));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the places are never closed");
        let (stream, peer) = accept(listener).await?;
        let _ = stream.set_nodelay(true); // only a connection that is already gone refuses
        let (door, stop) = (Arc::clone(door), stop.clone());
        connections.spawn(async move {
            door.metrics.connections().inc();
            connection(stream, peer, &door, &stop).await;
            door.metrics.connections().dec();
            drop(place);
        });
    }
}

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, IpAddr)> {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, WouldBlock};
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream, peer.ip().to_canonical())),
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock) => {}
            Err(error) if error.kind() == InvalidInput => return Err(error), // the socket does not listen
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What a connection's alarm is set for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alarm {
    /// The head of its first request.
    FirstHead,
    /// Nothing: from now on hyper watches the time between requests.
    Off,
    /// The end of the drain.
    Drained,
}

/// Serves one connection. A client that goes away or talks nonsense ends only its own connection.
async fn connection(stream: TcpStream, peer: IpAddr, door: &Arc<Door>, stop: &CancellationToken) {
    let met = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        met.store(true, Ordering::Relaxed);
        let door = Arc::clone(door);
        async move { Ok::<_, Infallible>(door.answer(request, peer).await) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.config.idle_timeout())
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let (mut http, mut alarm_rings, mut stopped) = (pin!(http), pin!(sleep(door.config.header_timeout())), pin!(stop.cancelled()));
    let mut alarm = Alarm::FirstHead;
    loop {
        tokio::select! {
            biased;
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = &mut stopped, if alarm != Alarm::Drained => {
                http.as_mut().graceful_shutdown();
                alarm_rings.as_mut().reset(Instant::now() + door.config.drain_timeout());
                alarm = Alarm::Drained;
            }
            () = &mut alarm_rings, if alarm != Alarm::Off => {
                if alarm == Alarm::Drained || !met.load(Ordering::Relaxed) {
                    return;
                }
                alarm = Alarm::Off;
            }
        }
    }
}

async fn forget_idle_callers(door: Arc<Door>, stop: CancellationToken) {
    let mut ticks = interval(limit::FORGET_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        door.limits.forget();
    }
}
