//! HTTP responses: bodies of shared bytes, texts and errors.
//!
//! A body never copies what it is made of except to join small neighbors into frames of useful size.

use crate::api::ApiError;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

pub type Body = UnsyncBoxBody<Bytes, Infallible>;
pub type Answer = Response<Body>;

pub const JSON: &str = "application/json";
pub const TEXT: &str = "text/plain; charset=utf-8";

/// Smaller neighbors are joined up to this many bytes.
const FRAME_BYTES: usize = 32 * 1024;

/// A body of known length made of many pieces.
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Pieces {
    pub fn new(pieces: VecDeque<Bytes>) -> Pieces {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Pieces { pieces, left }
    }

    fn next(&mut self) -> Option<Bytes> {
        let first = self.pieces.pop_front()?;
        let fits = |have: usize, next: Option<&Bytes>| {
            next.is_some_and(|next| have + next.len() <= FRAME_BYTES)
        };
        if !fits(first.len(), self.pieces.front()) {
            return Some(first);
        }
        let mut joined = BytesMut::with_capacity(FRAME_BYTES);
        joined.extend_from_slice(&first);
        while fits(joined.len(), self.pieces.front()) {
            joined.extend_from_slice(&self.pieces.pop_front()?);
        }
        Some(joined.freeze())
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.next();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

pub fn pieces(code: u16, content_type: &'static str, pieces: VecDeque<Bytes>) -> Answer {
    build(code, content_type, Pieces::new(pieces).boxed_unsync())
}

pub fn bytes(code: u16, content_type: &'static str, content: impl Into<Bytes>) -> Answer {
    pieces(code, content_type, VecDeque::from([content.into()]))
}

pub fn text(code: u16, content: impl Into<String>) -> Answer {
    bytes(code, TEXT, content.into())
}

/// A body that is sent as it comes; it ends with the stream.
pub fn stream(
    content_type: &'static str,
    chunks: impl Stream<Item = Bytes> + Send + 'static,
) -> Answer {
    let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
    build(
        200,
        content_type,
        UnsyncBoxBody::new(StreamBody::new(frames)),
    )
}

pub fn empty(code: u16) -> Answer {
    let mut answer = bytes(code, TEXT, Bytes::new());
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

/// What upstream's router says about a path nobody serves.
pub fn page_not_found() -> Answer {
    let mut answer = text(404, "404 page not found\n");
    let nosniff = HeaderValue::from_static("nosniff");
    answer
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

/// The `Status` document of an error, indented for people.
pub fn error(failure: &ApiError, is_pretty: bool) -> Answer {
    let status = failure.to_status();
    let text = match is_pretty {
        true => format!("{status:#}\n"),
        false => format!("{status}\n"),
    };
    let mut answer = bytes(failure.code, JSON, text);
    let seconds = failure
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

pub fn build(code: u16, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(content_type);
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_arrive_whole_and_in_order() {
        let big = Bytes::from(vec![b'x'; FRAME_BYTES]);
        let pieces = Pieces::new(VecDeque::from([
            Bytes::from_static(b"a"),
            Bytes::from_static(b"b"),
            big.clone(),
            Bytes::from_static(b"c"),
        ]));
        assert_eq!(pieces.size_hint().exact(), Some(3 + big.len() as u64));
        let all = pieces.collect().await.unwrap().to_bytes();
        assert_eq!(all, [&b"ab"[..], &big, b"c"].concat());
    }
}
