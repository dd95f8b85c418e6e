//! Connections that have left HTTP: WebSockets and whatever else was agreed on. Bytes in both directions until both
//! ends are done or nothing has moved for too long.

use super::forward::Switched;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tracing::debug;

const BUFFER_BYTES: usize = 16 << 10;

/// Runs until the tunnel ends.
pub async fn run(client: OnUpgrade, backend: Switched, patience: Duration) {
    let Switched { link, upgrade } = backend;
    // The backend's side is handed over by the connection itself.
    let (client, (backend, ())) =
        tokio::join!(client, async { tokio::join!(upgrade, link.ended()) });
    let (client, backend) = match (client, backend) {
        (Ok(client), Ok(backend)) => (TokioIo::new(client), TokioIo::new(backend)),
        (client, backend) => {
            return debug!(client = ?client.err(), backend = ?backend.err(), "upgrade");
        }
    };
    let (client_read, client_write) = split(client);
    let (backend_read, backend_write) = split(backend);
    let moved = AtomicU64::new(0);
    let both = async {
        tokio::join!(
            pump(client_read, backend_write, &moved),
            pump(backend_read, client_write, &moved)
        )
    };
    tokio::select! {
        _ = both => {}
        () = silence(&moved, patience) => debug!("tunnel was silent for too long"),
    }
}

/// Moves bytes until the reader ends, then says so to the other side.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// Resolves once nothing has moved for `patience`.
async fn silence(moved: &AtomicU64, patience: Duration) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::time::sleep(patience).await;
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}
