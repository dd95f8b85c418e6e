//! A node agent that only pretends.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use kubik::api::{
    ApiError,
    name::Key,
    stream::{Duplex, LogOptions, NodeApi, Page, Session, SessionEnd, SessionOptions},
    usage::{Amounts, NodeUsage, PodUsage},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
};

/// Its exec answers with what it was told and ends with 3; `cat` echoes its input. Port 1 is closed; others answer
/// HTTP with the request's first line.
pub struct FakeNode;

impl NodeApi for FakeNode {
    fn logs(
        &self,
        pod: Key,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<Bytes>, ApiError>> {
        Box::pin(async move {
            let (sender, chunks) = mpsc::channel(4);
            let text = format!("{pod} {container} follow={}\n", options.follow);
            sender.try_send(Bytes::from(text)).unwrap();
            Ok(chunks)
        })
    }

    fn exec(
        &self,
        _pod: Key,
        _container: String,
        options: SessionOptions,
    ) -> BoxFuture<'_, Result<Session, ApiError>> {
        Box::pin(async move {
            Ok(match options.command.as_slice() {
                [only] if only == "nope" => Session::failed("no such program".to_owned()),
                _ => session(&options),
            })
        })
    }

    fn attach(
        &self,
        pod: Key,
        container: String,
        options: SessionOptions,
    ) -> BoxFuture<'_, Result<Session, ApiError>> {
        self.exec(pod, container, options)
    }

    fn port_forward(
        &self,
        _pod: Key,
        port: u16,
    ) -> BoxFuture<'_, Result<Box<dyn Duplex>, ApiError>> {
        Box::pin(async move {
            if port == 1 {
                return Err(ApiError::internal("connection refused"));
            }
            let (near, mut far) = tokio::io::duplex(4096);
            work(async move {
                let mut buffer = vec![0; 4096];
                let count = far.read(&mut buffer).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let line = text.lines().next().unwrap_or_default();
                let length = line.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{line}");
                let _ = far.write_all(answer.as_bytes()).await;
                let _ = far.shutdown().await;
            });
            Ok(Box::new(near) as Box<dyn Duplex>)
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<NodeUsage, ApiError>> {
        let amounts = |cpu_nanocores, memory_bytes| Amounts {
            cpu_nanocores,
            memory_bytes,
        };
        let pod = |name: &str, app: &str| PodUsage {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            containers: vec![("c".to_owned(), amounts(250_000_000, 5 << 20))],
        };
        let usage = NodeUsage {
            at: "2026-11-21T05:00:00Z".parse().unwrap(),
            window: "PT15s".parse().unwrap(),
            node: amounts(1_500_000_000, 1 << 30),
            pods: vec![pod("q", "other"), pod("p", "web")],
        };
        Box::pin(async { Ok(usage) })
    }

    fn page<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Page, ApiError>> {
        let text = json!({"path": path, "node": {"nodeName": "n"}}).to_string();
        Box::pin(async {
            Ok(Page {
                content_type: "application/json",
                text,
            })
        })
    }
}

fn session(options: &SessionOptions) -> Session {
    let (stdin, mut typed) = mpsc::channel::<Bytes>(4);
    let (out, stdout) = mpsc::channel(4);
    let (err, stderr) = mpsc::channel(4);
    let (resize, mut sizes) = mpsc::channel(4);
    let (end, ended) = oneshot::channel();
    let command = options.command.join(" ");
    work(async move {
        let code = match command.as_str() {
            "cat" => {
                while let Some(bytes) = typed.recv().await {
                    let _ = out.send(bytes).await;
                }
                0
            }
            "size" => {
                let size = sizes.recv().await;
                let _ = out.send(Bytes::from(format!("{size:?}"))).await;
                0
            }
            _ => {
                let _ = out.send(Bytes::from(format!("out {command}\n"))).await;
                let _ = err.send(Bytes::from_static(b"err\n")).await;
                3
            }
        };
        let _ = end.send(SessionEnd::Exited(code));
    });
    Session {
        stdin: options.stdin.then_some(stdin),
        stdout,
        stderr,
        resize,
        end: ended,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a fake has no task group; its work ends with the test's runtime"
)]
fn work(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}
