//! The daemon's end of a shim's socket.

use crate::runtime::{
    SHIM_ANSWER_TIMEOUT,
    model::RuntimeError,
    shim::protocol::{self, Reply, Request},
    sys,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::Path,
    sync::Arc,
};
use tokio::{
    io::Interest,
    net::UnixStream,
    time::{Duration, timeout},
};

/// A connection carries one request and its answers. Dropping it cancels nothing on the other side.
pub struct Connection {
    stream: Arc<UnixStream>,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Connection {
    /// Fails at once when no shim listens there.
    pub async fn open(socket: &Path) -> io::Result<Connection> {
        Ok(Connection {
            stream: Arc::new(UnixStream::connect(socket).await?),
            input: Vec::new(),
            fds: Vec::new(),
        })
    }

    /// The process that listens: the shim.
    pub fn shim_pid(&self) -> Option<i32> {
        self.stream.peer_cred().ok()?.pid()
    }

    pub async fn send(&self, request: &Request, fds: &[RawFd]) -> io::Result<()> {
        let frame = protocol::encode(request);
        let mut sent = 0;
        while sent < frame.len() {
            let fds = if sent == 0 { fds } else { &[] };
            let send = || sys::send_with_fds(self.stream.as_fd(), &frame[sent..], fds);
            match self.stream.async_io(Interest::WRITABLE, send).await {
                Ok(length) => sent += length,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `None` when the shim has closed the connection.
    pub async fn receive(&mut self) -> io::Result<Option<Reply>> {
        loop {
            let decoded = protocol::decode(&mut self.input).map_err(io::Error::other)?;
            if decoded.is_some() {
                return Ok(decoded);
            }
            let mut buffer = [0; 16 << 10];
            let fds = &mut self.fds;
            let stream = &self.stream;
            let receive = || sys::recv_with_fds(stream.as_fd(), &mut buffer, fds);
            match stream.async_io(Interest::READABLE, receive).await? {
                0 => return Ok(None),
                length => self.input.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// A descriptor that came with what was received.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop()
    }

    /// Sends a small request without waiting for room; for callers that are not async.
    pub fn sender(&self) -> impl Fn(&Request) + Send + Sync + 'static {
        let stream = Arc::clone(&self.stream);
        move |request| {
            // An error means that the shim is gone, and with it what the request was about.
            let _ = sys::send_with_fds(stream.as_fd(), &protocol::encode(request), &[]);
        }
    }

    /// One answer within the time limit; a `Failed` one as an error.
    pub async fn ask(&mut self, request: &Request, fds: &[OwnedFd]) -> Result<Reply, RuntimeError> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let exchange = async {
            self.send(request, &raw).await?;
            self.receive().await
        };
        match timeout(SHIM_ANSWER_TIMEOUT, exchange).await {
            Err(_) => Err(RuntimeError::Timeout(SHIM_ANSWER_TIMEOUT)),
            Ok(Ok(Some(Reply::Failed { failure }))) => Err(failure.into()),
            Ok(Ok(Some(reply))) => Ok(reply),
            Ok(Ok(None)) => Err(RuntimeError::Failed(
                "the shim ended while asked".to_owned(),
            )),
            Ok(Err(error)) => Err(RuntimeError::Failed(format!("talk to the shim: {error}"))),
        }
    }
}

/// Connects, asks, returns the answer.
pub async fn call(socket: &Path, request: &Request) -> Result<Reply, RuntimeError> {
    connect(socket).await?.ask(request, &[]).await
}

pub async fn connect(socket: &Path) -> Result<Connection, RuntimeError> {
    // A full backlog of a busy shim answers EAGAIN.
    let mut pause = Duration::from_millis(1);
    loop {
        match Connection::open(socket).await {
            Ok(connection) => return Ok(connection),
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && pause < Duration::from_secs(2) =>
            {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) => {
                let sandbox = socket
                    .parent()
                    .and_then(Path::file_name)
                    .unwrap_or_default();
                let sandbox = sandbox.to_string_lossy();
                return Err(RuntimeError::NotFound(format!(
                    "sandbox {sandbox} ({error})"
                )));
            }
        }
    }
}
