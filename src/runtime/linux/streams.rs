//! A process' streams as the daemon holds them: pipes straight to the process, or its terminal.

use crate::runtime::{
    model::{ExecIo, ReadHalf, RuntimeError, WriteHalf},
    sys,
};
use futures_util::future::BoxFuture;
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd},
    net::unix::pipe,
};

/// Our ends, and theirs in the order the protocol wants.
pub struct Pipes {
    pub stdin: Option<pipe::Sender>,
    pub stdout: pipe::Receiver,
    pub stderr: Option<pipe::Receiver>,
    pub theirs: Vec<OwnedFd>,
}

impl Pipes {
    pub fn new(with_stdin: bool, with_stderr: bool) -> io::Result<Pipes> {
        let mut theirs: Vec<OwnedFd> = Vec::new();
        let stdin = if with_stdin {
            let (read, write) = io::pipe()?;
            theirs.push(read.into());
            Some(pipe::Sender::from_owned_fd(write.into())?)
        } else {
            None
        };
        let (read, write) = io::pipe()?;
        theirs.push(write.into());
        let stdout = pipe::Receiver::from_owned_fd(read.into())?;
        let stderr = if with_stderr {
            let (read, write) = io::pipe()?;
            theirs.push(write.into());
            Some(pipe::Receiver::from_owned_fd(read.into())?)
        } else {
            None
        };
        Ok(Pipes {
            stdin,
            stdout,
            stderr,
            theirs,
        })
    }

    /// Theirs must have been sent and closed by now: the process' own copies decide when the streams end.
    pub fn into_io(
        self,
        wait: BoxFuture<'static, Result<i32, RuntimeError>>,
        resize: Box<dyn Fn(u16, u16) + Send + Sync>,
        kill: Box<dyn Fn() + Send + Sync>,
    ) -> ExecIo {
        ExecIo {
            stdin: self.stdin.map(|stdin| Box::new(stdin) as WriteHalf),
            stdout: Some(Box::new(self.stdout)),
            stderr: self.stderr.map(|stderr| Box::new(stderr) as ReadHalf),
            resize,
            wait,
            kill,
        }
    }
}

/// The master of a terminal. Clones are the same terminal.
#[derive(Clone)]
pub struct Terminal(Arc<AsyncFd<File>>);

impl Terminal {
    pub fn new(master: OwnedFd) -> io::Result<Terminal> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL)?);
        fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Terminal(Arc::new(sys::register(File::from(master))?)))
    }

    pub fn into_io(
        self,
        with_stdin: bool,
        wait: BoxFuture<'static, Result<i32, RuntimeError>>,
        kill: Box<dyn Fn() + Send + Sync>,
    ) -> ExecIo {
        let sized = self.clone();
        ExecIo {
            stdin: with_stdin.then(|| Box::new(self.clone()) as WriteHalf),
            stdout: Some(Box::new(self)),
            stderr: None,
            resize: Box::new(move |columns, rows| {
                // A terminal that has just closed needs no size.
                let _ = sys::set_window_size(sized.0.get_ref().as_fd(), columns, rows);
            }),
            wait,
            kill,
        }
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            match guard.try_io(|file| file.get_ref().read(space)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // How a terminal says that its last user has gone.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            if let Ok(result) = guard.try_io(|file| file.get_ref().write(bytes)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A terminal has no end of input but the character for it (Ctrl-D).
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write(context, &[4]).map_ok(drop)
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Terminal({})", self.0.get_ref().as_raw_fd())
    }
}
