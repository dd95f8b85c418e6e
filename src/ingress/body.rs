//! Bodies on their way: what a client sends, what a backend answers. Streamed, never gathered.
//!
//! A part is read from one side only when the other side has taken the part before. Both directions end when the
//! sender is silent for too long.

use super::{
    limit::Guard,
    upstream::{Link, Place, Pool},
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};

/// How long a client may pause within a body.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    TooLarge,
    ClientSilent,
    BackendSilent,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cut::TooLarge => "the request body is larger than allowed",
            Cut::ClientSilent => "the client was silent for too long",
            Cut::BackendSilent => "the backend was silent for too long",
        })
    }
}

impl std::error::Error for Cut {}

impl Cut {
    /// The cut at the root of a failure, if there is one.
    pub fn at_root_of(failure: &(dyn std::error::Error + 'static)) -> Option<Cut> {
        let mut failure = Some(failure);
        while let Some(one) = failure {
            if let Some(cut) = one.downcast_ref::<Cut>() {
                return Some(*cut);
            }
            failure = one.source();
        }
        None
    }
}

/// A timer that exists only while somebody waits.
struct Silence {
    /// `None` is for ever.
    patience: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(patience: Option<Duration>) -> Silence {
        Silence {
            patience,
            timer: None,
        }
    }

    fn broken(&mut self) {
        self.timer = None;
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(patience) = self.patience else {
            return false;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        timer.as_mut().poll(cx).is_ready()
    }
}

/// What a client sends, within limits.
pub struct Upload {
    body: Option<Incoming>,
    left_bytes: u64,
    silence: Silence,
    progress: Progress,
}

/// Counts the parts of an upload. The empty one does not count anything.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<AtomicU64>>);

impl Progress {
    pub fn count(&self) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn step(&self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Upload {
    pub fn new(body: Incoming, bytes_max: Option<u64>) -> Upload {
        let body = (!body.is_end_stream()).then_some(body);
        let progress = Progress(body.is_some().then(Arc::default));
        Upload {
            body,
            left_bytes: bytes_max.unwrap_or(u64::MAX),
            silence: Silence::new(Some(CLIENT_PATIENCE)),
            progress,
        }
    }

    pub fn empty() -> Upload {
        Upload {
            body: None,
            left_bytes: 0,
            silence: Silence::new(Some(CLIENT_PATIENCE)),
            progress: Progress::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upload")
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence.broken();
                this.progress.step();
                let count = frame.data_ref().map_or(0, Bytes::len) as u64;
                match this.left_bytes.checked_sub(count) {
                    Some(left) => this.left_bytes = left,
                    None => return Poll::Ready(Some(Err(Box::new(Cut::TooLarge)))),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Box::new(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.silence.is_over(cx) => {
                Poll::Ready(Some(Err(Box::new(Cut::ClientSilent))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What the client gets.
pub struct Reply {
    source: Source,
    silence: Silence,
    /// Held until the answer has been sent.
    pub guard: Option<Guard>,
}

enum Source {
    Own(Full<Bytes>),
    /// From a connection that is driven along.
    Linked {
        body: Incoming,
        link: Option<Link>,
        place: Place,
        pool: Arc<Pool>,
    },
    Shared(Incoming),
}

impl Reply {
    pub fn own(text: impl Into<Bytes>) -> Reply {
        Reply {
            source: Source::Own(Full::new(text.into())),
            silence: Silence::new(None),
            guard: None,
        }
    }

    /// The connection goes back to the pool when the body has been read to its end.
    pub fn linked(
        body: Incoming,
        link: Link,
        place: Place,
        pool: &Arc<Pool>,
        patience: Duration,
    ) -> Reply {
        let mut reply = Reply {
            source: Source::Linked {
                body,
                link: Some(link),
                place,
                pool: Arc::clone(pool),
            },
            silence: Silence::new(Some(patience)),
            guard: None,
        };
        reply.release();
        reply
    }

    /// From a connection that others use too; it may be silent for as long as its ends like.
    pub fn shared(body: Incoming) -> Reply {
        Reply {
            source: Source::Shared(body),
            silence: Silence::new(None),
            guard: None,
        }
    }

    /// Gives the connection back once nothing more is to be read from it.
    fn release(&mut self) {
        if self.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Source::Linked {
            link, place, pool, ..
        } = &mut self.source
            && let Some(link) = link.take()
        {
            pool.put(*place, link);
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.source {
            Source::Own(full) => {
                let polled = Pin::new(full).poll_frame(cx);
                return polled
                    .map(|frame| frame.map(|frame| frame.map_err(|never| match never {})));
            }
            Source::Shared(body) => Pin::new(body).poll_frame(cx),
            Source::Linked { body, link, .. } => {
                let first = Pin::new(&mut *body).poll_frame(cx);
                match (first, link) {
                    (Poll::Pending, Some(link)) => {
                        // The first poll said that there is room; now the connection fills it.
                        link.drive(cx);
                        Pin::new(body).poll_frame(cx)
                    }
                    (first, _) => first,
                }
            }
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence.broken();
                this.release();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Box::new(error)))),
            // The end of a chunked body is known only now.
            Poll::Ready(None) => {
                this.give_back();
                Poll::Ready(None)
            }
            Poll::Pending if this.silence.is_over(cx) => {
                Poll::Ready(Some(Err(Box::new(Cut::BackendSilent))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(full) => full.is_end_stream(),
            Source::Shared(body) | Source::Linked { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(full) => full.size_hint(),
            Source::Shared(body) | Source::Linked { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.release();
    }
}
