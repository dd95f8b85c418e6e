//! A client as lean as can be, so that the server is what is measured: one HTTP/1.1 connection over TLS.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use kubik::cli::kubectl::connection::Connection as Client;
use serde_json::Value;
use std::{path::Path, sync::Arc};

#[derive(Clone)]
pub struct Access(Arc<Client>);

pub struct Connection(SendRequest<Full<Bytes>>);

impl Access {
    pub fn read(kubeconfig: &Path) -> Access {
        Access(Arc::new(Client::open(kubeconfig).unwrap()))
    }

    pub async fn connect(&self) -> Connection {
        let io = TokioIo::new(self.0.stream().await.unwrap());
        let (sender, driver) = hyper::client::conn::http1::handshake(io).await.unwrap();
        drop(tokio::spawn(driver));
        Connection(sender)
    }
}

impl Connection {
    pub async fn send(&mut self, method: Method, path: &str, body: String) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        self.0.ready().await.unwrap();
        self.0.send_request(request).await.unwrap()
    }

    /// A whole answer of success.
    pub async fn call(&mut self, method: Method, path: &str, body: String) -> Bytes {
        let response = self.send(method, path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&bytes)
        );
        bytes
    }

    pub async fn json(&mut self, method: Method, path: &str, body: String) -> Value {
        serde_json::from_slice(&self.call(method, path, body).await).unwrap()
    }
}

/// The events of a watch, line by line.
pub struct Watch {
    body: Incoming,
    text: Vec<u8>,
}

impl Watch {
    pub async fn open(connection: &mut Connection, path: &str) -> Watch {
        Watch {
            body: connection
                .send(Method::GET, path, String::new())
                .await
                .into_body(),
            text: Vec::new(),
        }
    }

    pub async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let frame = self.body.frame().await.expect("the watch goes on").unwrap();
            if let Ok(data) = frame.into_data() {
                self.text.extend_from_slice(&data);
            }
        }
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
