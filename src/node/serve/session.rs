//! Pumps between a process' streams and the channels of a [`Session`].

use crate::{
    api::stream::{SESSION_BUFFER, Session, SessionEnd, SessionOptions},
    node::host::Host,
    runtime::model::{ExecIo, ReadHalf, WriteHalf},
};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

const CHUNK: usize = 32 << 10;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ends {
    /// Exec: whoever leaves ends the process.
    WithProcess,
    /// Attach: the container goes on.
    WithClient,
}

/// The session ends after the last output was handed on.
pub(super) fn session(host: &Host, io: ExecIo, options: &SessionOptions, ends: Ends) -> Session {
    let ExecIo {
        stdin,
        stdout,
        stderr,
        resize,
        wait,
        kill,
    } = io;
    let (stdin_tx, stdin_rx) = mpsc::channel(SESSION_BUFFER);
    let (stdout_tx, stdout_rx) = mpsc::channel(SESSION_BUFFER);
    let (stderr_tx, stderr_rx) = mpsc::channel(SESSION_BUFFER);
    let (resize_tx, mut resize_rx) = mpsc::channel::<(u16, u16)>(SESSION_BUFFER);
    let (end_tx, end_rx) = oneshot::channel();
    let wants_stdin = options.stdin;
    let (wants_stdout, wants_stderr) = (options.stdout, options.stderr && !options.tty);
    let mut stop = host.tasks.stop_signal();
    host.tasks.spawn("session", async move {
        let mut end_tx = end_tx;
        let output = async {
            let out = pump(stdout, wants_stdout.then_some(stdout_tx));
            let err = pump(stderr, wants_stderr.then_some(stderr_tx));
            let (_, _, code) = tokio::join!(out, err, wait);
            match code {
                // As upstream: how a container ended is its status' to tell, not its visitors'.
                Ok(_) if ends == Ends::WithClient => SessionEnd::Exited(0),
                Ok(code) => SessionEnd::Exited(code),
                Err(failure) => SessionEnd::Failed(failure.to_string()),
            }
        };
        let input = async {
            if wants_stdin {
                feed(stdin, stdin_rx).await;
            }
            std::future::pending::<()>().await;
        };
        let resizing = async {
            while let Some((columns, rows)) = resize_rx.recv().await {
                resize(columns, rows);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = output => drop(end_tx.send(end)),
            () = input => {}
            () = resizing => {}
            () = end_tx.closed() => {
                if ends == Ends::WithProcess {
                    kill();
                }
            }
            () = stop.stopped() => {}
        }
    });
    Session {
        stdin: wants_stdin.then_some(stdin_tx),
        stdout: stdout_rx,
        stderr: stderr_rx,
        resize: resize_tx,
        end: end_rx,
    }
}

/// Reads to the end even when nobody listens: a process must not block on a full pipe.
async fn pump(stream: Option<ReadHalf>, to: Option<mpsc::Sender<Bytes>>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if let Some(to) = &to {
                    let _ = to.send(Bytes::copy_from_slice(&buffer[..length])).await;
                }
            }
        }
    }
}

/// Writes until the client closes its end; then the process' standard input is closed.
async fn feed(stream: Option<WriteHalf>, mut from: mpsc::Receiver<Bytes>) {
    let Some(mut stream) = stream else { return };
    while let Some(bytes) = from.recv().await {
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn output_is_pumped_to_its_end() {
        let (tx, mut rx) = mpsc::channel(SESSION_BUFFER);
        let stream: ReadHalf = Box::new(std::io::Cursor::new(b"hello".to_vec()));
        pump(Some(stream), Some(tx)).await;
        assert_eq!(rx.recv().await.as_deref(), Some(b"hello".as_slice()));
        assert_eq!(rx.recv().await, None, "closed at the end");
        let (tx, rx) = mpsc::channel(1);
        drop(tx);
        assert!(feed(None, rx).now_or_never().is_some());
    }
}
