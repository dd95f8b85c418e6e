//! The server's end of a SPDY/3.1 connection: streams the client opens, pings, and nothing more.
//!
//! A stream's input waits in a bounded channel. While one is full the connection is not read: what is behind it has
//! to wait, as there is no flow control that could tell the client.

mod frame;
mod headers;

use bytes::Bytes;
use frame::Frame;
use std::{collections::HashMap, io};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};

/// Open streams of one connection.
const STREAMS_MAX: usize = 1024;
/// Frames that wait for a stream's reader.
const INPUT_BUFFER: usize = 256;
/// Frames that wait for the connection.
const OUTPUT_BUFFER: usize = 64;
/// Larger writes are cut.
const DATA_MAX: usize = 32 * 1024;

/// A stream the client opened; it was answered already.
pub struct Stream {
    headers: headers::Headers,
    /// Ends when the client has sent its last.
    pub input: mpsc::Receiver<Bytes>,
    pub output: Output,
}

impl Stream {
    /// Empty when there is no such header.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// The way back of a stream.
pub struct Output {
    stream: u32,
    frames: mpsc::Sender<Bytes>,
}

impl Output {
    /// False when the connection is gone.
    pub async fn send(&self, bytes: &[u8]) -> bool {
        for chunk in bytes.chunks(DATA_MAX) {
            if self
                .frames
                .send(frame::data(self.stream, false, chunk))
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    }

    /// Nothing more will be sent.
    pub async fn finish(&self) {
        let _ = self.frames.send(frame::data(self.stream, true, b"")).await;
    }

    /// Both directions end at once.
    pub async fn reset(&self) {
        let _ = self.frames.send(frame::reset(self.stream)).await;
    }
}

/// Serves a connection until the client or `done` says that it is over, handing its streams to `streams`. Returns
/// when all that was sent on streams is written, and their [`Output`]s are dropped.
pub async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    streams: mpsc::Sender<Stream>,
    done: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(io);
    let (frames, mut waiting) = mpsc::channel::<Bytes>(OUTPUT_BUFFER);
    let write = async {
        while let Some(bytes) = waiting.recv().await {
            writer.write_all(&bytes).await?;
            if waiting.is_empty() {
                writer.flush().await?;
            }
        }
        writer.flush().await
    };
    let mut connection = Connection {
        open: HashMap::new(),
        streams,
        frames,
        reader: headers::Reader::new(),
        writer: headers::Writer::new(),
    };
    let read = async move {
        while let Some(frame) = frame::read(&mut reader).await? {
            if !connection.take(frame).await? {
                break;
            }
        }
        Ok(())
    };
    // Whichever ends drops the connection's own sender; a frame half read is of no use any more.
    let read = async move {
        tokio::select! {
            read = read => read,
            () = done => Ok(()),
        }
    };
    // Reading ends first in good order; what was queued until then is still written.
    let (read, written): (io::Result<()>, io::Result<()>) = tokio::join!(read, write);
    read.and(written)
}

struct Connection {
    open: HashMap<u32, mpsc::Sender<Bytes>>,
    streams: mpsc::Sender<Stream>,
    frames: mpsc::Sender<Bytes>,
    reader: headers::Reader,
    writer: headers::Writer,
}

impl Connection {
    /// False when the connection is at its end.
    async fn take(&mut self, frame: Frame) -> io::Result<bool> {
        match frame {
            Frame::SynStream {
                stream,
                is_last,
                block,
            } => {
                return self.open(stream, is_last, &block).await;
            }
            // The block must be read for the zlib stream to go on; what it says does not matter.
            Frame::Headers { block } => drop(self.read(&block)?),
            Frame::Data {
                stream,
                is_last,
                bytes,
            } => {
                if let Some(input) = self.open.get(&stream)
                    && !bytes.is_empty()
                {
                    // A stream nobody reads any more: the bytes are lost, as they should be.
                    let _ = input.send(bytes).await;
                }
                if is_last {
                    self.open.remove(&stream);
                }
            }
            Frame::Reset { stream } => drop(self.open.remove(&stream)),
            Frame::Ping(id) => return Ok(self.frames.send(frame::ping(id)).await.is_ok()),
            Frame::GoAway => return Ok(false),
            Frame::Other => {}
        }
        Ok(true)
    }

    async fn open(&mut self, stream: u32, is_last: bool, block: &[u8]) -> io::Result<bool> {
        let headers = self.read(block)?;
        self.open.retain(|_, input| !input.is_closed());
        if self.open.len() >= STREAMS_MAX {
            return Ok(self.frames.send(frame::reset(stream)).await.is_ok());
        }
        let (sender, input) = mpsc::channel(INPUT_BUFFER);
        if !is_last {
            self.open.insert(stream, sender);
        }
        let reply = frame::syn_reply(stream, &self.writer.write(&[]));
        if self.frames.send(reply).await.is_err() {
            return Ok(false);
        }
        let output = Output {
            stream,
            frames: self.frames.clone(),
        };
        let opened = Stream {
            headers,
            input,
            output,
        };
        Ok(self.streams.send(opened).await.is_ok())
    }

    fn read(&mut self, block: &[u8]) -> io::Result<headers::Headers> {
        let headers = self.reader.read(block);
        headers
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a header block is broken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's end, by hand.
    #[tokio::test]
    async fn streams_carry_both_ways() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let (sender, mut streams) = mpsc::channel::<Stream>(4);
        let mut compressor = headers::Writer::new();
        let work = async {
            let block = compressor.write(&[("streamtype", "data"), ("port", "80")]);
            let wire = [
                frame::syn_stream(1, &block),
                frame::data(1, true, b"hello"),
                frame::ping(9),
            ]
            .concat();
            client.write_all(&wire).await.unwrap();
            let mut stream = streams.recv().await.unwrap();
            assert_eq!((stream.header("port"), stream.header("none")), ("80", ""));
            assert_eq!(stream.input.recv().await.unwrap(), "hello");
            assert_eq!(stream.input.recv().await, None);
            assert!(stream.output.send(b"back").await);
            stream.output.finish().await;
            drop(stream);
            let mut seen = Vec::new();
            while seen.len() < 4 {
                seen.push(frame::read(&mut client).await.unwrap().unwrap());
            }
            assert!(matches!(seen[0], Frame::Headers { .. }));
            assert!(seen.contains(&Frame::Ping(9)));
            let data = Frame::Data {
                stream: 1,
                is_last: false,
                bytes: Bytes::from_static(b"back"),
            };
            assert!(seen.contains(&data));
            drop(client);
        };
        let (served, ()) = tokio::join!(serve(server, sender, std::future::pending()), work);
        served.unwrap();
    }
}
