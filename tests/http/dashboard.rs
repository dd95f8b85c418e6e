//! The dashboard's port as browsers, and others who try, meet it.

use crate::server::{TestServer, post};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kubik::{dashboard::Dashboard, task::Tasks};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Page {
    server: TestServer,
    dashboard: Dashboard,
    port: u16,
    ticket: String,
    tasks: Tasks,
}

struct Heard {
    code: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Page {
    fn open() -> Page {
        let server = TestServer::start();
        let dashboard = server.dashboard();
        let url = server.run(dashboard.open(Some(0))).unwrap();
        let rest = url.strip_prefix("http://127.0.0.1:").unwrap();
        let (port, ticket) = rest.split_once("/#ticket=").unwrap();
        Page {
            port: port.parse().unwrap(),
            ticket: ticket.to_owned(),
            server,
            dashboard,
            tasks: Tasks::new(),
        }
    }

    fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        self.tasks.spawn("client", async move {
            let _ = connection.with_upgrades().await;
        });
        sender.send_request(request).await.unwrap()
    }

    /// `lines` are headers; the host is the dashboard's unless they say otherwise.
    fn ask(&self, method: &str, path: &str, lines: &[(&str, &str)], body: &str) -> Heard {
        let mut request = Request::builder().method(method).uri(path);
        let own = format!("127.0.0.1:{}", self.port);
        if !lines.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", own);
        }
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        self.server.run(async {
            let (parts, body) = self.send(request).await.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            Heard {
                code: parts.status.as_u16(),
                headers: parts.headers,
                text: String::from_utf8_lossy(&bytes).into_owned(),
            }
        })
    }

    /// The cookie for the ticket.
    fn enter(&self) -> String {
        let origin = self.origin();
        let entered = self.ask("POST", "/session", &[("origin", &origin)], &self.ticket);
        assert_eq!(entered.code, 204, "{}", entered.text);
        let cookie = entered.headers[header::SET_COOKIE].to_str().unwrap();
        assert!(
            cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
            "{cookie}"
        );
        cookie.split(';').next().unwrap().to_owned()
    }
}

#[test]
fn a_ticket_lets_one_browser_in_once() {
    let page = Page::open();
    let origin = page.origin();
    assert_eq!(page.ask("GET", MAPS, &[], "").code, 401);
    let cookie = page.enter();
    let again = page.ask("POST", "/session", &[("origin", &origin)], &page.ticket);
    assert_eq!(again.code, 401);
    let about = page.ask("GET", "/session", &[("cookie", &cookie)], "");
    let about: Value = serde_json::from_str(&about.text).unwrap();
    assert_eq!(about["profile"], "test");
    let listed = page.ask("GET", MAPS, &[("cookie", &cookie)], "");
    assert_eq!(listed.code, 200, "{}", listed.text);
    let policy = listed.headers[header::CONTENT_SECURITY_POLICY].to_str();
    assert!(policy.unwrap().contains("sandbox"));
    // It is a session of its own, and can be left.
    let url = page.server.run(page.dashboard.open(None)).unwrap();
    assert!(url.starts_with(&format!("{origin}/#ticket=")), "{url}");
    let left = page.ask(
        "DELETE",
        "/session",
        &[("cookie", &cookie), ("origin", &origin)],
        "",
    );
    assert_eq!(left.code, 204);
    assert_eq!(page.ask("GET", MAPS, &[("cookie", &cookie)], "").code, 401);
}

#[test]
fn only_our_own_page_may_use_the_cookie() {
    let page = Page::open();
    let cookie = page.enter();
    let origin = page.origin();
    let with = |lines: &[(&str, &str)], method: &str| {
        let mut all = vec![("cookie", cookie.as_str())];
        all.extend(lines);
        let body = r#"{"metadata":{"name":"made"}}"#;
        page.ask(method, MAPS, &all, if method == "POST" { body } else { "" })
    };
    page.server.ask(post(
        "/api/v1/namespaces",
        "",
        r#"{"metadata":{"name":"default"}}"#,
    ));
    assert_eq!(with(&[("host", "evil.example")], "GET").code, 421);
    assert_eq!(with(&[("sec-fetch-site", "cross-site")], "GET").code, 403);
    assert_eq!(with(&[("origin", "http://evil.example")], "POST").code, 403);
    assert_eq!(with(&[], "POST").code, 403);
    assert_eq!(with(&[("origin", &origin)], "POST").code, 201);
    let proxied = format!("{MAPS}/made/proxy");
    assert_eq!(
        page.ask("GET", &proxied, &[("cookie", &cookie)], "").code,
        403
    );
}

#[test]
fn the_page_comes_compressed_under_a_strict_policy() {
    let page = Page::open();
    let index = page.ask("GET", "/", &[("accept-encoding", "gzip")], "");
    assert_eq!(index.code, 200);
    assert_eq!(index.headers[header::CONTENT_ENCODING], "gzip");
    let policy = index.headers[header::CONTENT_SECURITY_POLICY].to_str();
    let policy = policy.unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    let plain = page.ask("GET", "/", &[], "");
    assert!(
        plain
            .text
            .contains("<script type=\"module\" src=\"/app.js\">")
    );
    assert!(!plain.text.contains("<script>"));
}

#[test]
fn a_taken_port_is_told() {
    let page = Page::open();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused = page
        .server
        .run(page.dashboard.open(Some(port)))
        .unwrap_err();
    assert_eq!(refused.to_string(), format!("listen on 127.0.0.1:{port}"));
}

#[test]
fn watches_come_as_the_tables_that_the_query_asks_for() {
    let page = Page::open();
    let cookie = page.enter();
    page.server.ask(post(
        "/api/v1/namespaces",
        "",
        r#"{"metadata":{"name":"default"}}"#,
    ));
    page.server
        .ask(post(MAPS, "", r#"{"metadata":{"name":"a"}}"#));
    let table = "application/json%3Bas%3DTable%3Bv%3Dv1%3Bg%3Dmeta.k8s.io";
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1&includeObject=Object&accept={table}");
    let request = Request::get(path)
        .header("host", format!("127.0.0.1:{}", page.port))
        .header("origin", page.origin())
        .header("cookie", cookie)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Full::<Bytes>::default())
        .unwrap();
    let event = page.server.run(async {
        let response = page.send(request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
        match socket.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str::<Value>(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["kind"], "Table");
    let row = &event["object"]["rows"][0];
    assert_eq!(row["cells"][0], "a");
    assert_eq!(row["object"]["kind"], "ConfigMap");
}
