//! One connection to the shim's socket: frames and descriptors in, frames out, never blocking.

use super::protocol::{self, FRAME_MAX, Reply};
use crate::runtime::sys;
use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
};

pub struct Client {
    pub number: u64,
    pub stream: UnixStream,
    pub input: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    pub output: Vec<u8>,
    pub role: Role,
    pub gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Asking,
    Subscriber,
    Exec,
    /// To the container with this id; told when it ends.
    Attached(String),
}

impl Client {
    pub fn new(number: u64, stream: UnixStream) -> Client {
        Client {
            number,
            stream,
            input: Vec::new(),
            fds: Vec::new(),
            output: Vec::new(),
            role: Role::Asking,
            gone: false,
        }
    }

    pub fn receive(&mut self) {
        let mut buffer = [0; 16 << 10];
        match sys::recv_with_fds(self.stream.as_fd(), &mut buffer, &mut self.fds) {
            Ok(0) => self.gone = true,
            Ok(length) => self.input.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.gone = true,
        }
        if self.input.len() > FRAME_MAX + 4 || self.fds.len() > sys::FDS_MAX {
            self.gone = true;
        }
    }

    pub fn reply(&mut self, reply: &Reply) {
        self.reply_with(reply, None);
    }

    pub fn reply_with(&mut self, reply: &Reply, fd: Option<&OwnedFd>) {
        let frame = protocol::encode(reply);
        if let (Some(fd), true) = (fd, self.output.is_empty()) {
            // A fresh connection has room for a small frame.
            match sys::send_with_fds(self.stream.as_fd(), &frame, &[fd.as_raw_fd()]) {
                Ok(sent) => self.output.extend_from_slice(&frame[sent..]),
                Err(_) => self.gone = true,
            }
        } else {
            self.output.extend_from_slice(&frame);
        }
        // A subscriber that does not read is let go; it will find out and look at everything again.
        self.gone |= self.output.len() > FRAME_MAX;
    }

    pub fn flush(&mut self) {
        while !self.output.is_empty() && !self.gone {
            match (&self.stream).write(&self.output) {
                Ok(length) if length == self.output.len() => self.output = Vec::new(),
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.gone = true;
                    self.output = Vec::new();
                }
            }
        }
    }
}
