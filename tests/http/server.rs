//! A real server over a store in memory, and a plain client for it.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use kubik::{
    api::{call::User, stream::NodeApi},
    apiserver::{NodeDirectory, Server, ServerConfig, registry},
    dashboard::Dashboard,
    pki::{Identity, Pki, ServerNames, tls},
    task::{Tasks, clock},
};
use serde_json::Value;
use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsConnector;

#[derive(Default)]
pub struct Nodes(pub HashMap<String, Arc<dyn NodeApi>>);

impl NodeDirectory for Nodes {
    fn node(&self, name: &str) -> Option<Arc<dyn NodeApi>> {
        self.0.get(name).cloned()
    }

    fn all(&self) -> Vec<(String, Arc<dyn NodeApi>)> {
        let all = self.0.iter();
        all.map(|(name, node)| (name.to_string(), Arc::clone(node)))
            .collect()
    }
}

pub struct TestServer {
    pub address: SocketAddr,
    pub pki: Arc<Pki>,
    pub directory: TempDir,
    server: Server,
    tasks: Tasks,
    runtime: Option<Runtime>,
}

impl TestServer {
    pub fn start() -> TestServer {
        TestServer::with_nodes(Nodes::default())
    }

    pub fn with_nodes(nodes: Nodes) -> TestServer {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let directory = TempDir::new().unwrap();
        let names = ServerNames {
            cluster_domain: "cluster.local".to_owned(),
            ..ServerNames::default()
        };
        let pki = Arc::new(Pki::load_or_create(directory.path(), &names, clock::now()).unwrap());
        let tasks = Tasks::new();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let _inside = runtime.enter();
        let server = Server::new(ServerConfig {
            registry: registry::testing::registry_over(Arc::new(nodes)),
            tls: tls::server(pki.server(), pki.ca_pem()).unwrap(),
            address: address.to_string(),
            issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            token_keys: vec![pki.token_key().jwk()],
        });
        server.ready();
        tasks.spawn("server", server.clone().serve(listener, tasks.clone()));
        TestServer {
            address,
            pki,
            directory,
            server,
            tasks,
            runtime: Some(runtime),
        }
    }

    /// A dashboard of this server, as the daemon makes it.
    pub fn dashboard(&self) -> Dashboard {
        let admin = User::component("kubernetes-admin", &["system:masters"]);
        let handler = self.server.handler(admin, self.tasks.clone());
        let memory = self.directory.path().join("dashboard.json");
        Dashboard::new("test", handler, self.tasks.clone(), memory)
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let limited = async {
            tokio::time::timeout(Duration::from_secs(60), work)
                .await
                .unwrap()
        };
        self.runtime.as_ref().unwrap().block_on(limited)
    }

    /// One request as the admin.
    pub fn ask(&self, request: Request<Full<Bytes>>) -> Answer {
        self.ask_as(Some(self.pki.admin()), request)
    }

    pub fn ask_as(&self, identity: Option<&Identity>, request: Request<Full<Bytes>>) -> Answer {
        self.run(async {
            let response = self.send(identity, request).await;
            let (parts, body) = response.into_parts();
            Answer {
                code: parts.status.as_u16(),
                headers: parts.headers,
                body: body.collect().await.unwrap().to_bytes(),
            }
        })
    }

    /// Over HTTP/1.1 on a connection of its own.
    pub async fn send(
        &self,
        identity: Option<&Identity>,
        mut request: Request<Full<Bytes>>,
    ) -> Response<hyper::body::Incoming> {
        let config = tls::client(self.pki.ca_pem(), identity, &["http/1.1"]).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        self.tasks.spawn("client", async move {
            let _ = connection.with_upgrades().await;
        });
        let host = self.address.to_string().parse().unwrap();
        request.headers_mut().insert("host", host);
        sender.send_request(request).await.unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let runtime = self.runtime.take().unwrap();
        runtime.block_on(self.tasks.shutdown(Duration::from_secs(2)));
        runtime.shutdown_background();
    }
}

pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

pub fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

pub fn post(path: &str, content_type: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::post(path);
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    request.body(Full::from(body.to_owned())).unwrap()
}
