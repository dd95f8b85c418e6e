//! Netlink messages and sockets for netfilter: writing attributes, reading answers.
//!
//! Owns framing only: what the attributes mean is known to `nft` and `conntrack`. Links, addresses and routes have a
//! crate that knows them (`links`); for nftables there is none that fits.

use nix::sys::socket::{setsockopt, sockopt};
use std::io;

pub const NETFILTER: isize = 12;

pub const REQUEST: u16 = 0x1;
pub const ACK: u16 = 0x4;
pub const DUMP: u16 = 0x300;
pub const CREATE: u16 = 0x400;
pub const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const KIND_MASK: u16 = 0x3fff;

/// Messages in the making.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Writer {
    /// `header` is the fixed part that the message's family wants before the attributes.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        body: impl FnOnce(&mut Writer),
    ) {
        let start = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.raw(header);
        body(self);
        let length = u32::try_from(self.bytes.len() - start).expect("a message is below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Bytes without a header of their own.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("an attribute is below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    /// Zero-terminated.
    pub fn text(&mut self, kind: u16, text: &str) {
        self.attr(kind, &[text.as_bytes(), &[0]].concat());
    }

    /// In network order, as netfilter wants numbers.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attr(kind, &value.to_be_bytes());
    }

    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        body(self);
        let length =
            u16::try_from(self.bytes.len() - start).expect("callers split lists below 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    #[cfg(test)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The attributes in `bytes`; ends at the first one that is cut off.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & KIND_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A blocking connection to the kernel.
pub struct Socket(netlink_sys::Socket);

impl Socket {
    pub fn open(protocol: isize) -> io::Result<Socket> {
        let mut socket = netlink_sys::Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
        Ok(Socket(socket))
    }

    /// One message that asks for an acknowledgment.
    pub fn request(&self, message: &Writer) -> io::Result<()> {
        self.0.send(&message.bytes, 0)?;
        loop {
            for (kind, body) in self.receive()? {
                if kind == KIND_ERROR {
                    return code(&body);
                }
            }
        }
    }

    /// Sends one request that the kernel answers with many messages, or with one without an acknowledgment.
    pub fn query(&self, message: &Writer, is_dump: bool) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.0.send(&message.bytes, 0)?;
        let mut found = Vec::new();
        loop {
            for (kind, body) in self.receive()? {
                match kind {
                    KIND_DONE => return Ok(found),
                    KIND_ERROR => return code(&body).map(|()| found),
                    _ => found.push((kind, body)),
                }
            }
            if !is_dump && !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Sends a batch that the kernel works through before `send` returns; only refusals are answered.
    pub fn batch(&self, messages: &Writer) -> io::Result<()> {
        // A batch is one datagram and counts as a whole against the buffer; the limit is lifted by CAP_NET_ADMIN.
        let room = (messages.len() * 2).max(1 << 20);
        let _ = setsockopt(&self.0, sockopt::SndBufForce, &room);
        let _ = setsockopt(&self.0, sockopt::RcvBufForce, &room);
        self.0.send(&messages.bytes, 0)?;
        self.0.set_non_blocking(true)?;
        loop {
            let answers = match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                answers => answers?,
            };
            for (kind, body) in answers {
                if kind == KIND_ERROR {
                    code(&body)?;
                }
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let (bytes, _) = self.0.recv_from_full()?;
        let mut rest = bytes.as_slice();
        let mut messages = Vec::new();
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let Some(body) = rest.get(HEADER..length) else {
                break;
            };
            messages.push((kind, body.to_vec()));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// The result in an acknowledgment.
fn code(body: &[u8]) -> io::Result<()> {
    let code = body.get(..4).and_then(|bytes| bytes.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut writer = Writer::default();
        writer.attr(1, &[7]);
        writer.nest(2, |writer| writer.text(3, "eth0"));
        let read: Vec<(u16, &[u8])> = attributes(&writer.bytes).collect();
        assert_eq!(read[0], (1, &[7][..]));
        assert_eq!(attribute(read[1].1, 3), Some(&b"eth0\0"[..]));
    }

    #[test]
    fn cut_attributes_end_the_list() {
        let mut writer = Writer::default();
        writer.attr(1, &[7, 7, 7, 7]);
        for end in 0..writer.bytes.len() {
            assert_eq!(attributes(&writer.bytes[..end]).count(), 0, "{end}");
        }
        assert_eq!(attributes(&[0, 0, 0, 0, 1]).count(), 0);
    }
}
