//! An HTTP/2 connection to a backend, shared by the calls on it and driven by a task of its own.

use super::{Failure, Stream, Upload};
use crate::task::Tasks;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::time::Duration;
use tracing::debug;

const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// A dead backend is noticed while calls are under way.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

pub async fn open(stream: Stream, tasks: &Tasks) -> Result<http2::SendRequest<Upload>, Failure> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Broken)?;
    let mut stop = tasks.stop_signal();
    tasks.spawn("ingress channel", async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                debug!(%error, "channel to a backend");
            },
            () = stop.stopped() => {}
        }
    });
    Ok(sender)
}
