//! The proxy on loopback, between real clients and real backends.

use super::{compile::Objects, *};
use crate::{
    api::object::Object,
    pki::{ServerNames, tls},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;

/// Longer than anything takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Proxy {
    http: SocketAddr,
    https: SocketAddr,
    tables: watch::Sender<Arc<Table>>,
    tasks: Tasks,
    pki: Pki,
    _certificates: watch::Sender<Arc<Certificates>>,
    _keys: tempfile::TempDir,
}

impl Proxy {
    async fn start() -> Proxy {
        let keys = tempfile::tempdir().unwrap();
        let names = ServerNames {
            dns: vec!["a.example".to_owned()],
            ..ServerNames::default()
        };
        let pki = Pki::load_or_create(keys.path(), &names, clock::now()).unwrap();
        let identity = pki.server();
        let fallback =
            certificate::certified(identity.certificate.as_bytes(), identity.key.as_bytes())
                .unwrap();
        let certificates = watch::Sender::new(Arc::default());
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(Resolver {
            current: certificates.subscribe(),
            fallback: Arc::new(fallback),
        });
        let tls = listen::Tls::new(&resolver).unwrap();
        let tasks = Tasks::new();
        let tables: watch::Sender<Arc<Table>> = watch::Sender::new(Arc::default());
        let front = Arc::new(serve::Front {
            tables: tables.subscribe(),
            pool: upstream::Pool::new(&tasks).unwrap(),
            limits: limit::Limits::default(),
            tasks: tasks.clone(),
            https_port: 443,
            own: None,
            resolve: |_| Ok(Vec::new()),
        });
        let mut places = Vec::new();
        for tls in [None, Some(tls)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            places.push(listener.local_addr().unwrap());
            let (front, port) = (Arc::clone(&front), places[places.len() - 1].port());
            tasks.spawn("listener", listen::run(front, listener, port, tls));
        }
        Proxy {
            http: places[0],
            https: places[1],
            tables,
            tasks,
            pki,
            _certificates: certificates,
            _keys: keys,
        }
    }

    /// From now on everything goes to these endpoints.
    fn route(&self, annotations: &[(&str, &str)], endpoints: &[SocketAddr]) {
        let annotations: BTreeMap<String, &str> = annotations
            .iter()
            .map(|(name, value)| (format!("{}{name}", option::PREFIX), *value))
            .collect();
        let ingress = json!({"metadata": {"namespace": "ns", "name": "i", "annotations": annotations},
            "spec": {"ingressClassName": "nginx", "rules": [{"http": {"paths": [{"pathType": "Prefix", "path": "/",
                "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}});
        let service = json!({"metadata": {"namespace": "ns", "name": "s"}, "spec": {"ports": [{"port": 80}]}});
        // A slice has one port for all of its endpoints.
        let slices = endpoints.iter().enumerate().map(|(index, endpoint)| {
            json!({"addressType": "IPv4", "metadata": {"namespace": "ns", "name": format!("s-{index}"),
                "labels": {"kubernetes.io/service-name": "s"}},
                "ports": [{"port": endpoint.port()}], "endpoints": [{"addresses": [endpoint.ip()]}]})
        });
        let clients = json!({"metadata": {"namespace": "ns", "name": "clients"},
            "data": {"ca.crt": STANDARD.encode(self.pki.ca_pem())}});
        let objects = Objects {
            services: [typed(service)].into_iter().collect(),
            slices: slices.map(typed).collect(),
            secrets: [typed(clients)].into_iter().collect(),
        };
        let served = vec![Arc::new(typed(ingress))];
        self.tables
            .send_replace(Arc::new(compile::compile(&served, &objects).table));
    }

    /// Sends bytes on a connection of its own, and answers everything that comes back until it is closed.
    async fn say(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = read.expect("the connection is closed");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self) -> String {
        let answer = self
            .say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

fn typed<T: Object>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// An HTTP/1 server that answers with the head it has seen, and what it has seen.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    heads: Mutex<Vec<HeaderMap>>,
}

/// With `closes` every connection ends after one answer, without a word about it before.
async fn backend(tasks: &Tasks, closes: bool) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Seen> = Arc::default();
    let (group, shared) = (tasks.clone(), Arc::clone(&seen));
    tasks.spawn("backend", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let seen = Arc::clone(&shared);
            group.spawn("backend connection", async move {
                if closes {
                    let mut buffer = [0; 4096];
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .await;
                    return;
                }
                let service = service_fn(move |request: Request<Incoming>| {
                    seen.heads.lock().unwrap().push(request.headers().clone());
                    async move {
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let text = format!("{} bytes", body.len());
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, seen)
}

/// A port that nobody listens on.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn connections_to_backends_are_kept_and_the_client_is_named() {
    let proxy = Proxy::start().await;
    let (address, seen) = backend(&proxy.tasks, false).await;
    proxy.route(&[], &[address]);
    for _ in 0..5 {
        let answer = proxy
            .say("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("3 bytes"),
            "{answer}"
        );
    }
    assert_eq!(seen.connections.load(Ordering::Relaxed), 1);
    let heads = seen.heads.lock().unwrap();
    assert_eq!(heads[0]["x-real-ip"], "127.0.0.1");
    assert_eq!(heads[0]["host"], "a.example");
    assert_eq!(heads[0]["x-forwarded-port"], proxy.http.port().to_string());
    let ids: BTreeSet<&str> = heads
        .iter()
        .map(|head| head["x-request-id"].to_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn failures_are_told_apart_and_others_are_tried() {
    let proxy = Proxy::start().await;
    let (alive, _) = backend(&proxy.tasks, false).await;
    let (closing, seen) = backend(&proxy.tasks, true).await;
    proxy.route(&[], &[]);
    assert_eq!(proxy.get().await, "503");
    proxy.route(&[], &[nobody().await]);
    assert_eq!(proxy.get().await, "502");
    proxy.route(&[], &[nobody().await, alive]);
    for _ in 0..4 {
        assert_eq!(proxy.get().await, "200");
    }
    // Kept connections that the backend has closed meanwhile are nobody's trouble.
    proxy.route(&[], &[closing]);
    for _ in 0..10 {
        assert_eq!(proxy.get().await, "200");
    }
    assert_eq!(seen.connections.load(Ordering::Relaxed), 10);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.route(
        &[("proxy-read-timeout", "1")],
        &[silent.local_addr().unwrap()],
    );
    assert_eq!(proxy.get().await, "504");
}

#[tokio::test]
async fn untrusted_bytes_are_bounded_and_framed_once() {
    let proxy = Proxy::start().await;
    let (address, seen) = backend(&proxy.tasks, false).await;
    proxy.route(&[("proxy-body-size", "1k")], &[address]);
    let huge = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(200 << 10)
    );
    let chunk = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n{}\r\n0\r\n\r\n",
        "x".repeat(2048)
    );
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let cases = [
        (huge.as_str(), "431"),
        (chunk.as_str(), "413"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("nonsense\r\n\r\n", "400"),
    ];
    for (bytes, expected) in cases {
        let ended = match ["400", "405", "413"].contains(&expected) {
            // Whatever keeps the connection open is asked to close it.
            true => bytes.replacen("Host: a\r\n", "Host: a\r\nConnection: close\r\n", 1),
            false => bytes.to_owned(),
        };
        let ended = ended.replacen(
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
            1,
        );
        let answer = proxy.say(&ended).await;
        assert_eq!(
            answer.split(' ').nth(1),
            Some(expected),
            "{}",
            &bytes[..bytes.len().min(120)]
        );
    }
    // Two lengths: either refused, or passed on with one.
    proxy.say(&both).await;
    for head in seen.heads.lock().unwrap().iter() {
        assert!(
            !(head.contains_key("content-length") && head.contains_key("transfer-encoding")),
            "{head:?}"
        );
    }
}

#[tokio::test]
async fn uploads_flow_no_faster_than_they_are_read() {
    let proxy = Proxy::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.route(
        &[("proxy-body-size", "0")],
        &[listener.local_addr().unwrap()],
    );
    let may_read = Arc::new(Notify::new());
    let gate = Arc::clone(&may_read);
    let (tx, mut total) = mpsc::channel(1);
    proxy.tasks.spawn("slow backend", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        gate.notified().await;
        let (mut buffer, mut count) = (vec![0; 64 << 10], 0);
        let mut tail = Vec::new();
        while !tail.ends_with(b"\r\n0\r\n\r\n") {
            let read = stream.read(&mut buffer).await.unwrap();
            count += read;
            tail.extend_from_slice(&buffer[..read]);
            tail.drain(..tail.len().saturating_sub(16));
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        let _ = tx.send(count).await;
    });
    let mut client = TcpStream::connect(proxy.http).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    let most = 64 << 20;
    let mut sent = 0;
    // A write that does not end means that every buffer on the way is full.
    let mut rest = Vec::new();
    while sent < most {
        let mut left = chunk.as_bytes();
        let wrote = tokio::time::timeout(Duration::from_millis(500), async {
            while !left.is_empty() {
                let count = client.write(left).await.unwrap();
                left = &left[count..];
            }
        });
        sent += 64 << 10;
        if wrote.await.is_err() {
            rest = left.to_vec();
            break;
        }
    }
    assert!(
        sent < most,
        "{sent} bytes were taken in although nobody read them"
    );
    may_read.notify_one();
    client.write_all(&rest).await.unwrap();
    while sent < most {
        client.write_all(chunk.as_bytes()).await.unwrap();
        sent += 64 << 10;
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    let count = tokio::time::timeout(PATIENCE, total.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(count > most, "{count}");
    let mut buffer = [0; 12];
    client.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn websockets_go_through() {
    let proxy = Proxy::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.route(&[], &[listener.local_addr().unwrap()]);
    proxy.tasks.spawn("echo", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let stream = TcpStream::connect(proxy.http).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async("ws://a.example/chat", stream)
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    for text in ["hello", "안녕", &"x".repeat(100_000)] {
        socket.send(Message::text(text)).await.unwrap();
        let echo = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(echo.into_text().unwrap().as_str(), text);
    }
    socket.close(None).await.unwrap();
}

/// A gRPC server in miniature: sends every message back, then a status in the trailers.
async fn grpc_backend(tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("grpc", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            let te = request.headers().get("te").cloned();
            assert_eq!(te.unwrap(), "trailers");
            let frames = request
                .into_body()
                .into_data_stream()
                .map(|data| Ok::<_, hyper::Error>(Frame::data(data?)));
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let end = futures_util::stream::once(async { Ok(Frame::trailers(trailers)) });
            let body = StreamBody::new(Box::pin(frames.chain(end)));
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .body(body);
            Ok::<_, Infallible>(response.unwrap())
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    });
    address
}

#[tokio::test]
async fn grpc_streams_in_both_directions_and_ends_with_trailers() {
    let proxy = Proxy::start().await;
    let address = grpc_backend(&proxy.tasks).await;
    proxy.route(&[("backend-protocol", "GRPC")], &[address]);
    let tcp = TcpStream::connect(proxy.https).await.unwrap();
    let connector = TlsConnector::from(tls::client_of_anybody(&["h2"]).unwrap());
    let name = rustls_pki_types::ServerName::try_from("grpc.example").unwrap();
    let stream = connector.connect(name, tcp).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    proxy.tasks.spawn("client", async move {
        let _ = connection.await;
    });
    let (tx, rx) = mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(rx, |mut rx| async {
        let data = rx.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(data)), rx))
    });
    let request = Request::post("https://grpc.example/pkg.Service/Method")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(StreamBody::new(Box::pin(frames)))
        .unwrap();
    let asking = async {
        tx.send(Bytes::from_static(b"first")).await.unwrap();
        sender.send_request(request).await.unwrap()
    };
    let response = tokio::time::timeout(PATIENCE, asking).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let mut body = response.into_body();
    // Each message comes back before the next one is sent.
    for text in ["first", "second"] {
        let frame = tokio::time::timeout(PATIENCE, body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
        if text == "first" {
            tx.send(Bytes::from_static(b"second")).await.unwrap();
        }
    }
    drop(tx);
    let frame = tokio::time::timeout(PATIENCE, body.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "0");
}

/// Lets in who has the cookie `good`, as `jane`.
async fn judge(tasks: &Tasks) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Seen> = Arc::default();
    let (group, shared) = (tasks.clone(), Arc::clone(&seen));
    tasks.spawn("judge", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&shared);
            group.spawn("judge connection", async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let headers = request.headers().clone();
                    let is_good = headers.get("cookie").is_some_and(|all| all == "good");
                    seen.heads.lock().unwrap().push(headers);
                    let response = Response::builder()
                        .status(if is_good { 202 } else { 401 })
                        .header("x-user", "jane")
                        .header("set-cookie", "session=1")
                        .header("www-authenticate", "Bearer")
                        .body(Full::new(Bytes::from("judged")));
                    async move { Ok::<_, Infallible>(response.unwrap()) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn somebody_else_says_who_may_pass() {
    let proxy = Proxy::start().await;
    let (address, seen) = backend(&proxy.tasks, false).await;
    let (judge, asked) = judge(&proxy.tasks).await;
    let url = format!("http://{judge}/check");
    let guard = [
        ("auth-url", url.as_str()),
        ("auth-response-headers", "X-User"),
    ];
    proxy.route(&guard, &[address]);
    let post = |headers: &str| {
        format!(
            "POST /x?y HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nX-User: root\r\n{headers}Connection: close\r\n\r\nabc"
        )
    };
    let refused = proxy.say(&post("")).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.contains("www-authenticate: Bearer"), "{refused}");
    assert!(seen.heads.lock().unwrap().is_empty());
    let passed = proxy.say(&post("Cookie: good\r\n")).await;
    assert!(
        passed.starts_with("HTTP/1.1 200 ") && passed.ends_with("3 bytes"),
        "{passed}"
    );
    assert!(passed.contains("set-cookie: session=1"), "{passed}");
    assert_eq!(seen.heads.lock().unwrap()[0]["x-user"], "jane");
    {
        let asked = asked.heads.lock().unwrap();
        assert_eq!(asked[1]["x-original-url"], "http://a.example/x?y");
        assert_eq!(asked[1]["x-original-method"], "POST");
        assert!(!asked[1].contains_key("content-length"));
    }
    let own = proxy
        .say(&post(
            "Cookie: good\r\nX-Sent-From: nginx-ingress-controller\r\n",
        ))
        .await;
    assert!(own.starts_with("HTTP/1.1 500 "), "{own}");
    proxy.route(&[guard[0], ("auth-signin", "/start")], &[address]);
    let away = proxy.say(&post("")).await;
    assert!(away.starts_with("HTTP/1.1 302 "), "{away}");
    assert!(
        away.contains("location: /start?rd=http://a.example%2Fx%3Fy"),
        "{away}"
    );
    // Nobody there to say yes, or somebody of the client's choice.
    let gone = format!("http://{}/", nobody().await);
    for url in [gone.as_str(), "http://$host/"] {
        proxy.route(&[("auth-url", url)], &[address]);
        let closed = proxy.say(&post("Cookie: good\r\n")).await;
        assert!(closed.starts_with("HTTP/1.1 500 "), "{url}: {closed}");
    }
}

impl Proxy {
    /// Over TLS, with this certificate or none.
    async fn get_as(&self, identity: Option<&crate::pki::Identity>) -> String {
        let config = tls::client(self.pki.ca_pem(), identity, &["http/1.1"]).unwrap();
        let name = rustls_pki_types::ServerName::try_from("a.example").unwrap();
        let tcp = TcpStream::connect(self.https).await.unwrap();
        let mut stream = TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: a.example\r\nSSL-Client-Subject-DN: CN=root\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
        let _ = read.expect("the connection is closed");
        answer
    }
}

#[tokio::test]
async fn clients_show_their_certificates() {
    let proxy = Proxy::start().await;
    let (address, seen) = backend(&proxy.tasks, false).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger =
        Pki::load_or_create(elsewhere.path(), &ServerNames::default(), clock::now()).unwrap();
    let life = Duration::from_secs(3600);
    let jane = proxy
        .pki
        .issue_client("jane", &["dev, ops"], life, clock::now())
        .unwrap();
    let code = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let last = || seen.heads.lock().unwrap().last().cloned().unwrap();
    proxy.route(&[("auth-tls-secret", "ns/clients")], &[address]);
    let missing = proxy.get_as(None).await;
    assert_eq!(code(&missing), "400");
    assert!(
        missing.contains("No required SSL certificate was sent"),
        "{missing}"
    );
    let wrong = proxy.get_as(Some(stranger.admin())).await;
    assert_eq!(code(&wrong), "400");
    assert!(wrong.contains("The SSL certificate error"), "{wrong}");
    assert_eq!(proxy.get().await, "400", "plain HTTP proves nothing");
    assert!(seen.heads.lock().unwrap().is_empty());
    assert_eq!(code(&proxy.get_as(Some(&jane)).await), "200");
    assert_eq!(last()["ssl-client-verify"], "SUCCESS");
    assert_eq!(last()["ssl-client-subject-dn"], r"CN=jane,O=dev\, ops");
    assert!(!last().contains_key("ssl-client-cert"));
    proxy.route(
        &[
            ("auth-tls-secret", "clients"),
            ("auth-tls-verify-client", "optional"),
            ("auth-tls-pass-certificate-to-upstream", "true"),
        ],
        &[address],
    );
    assert_eq!(code(&proxy.get_as(None).await), "200");
    assert_eq!(last()["ssl-client-verify"], "NONE");
    assert!(!last().contains_key("ssl-client-subject-dn"));
    assert_eq!(code(&proxy.get_as(Some(&jane)).await), "200");
    let passed = last()["ssl-client-cert"].to_str().unwrap().to_owned();
    assert!(
        passed.starts_with("%2D%2D%2D%2D%2DBEGIN%20CERTIFICATE"),
        "{passed}"
    );
    for (pattern, expected) in [("CN=jane", "200"), ("CN=joe", "403")] {
        proxy.route(
            &[
                ("auth-tls-secret", "clients"),
                ("auth-tls-match-cn", pattern),
            ],
            &[address],
        );
        assert_eq!(code(&proxy.get_as(Some(&jane)).await), expected);
    }
    // A Secret that is not there keeps everybody out.
    proxy.route(&[("auth-tls-secret", "nobody")], &[address]);
    assert_eq!(code(&proxy.get_as(Some(&jane)).await), "503");
}
