//! Frames of SPDY/3.1, as far as Kubernetes' clients use them. There is no flow control: they know none.

use bytes::{BufMut as _, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Clients send much less; a larger one ends the connection.
const FRAME_MAX: usize = 1024 * 1024;
const FIN: u8 = 1;
const VERSION: u16 = 3;

/// What a client may send. Header blocks are still compressed.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        stream: u32,
        is_last: bool,
        block: Bytes,
    },
    Headers {
        block: Bytes,
    },
    Data {
        stream: u32,
        is_last: bool,
        bytes: Bytes,
    },
    Reset {
        stream: u32,
    },
    Ping(u32),
    GoAway,
    /// Settings, windows: without meaning here.
    Other,
}

/// The next frame; `None` at the orderly end of the connection. Not cancel-safe.
pub async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0u8; 8];
    match io.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
    if length > FRAME_MAX {
        return Err(broken("a frame is too large"));
    }
    let mut body = BytesMut::zeroed(length);
    io.read_exact(&mut body).await?;
    parse(head, body.freeze()).map(Some)
}

fn parse(head: [u8; 8], body: Bytes) -> io::Result<Frame> {
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let is_last = head[4] & FIN != 0;
    if first & 0x8000_0000 == 0 {
        return Ok(Frame::Data {
            stream: first,
            is_last,
            bytes: body,
        });
    }
    let number = |at: usize| {
        let bytes = body
            .get(at..at + 4)
            .ok_or_else(|| broken("a frame is too short"))?;
        Ok::<u32, io::Error>(u32::from_be_bytes(bytes.try_into().expect("four bytes")))
    };
    let stream = || number(0).map(|id| id & 0x7fff_ffff);
    let block = |from: usize| match body.len() < from {
        true => Err(broken("a frame is too short")),
        false => Ok(body.slice(from..)),
    };
    Ok(match first & 0xffff {
        1 => Frame::SynStream {
            stream: stream()?,
            is_last,
            block: block(10)?,
        },
        3 => Frame::Reset { stream: stream()? },
        6 => Frame::Ping(number(0)?),
        7 => Frame::GoAway,
        2 | 8 => Frame::Headers { block: block(4)? },
        _ => Frame::Other,
    })
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

pub fn data(stream: u32, is_last: bool, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + bytes.len());
    out.put_u32(stream);
    out.put_u32(length(bytes.len()) | u32::from(is_last) << 24);
    out.put_slice(bytes);
    out.freeze()
}

pub fn syn_reply(stream: u32, block: &[u8]) -> Bytes {
    control(2, &[&stream.to_be_bytes(), block])
}

/// `CANCEL`.
pub fn reset(stream: u32) -> Bytes {
    control(3, &[&stream.to_be_bytes(), &5u32.to_be_bytes()])
}

pub fn ping(id: u32) -> Bytes {
    control(6, &[&id.to_be_bytes()])
}

fn control(kind: u16, parts: &[&[u8]]) -> Bytes {
    let body = parts.concat();
    let mut out = BytesMut::with_capacity(8 + body.len());
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(length(body.len()));
    out.put_slice(&body);
    out.freeze()
}

/// Of what we send ourselves.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes < 1 << 24)
        .expect("frames are small")
}

/// As a client would send it.
#[cfg(test)]
pub fn syn_stream(stream: u32, block: &[u8]) -> Bytes {
    control(1, &[&stream.to_be_bytes(), &[0; 6], block])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_the_wire() {
        let block = Bytes::from_static(b"block");
        let wire = [
            syn_stream(1, &block),
            data(1, true, b"abc"),
            reset(1),
            ping(7),
        ]
        .concat();
        let mut io = wire.as_slice();
        let expected = [
            Frame::SynStream {
                stream: 1,
                is_last: false,
                block,
            },
            Frame::Data {
                stream: 1,
                is_last: true,
                bytes: Bytes::from_static(b"abc"),
            },
            Frame::Reset { stream: 1 },
            Frame::Ping(7),
        ];
        for frame in expected {
            assert_eq!(read(&mut io).await.unwrap(), Some(frame));
        }
        assert_eq!(read(&mut io).await.unwrap(), None);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        for wire in [
            &[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0][..],
            &[0, 0, 0, 1, 0, 0xff, 0xff, 0xff],
        ] {
            assert!(read(&mut &*wire).await.is_err(), "{wire:?}");
        }
    }
}
