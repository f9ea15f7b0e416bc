//! The HTTP server: connections, their limits, and their end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::Connections;

/// Connections at once; each may hold a buffer and a blocking caller. More wait in the kernel's queue, or take the place of
/// an idle one.
const CONNECTIONS_MAX: usize = 4096;
/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(70);
/// The largest head of a request. The URI's own limit (8 kB, contract §1.1) is the API's; the read buffer bounds both,
/// and hyper asks for at least 8 kB.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// How long what is still open may go on once the hub has stopped: the answers to those who waited are on their way.
const DRAIN: Duration = Duration::from_millis(1500);

/// Serves `router` until `stopping`, and then lets open requests end, until a moment after the hub has `stopped`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    stopping: CancellationToken,
    stopped: CancellationToken,
) {
    let places = Connections::new(CONNECTIONS_MAX);
    let connections = TaskTracker::new();
    loop {
        let place = tokio::select! {
            place = places.place(&stopping) => Arc::new(place),
            () = stopping.cancelled() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, mostly: connections that end make room.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stopping.cancelled() => break,
        };
        // Only latency is lost where this fails.
        let _ = stream.set_nodelay(true);
        let (end, stopped, holds) = (place.connection.end.clone(), stopped.clone(), place.clone());
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (answering, busy) = (router.call(request), place.busy());
            async move { answering.await.map(|answer| busy.until_sent(answer)) }
        });
        let stopping = stopping.clone();
        connections.spawn(async move {
            let _holds = holds;
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_BYTES_MAX);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            // A client that breaks off or speaks no HTTP is its own affair.
            tokio::select! {
                _ = &mut connection => {}
                () = end.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let cut = async {
                        // Where it ends to make room for another one, its client owes the rest of a request.
                        if stopping.is_cancelled() {
                            stopped.cancelled().await;
                        }
                        tokio::time::sleep(DRAIN).await;
                    };
                    tokio::select! {
                        _ = connection => {}
                        () = cut => {}
                    }
                }
            }
        });
    }
    connections.close();
    connections.wait().await;
}
