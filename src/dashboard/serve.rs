//! The listener on loopback: acts on what `guard` decided.

use super::{
    asset,
    guard::{self, Refusal, Verdict},
    memory::Memory,
    session::{self, Sessions},
};
use crate::{
    api::ApiError,
    apiserver::{
        Handler,
        listen::answer::{self, Answer, JSON},
    },
    task::{Tasks, clock},
};
use anyhow::{Context as _, Result};
use form_urlencoded::parse;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::{
    convert::Infallible,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex as AsyncMutex, Semaphore},
};
use tracing::{debug, info, warn};

/// Where it is looked for first, so that a bookmark stays good.
const PORT: u16 = 7070;
/// A browser keeps six connections and a WebSocket per watch, log and shell.
const CONNECTIONS_MAX: usize = 512;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const TICKET_BYTES_MAX: usize = 1024;

/// Strict: scripts and styles of ours only, no text ever becomes markup (`dom.js` makes every element). WebSockets are
/// named because not every browser takes them for `'self'`.
fn page_policy(host: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws://{host}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// Whatever an object or a log holds, it is no page.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// The dashboard of one cluster. Listens from the first [`Dashboard::open`] on. Cheap to clone.
#[derive(Clone)]
pub struct Dashboard(Arc<Inner>);

struct Inner {
    profile: String,
    api: Handler,
    tasks: Tasks,
    /// Ports that we listen on.
    ports: AsyncMutex<Vec<u16>>,
    sessions: Mutex<Sessions>,
    places: Arc<Semaphore>,
    memory: PathBuf,
}

impl Dashboard {
    /// `api` answers as the cluster's admin; `memory` is a file for what must outlive the daemon.
    #[must_use]
    pub fn new(profile: &str, api: Handler, tasks: Tasks, memory: PathBuf) -> Dashboard {
        Dashboard(Arc::new(Inner {
            profile: profile.to_owned(),
            api,
            tasks,
            ports: AsyncMutex::default(),
            sessions: Mutex::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            memory,
        }))
    }

    /// Listens where it did before the daemon was started again, for the pages that are still open.
    pub async fn resume(&self) {
        let path = self.0.memory.clone();
        let Ok(memory) = Tasks::blocking(move || Memory::read(&path)).await else {
            return;
        };
        self.sessions(|sessions| *sessions = Sessions::restored(&memory.sessions));
        for port in memory.ports {
            if let Err(error) = self.listen(Some(port)).await {
                info!(port, %error, "the dashboard's port is taken");
            }
        }
    }

    async fn remember(&self) {
        let ports = self.0.ports.lock().await;
        let memory = Memory {
            ports: ports.clone(),
            sessions: self.sessions(|sessions| sessions.hashes()),
        };
        let path = self.0.memory.clone();
        let written = Tasks::blocking(move || memory.write(&path)).await;
        if let Ok(Err(error)) = written {
            warn!(%error, "remember who may use the dashboard");
        }
    }

    /// A link that lets one browser in. Listens on `port`; without one where it listens already, else on a port that
    /// is free.
    pub async fn open(&self, port: Option<u16>) -> Result<String> {
        let port = self.listen(port).await?;
        self.remember().await;
        let ticket = self.sessions(|sessions| sessions.ticket(clock::now()));
        Ok(format!("http://127.0.0.1:{port}/#ticket={ticket}"))
    }

    fn sessions<T>(&self, work: impl FnOnce(&mut Sessions) -> T) -> T {
        work(
            &mut self
                .0
                .sessions
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    async fn listen(&self, wanted: Option<u16>) -> Result<u16> {
        let mut ports = self.0.ports.lock().await;
        let present = match wanted {
            Some(port) => ports.iter().find(|known| **known == port),
            None => ports.first(),
        };
        if let Some(port) = present {
            return Ok(*port);
        }
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match wanted {
            Some(port) => bind(port).await,
            None => match bind(PORT).await {
                Err(_) => bind(0).await,
                bound => bound,
            },
        };
        let listener = listener
            .with_context(|| format!("listen on 127.0.0.1:{}", wanted.unwrap_or_default()))?;
        let port = listener.local_addr().context("read the port")?.port();
        ports.push(port);
        let dashboard = self.clone();
        let work = async move { dashboard.accept(listener, port).await };
        self.0.tasks.spawn(format!("dashboard {port}"), work);
        info!(port, "the dashboard listens");
        Ok(port)
    }

    async fn accept(self, listener: TcpListener, port: u16) {
        let connection = |stream, _| self.clone().connection(stream, port);
        let Inner { tasks, places, .. } = &*self.0;
        tasks
            .accept("dashboard connection", listener, places, connection)
            .await;
    }

    async fn connection(self, stream: TcpStream, port: u16) {
        let mut stop = self.0.tasks.stop_signal();
        let service = service_fn(move |request| {
            let dashboard = self.clone();
            async move { Ok::<_, Infallible>(dashboard.answer(request, port).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let ended = stop.lets_end(connection, |connection| connection.graceful_shutdown());
        if let Err(error) = ended.await {
            debug!(%error, "connection of the dashboard");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, port: u16) -> Answer {
        let session = held(request.headers(), port);
        let has_session = session
            .as_ref()
            .is_some_and(|session| self.sessions(|sessions| sessions.is_open(session)));
        let verdict = guard::judge(
            request.method(),
            request.uri(),
            request.headers(),
            has_session,
        );
        // The guard has seen the host: a name of this machine and perhaps a port.
        let host = request.headers().get(header::HOST);
        let policy = match (verdict, host.and_then(|host| host.to_str().ok())) {
            (Verdict::Asset, Some(host)) => page_policy(host),
            _ => DATA_POLICY.to_owned(),
        };
        let mut answer = match verdict {
            Verdict::Refused(refusal) => refused(refusal),
            Verdict::Asset => {
                asset::answer(request.method(), request.uri().path(), request.headers())
            }
            Verdict::Session => {
                let session = session.filter(|_| has_session);
                self.session(request, session.as_deref(), port).await
            }
            Verdict::Api => {
                prepare(&mut request);
                self.0.api.answer(request).await
            }
        };
        protect(answer.headers_mut(), &policy);
        answer
    }

    /// `POST` changes a ticket for a cookie, `GET` tells whose dashboard this is, `DELETE` gives the cookie back.
    async fn session(
        &self,
        request: Request<Incoming>,
        session: Option<&str>,
        port: u16,
    ) -> Answer {
        match (request.method().clone(), session) {
            (Method::POST, _) => {
                let body = Limited::new(request.into_body(), TICKET_BYTES_MAX);
                let ticket = match body.collect().await {
                    Ok(ticket) => ticket.to_bytes(),
                    Err(_) => return refused(Refusal::NoSession),
                };
                let ticket = String::from_utf8_lossy(&ticket);
                let entered = self.sessions(|all| all.enter(ticket.trim(), clock::now()));
                match entered {
                    Some(session) => {
                        self.remember().await;
                        with_cookie(port, &session, "")
                    }
                    None => refused(Refusal::NoSession),
                }
            }
            (_, None) => refused(Refusal::NoSession),
            (Method::GET, Some(_)) => {
                let about =
                    json!({"profile": self.0.profile, "version": env!("CARGO_PKG_VERSION")});
                answer::bytes(200, JSON, about.to_string())
            }
            (Method::DELETE, Some(session)) => {
                self.sessions(|all| all.leave(session));
                self.remember().await;
                with_cookie(port, "", "; Max-Age=0")
            }
            _ => refused(Refusal::Method),
        }
    }
}

/// Cookies do not know ports: the name tells the dashboards of several clusters apart.
fn cookie_name(port: u16) -> String {
    format!("kubik-{port}")
}

fn held(headers: &HeaderMap, port: u16) -> Option<String> {
    let name = cookie_name(port);
    let mut headers = headers.get_all(header::COOKIE).iter();
    headers.find_map(|value| session::cookie(value.to_str().ok()?, &name).map(str::to_owned))
}

fn with_cookie(port: u16, value: &str, more: &str) -> Answer {
    let name = cookie_name(port);
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{more}");
    let mut answer = answer::empty(204);
    let cookie = HeaderValue::from_str(&cookie).expect("letters and digits");
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    answer
}

fn refused(refusal: Refusal) -> Answer {
    let reason = match refusal {
        Refusal::NoSession => "Unauthorized",
        Refusal::Method => "MethodNotAllowed",
        _ => "Forbidden",
    };
    let failure = ApiError::new(refusal.code(), reason, refusal.message());
    answer::error(&failure, false)
}

/// The API server gets nothing of our cookie, and learns from the query what a browser could not tell otherwise.
fn prepare(request: &mut Request<Incoming>) {
    let accept = accept(request.uri().query().unwrap_or_default());
    let headers = request.headers_mut();
    headers.remove(header::COOKIE);
    headers.remove(header::AUTHORIZATION);
    if let Some(accept) = accept
        && headers.contains_key(header::UPGRADE)
    {
        headers.insert(header::ACCEPT, accept);
    }
    // Answers are read by our page, not by a person: no indentation.
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("kubik-dashboard/", env!("CARGO_PKG_VERSION"))),
    );
}

fn accept(query: &str) -> Option<HeaderValue> {
    let (_, value) = parse(query.as_bytes()).find(|(name, _)| name == "accept")?;
    HeaderValue::from_str(&value).ok()
}

fn protect(headers: &mut HeaderMap, policy: &str) {
    let all = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy =
        HeaderValue::from_str(policy).expect("a policy of ours with a host that was checked");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
}
