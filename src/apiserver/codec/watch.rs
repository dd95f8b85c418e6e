//! Watches: one line per event, sent as soon as it is there.

use super::{Codec, Format, Shape, protobuf};
use crate::{
    api::{
        ApiError,
        call::{EventType, WatchEvent},
    },
    apiserver::listen::answer::{self, Answer, JSON},
    task::Stop,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream::BoxStream};

/// Events that are waiting anyway are sent together, up to this many.
const BURST: usize = 64;

/// One text per event, for messages of a WebSocket: JSON in the wanted shape, whatever the wanted format.
pub fn texts(
    mut codec: Codec,
    events: BoxStream<'static, WatchEvent>,
) -> impl Stream<Item = Bytes> + Send + 'static {
    codec.wanted.format = Format::Json;
    let mut is_first = true;
    events.map(move |event| {
        let mut out = BytesMut::new();
        write(&mut out, &codec, event, std::mem::take(&mut is_first));
        out.freeze()
    })
}

pub fn answer(codec: Codec, events: BoxStream<'static, WatchEvent>, mut stop: Stop) -> Answer {
    let mut is_first = true;
    let stopped = async move { stop.stopped().await };
    let chunks = events
        .take_until(Box::pin(stopped))
        .ready_chunks(BURST)
        .map(move |burst| {
            let mut out = BytesMut::new();
            for event in burst {
                write(&mut out, &codec, event, std::mem::take(&mut is_first));
            }
            out.freeze()
        });
    answer::stream(content_type(&codec), chunks)
}

fn content_type(codec: &Codec) -> &'static str {
    match codec.wanted.format {
        Format::Protobuf => protobuf::MEDIA_WATCH,
        Format::Json | Format::Yaml => JSON,
    }
}

fn write(out: &mut BytesMut, codec: &Codec, event: WatchEvent, is_first: bool) {
    let WatchEvent { event, object, .. } = event;
    let (event, object) = match shaped(codec, event, object, is_first) {
        Ok(object) => (event, object),
        Err(failure) => (
            EventType::Error,
            Bytes::from(failure.to_status().to_string()),
        ),
    };
    if codec.wanted.format == Format::Protobuf {
        let document = serde_json::from_slice(&object).map_err(ApiError::internal);
        let frame = document.and_then(|document| protobuf::event(event.as_str(), &document));
        let told = frame.or_else(|failure| protobuf::event("ERROR", &failure.to_status()));
        return out.put_slice(&told.unwrap_or_default());
    }
    out.reserve(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(event.as_str().as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(&object);
    out.put_slice(b"}\n");
}

/// Only the first table of a watch says what its columns are.
fn shaped(
    codec: &Codec,
    event: EventType,
    object: Bytes,
    is_first: bool,
) -> Result<Bytes, ApiError> {
    match (event, codec.wanted.shape) {
        (EventType::Error, _) | (_, Shape::Whole) => Ok(object),
        _ => codec.shaped(object, is_first),
    }
}
