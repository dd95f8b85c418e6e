//! A container's standard streams: into its log, to those attached, and from them to its input.
//!
//! Nothing here blocks. A reader that does not keep up with the container is cut off, so that neither the container
//! nor its log ever waits for a client.

use super::log::{Lines, LogFile, Stream};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags},
    unistd::{read, write},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// What an attached client may be behind.
const BACKLOG_MAX: usize = 1 << 20;
const CHUNK: usize = 32 << 10;

/// The container's side of its streams, for libcontainer.
pub struct TheirEnds {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

#[derive(Debug)]
pub struct Stdio {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    is_terminal: bool,
    stdin_once: bool,
    to_stdin: Vec<u8>,
    out_lines: Lines,
    err_lines: Lines,
    log: LogFile,
    attached: Vec<Attached>,
}

#[derive(Debug)]
struct Attached {
    stdin: Option<OwnedFd>,
    stdout: Output,
    stderr: Output,
}

#[derive(Debug, Default)]
struct Output {
    fd: Option<OwnedFd>,
    backlog: Vec<u8>,
}

/// One thing to poll for, and what to do when it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    ReadStdout,
    ReadStderr,
    WriteStdin,
    ReadClient(usize),
    WriteClient(usize, Stream),
}

/// Pipes, nonblocking on our side, or `/dev/null` for an input nobody wants.
pub fn pipes(with_stdin: bool) -> io::Result<(Option<OwnedFd>, OwnedFd, OwnedFd, TheirEnds)> {
    let (stdout, their_stdout) = io::pipe()?;
    let (stderr, their_stderr) = io::pipe()?;
    let (stdin, their_stdin): (Option<OwnedFd>, OwnedFd) = if with_stdin {
        let (theirs, ours) = io::pipe()?;
        (Some(ours.into()), theirs.into())
    } else {
        (None, std::fs::File::open("/dev/null")?.into())
    };
    let theirs = TheirEnds {
        stdin: their_stdin,
        stdout: their_stdout.into(),
        stderr: their_stderr.into(),
    };
    Ok((stdin, stdout.into(), stderr.into(), theirs))
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

impl Stdio {
    /// The streams are attached later, once the container exists.
    pub fn new(log: &Path, stdin_once: bool) -> io::Result<Stdio> {
        Ok(Stdio {
            stdin: None,
            stdout: None,
            stderr: None,
            is_terminal: false,
            stdin_once,
            to_stdin: Vec::new(),
            out_lines: Lines::new(Stream::Stdout),
            err_lines: Lines::new(Stream::Stderr),
            log: LogFile::open(log)?,
            attached: Vec::new(),
        })
    }

    pub fn connect_pipes(
        &mut self,
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> io::Result<()> {
        for fd in stdin.iter().chain([&stdout, &stderr]) {
            set_nonblocking(fd.as_fd())?;
        }
        self.stdin = stdin;
        self.stdout = Some(stdout);
        self.stderr = Some(stderr);
        Ok(())
    }

    pub fn connect_terminal(&mut self, master: OwnedFd, with_stdin: bool) -> io::Result<()> {
        set_nonblocking(master.as_fd())?;
        if with_stdin {
            self.stdin = Some(master.try_clone()?);
        }
        self.stdout = Some(master);
        self.is_terminal = true;
        Ok(())
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        if let (true, Some(terminal)) = (self.is_terminal, &self.stdout) {
            let _ = crate::runtime::sys::set_window_size(terminal.as_fd(), columns, rows);
        }
    }

    pub fn attach(
        &mut self,
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    ) -> io::Result<()> {
        for fd in stdin.iter().chain(&stdout).chain(&stderr) {
            set_nonblocking(fd.as_fd())?;
        }
        let output = |fd| Output {
            fd,
            backlog: Vec::new(),
        };
        self.attached.push(Attached {
            stdin,
            stdout: output(stdout),
            stderr: output(stderr),
        });
        Ok(())
    }

    /// What to poll for now.
    pub fn wants(&self) -> Vec<(Want, PollFd<'_>)> {
        let mut list: Vec<(Want, &OwnedFd, PollFlags)> = Vec::new();
        list.extend(
            self.stdout
                .iter()
                .map(|fd| (Want::ReadStdout, fd, PollFlags::POLLIN)),
        );
        list.extend(
            self.stderr
                .iter()
                .map(|fd| (Want::ReadStderr, fd, PollFlags::POLLIN)),
        );
        if !self.to_stdin.is_empty() {
            list.extend(
                self.stdin
                    .iter()
                    .map(|fd| (Want::WriteStdin, fd, PollFlags::POLLOUT)),
            );
        }
        for (index, client) in self.attached.iter().enumerate() {
            if self.to_stdin.is_empty() {
                list.extend(
                    client
                        .stdin
                        .iter()
                        .map(|fd| (Want::ReadClient(index), fd, PollFlags::POLLIN)),
                );
            }
            for (stream, output) in [
                (Stream::Stdout, &client.stdout),
                (Stream::Stderr, &client.stderr),
            ] {
                // No event asked for still reports that the reader has gone.
                let events = if output.backlog.is_empty() {
                    PollFlags::empty()
                } else {
                    PollFlags::POLLOUT
                };
                list.extend(
                    output
                        .fd
                        .iter()
                        .map(|fd| (Want::WriteClient(index, stream), fd, events)),
                );
            }
        }
        list.into_iter()
            .map(|(want, fd, events)| (want, PollFd::new(fd.as_fd(), events)))
            .collect()
    }

    pub fn ready(&mut self, want: Want, events: PollFlags) {
        match want {
            Want::ReadStdout => self.read_output(Stream::Stdout),
            Want::ReadStderr => self.read_output(Stream::Stderr),
            Want::WriteStdin => self.write_stdin(),
            Want::ReadClient(index) => self.read_client(index),
            Want::WriteClient(index, stream) => {
                if let Some(client) = self.attached.get_mut(index) {
                    let output = client.output(stream);
                    if events.contains(PollFlags::POLLERR) {
                        output.fd = None;
                    }
                    output.flush();
                }
            }
        }
    }

    /// Forgets clients that have gone. Apart from [`Stdio::ready`], whose indices must stay valid for one round.
    pub fn forget_gone(&mut self) {
        self.attached.retain(|client| {
            client.stdin.is_some() || client.stdout.fd.is_some() || client.stderr.fd.is_some()
        });
    }

    fn read_output(&mut self, stream: Stream) {
        let mut buffer = [0; CHUNK];
        let fd = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        let Some(fd) = fd else {
            return;
        };
        match read(fd, &mut buffer) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO is how a terminal says that its last user has gone.
            Ok(0) | Err(_) => self.close_output(stream),
            Ok(length) => self.output(stream, &buffer[..length]),
        }
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let now = crate::task::clock::now();
        let mut lines = Vec::new();
        let cutter = match stream {
            Stream::Stdout => &mut self.out_lines,
            Stream::Stderr => &mut self.err_lines,
        };
        cutter.push(bytes, now, &mut lines);
        self.log.write(&lines, now);
        for client in &mut self.attached {
            client.output(stream).push(bytes);
        }
    }

    fn close_output(&mut self, stream: Stream) {
        let now = crate::task::clock::now();
        let mut lines = Vec::new();
        match stream {
            Stream::Stdout => {
                self.stdout = None;
                self.out_lines.finish(now, &mut lines);
            }
            Stream::Stderr => {
                self.stderr = None;
                self.err_lines.finish(now, &mut lines);
            }
        }
        self.log.write(&lines, now);
    }

    fn read_client(&mut self, index: usize) {
        let mut buffer = [0; CHUNK];
        let Some(fd) = self
            .attached
            .get(index)
            .and_then(|client| client.stdin.as_ref())
        else {
            return;
        };
        match read(fd, &mut buffer) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(0) | Err(_) => {
                self.attached[index].stdin = None;
                let others = self.attached.iter().any(|client| client.stdin.is_some());
                if self.stdin_once && !others {
                    self.close_stdin();
                }
            }
            Ok(length) => {
                self.to_stdin.extend_from_slice(&buffer[..length]);
                self.write_stdin();
            }
        }
    }

    /// A terminal has no end of input but the character for it.
    fn close_stdin(&mut self) {
        if self.is_terminal {
            self.to_stdin.push(4);
            self.write_stdin();
        } else if self.to_stdin.is_empty() {
            self.stdin = None;
        } else {
            // Closed by `write_stdin` once the rest is written.
            self.stdin_once = true;
        }
    }

    fn write_stdin(&mut self) {
        let Some(stdin) = &self.stdin else {
            self.to_stdin = Vec::new();
            return;
        };
        match write(stdin, &self.to_stdin) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.stdin = None;
                self.to_stdin = Vec::new();
            }
            Ok(length) => {
                self.to_stdin.drain(..length);
                let any_client = self.attached.iter().any(|client| client.stdin.is_some());
                if self.to_stdin.is_empty() && self.stdin_once && !any_client && !self.is_terminal {
                    self.stdin = None;
                }
            }
        }
    }

    /// Takes what the ended container has left in its pipes, then lets everybody go.
    pub fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain(stream);
            self.close_output(stream);
        }
        for client in &mut self.attached {
            client.stdin = None;
        }
        self.stdin = None;
        self.to_stdin = Vec::new();
    }

    fn drain(&mut self, stream: Stream) {
        let mut buffer = [0; CHUNK];
        loop {
            let fd = match stream {
                Stream::Stdout => &self.stdout,
                Stream::Stderr => &self.stderr,
            };
            match fd.as_ref().map(|fd| read(fd, &mut buffer)) {
                Some(Ok(length)) if length > 0 => self.output(stream, &buffer[..length]),
                Some(Err(Errno::EINTR)) => {}
                _ => return,
            }
        }
    }

    /// After [`Stdio::finish`]: lets go of clients that have received everything. True once none is left.
    pub fn release_clients(&mut self) -> bool {
        self.attached
            .retain(|client| client.stdout.is_behind() || client.stderr.is_behind());
        self.attached.is_empty()
    }
}

impl Attached {
    fn output(&mut self, stream: Stream) -> &mut Output {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Output {
    fn is_behind(&self) -> bool {
        self.fd.is_some() && !self.backlog.is_empty()
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_none() {
            return;
        }
        self.backlog.extend_from_slice(bytes);
        self.flush();
        if self.backlog.len() > BACKLOG_MAX {
            *self = Output::default();
        }
    }

    fn flush(&mut self) {
        while let Some(fd) = &self.fd
            && !self.backlog.is_empty()
        {
            match write(fd, &self.backlog) {
                Ok(length) if length == self.backlog.len() => self.backlog = Vec::new(),
                Ok(length) => drop(self.backlog.drain(..length)),
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Err(_) => *self = Output::default(),
            }
        }
    }
}
