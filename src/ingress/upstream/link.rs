//! An HTTP/1 connection to a backend, driven by whoever uses it.

use super::{Stream, Upload};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, sleep};

const HEADERS_MAX: usize = 200;
const BUFFER_BYTES_MAX: usize = 64 << 10;

pub struct Link {
    sender: SendRequest<Upload>,
    driver: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    has_ended: bool,
}

/// Why a backend has not answered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("connect: {0}")]
    Connect(std::io::Error),
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The request is given back.
    #[error("the connection was gone before anything was sent")]
    Unsent(Box<Request<Upload>>),
    #[error("the backend was silent for too long")]
    Timeout,
    #[error("{0}")]
    Broken(hyper::Error),
}

impl Link {
    pub(super) async fn new(stream: Stream) -> Result<Link, Failure> {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(HEADERS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::Broken)?;
        Ok(Link {
            sender,
            driver: Box::pin(connection.with_upgrades()),
            has_ended: false,
        })
    }

    /// Whether it can carry another request now. Takes notice of what has happened since it was last driven.
    pub fn is_usable(&mut self) -> bool {
        // Nobody waits here: whoever uses it next drives it with a waker of his own.
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.has_ended && self.sender.is_ready()
    }

    /// Moves bytes in both directions as far as that goes now.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.has_ended {
            self.has_ended = self.driver.as_mut().poll(cx).is_ready();
        }
    }

    /// Until the protocol has been handed over to its upgrade, or the connection has ended.
    pub async fn ended(mut self) {
        if !self.has_ended {
            let _ = self.driver.as_mut().await;
        }
    }

    /// Sends a request and waits for the head of the answer. The backend may take `patience` each time between parts of
    /// the body, and for its answer.
    pub async fn send(
        &mut self,
        request: Request<Upload>,
        patience: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let progress = request.body().progress();
        let mut seen = progress.count();
        let sending = self.sender.try_send_request(request);
        let mut sending = pin!(sending);
        let mut silence = pin!(sleep(patience));
        poll_fn(|cx| {
            self.drive(cx);
            if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
                return Poll::Ready(answer.map_err(|mut failed| match failed.take_message() {
                    Some(request) => Failure::Unsent(Box::new(request)),
                    None => Failure::Broken(failed.into_error()),
                }));
            }
            while silence.as_mut().poll(cx).is_ready() {
                if seen == progress.count() {
                    return Poll::Ready(Err(Failure::Timeout));
                }
                seen = progress.count();
                silence.as_mut().reset(Instant::now() + patience);
            }
            Poll::Pending
        })
        .await
    }
}
