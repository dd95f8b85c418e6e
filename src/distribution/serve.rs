//! HTTP on loopback: connections, and which request means what.

use super::{
    Registry,
    answer::{self, Answer, Body, Refusal},
    blob::Parameters,
    list::Page,
    route::{Route, route},
};
use crate::task::Tasks;
use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tracing::debug;

const CONNECTIONS_MAX: usize = 128;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Accepts until the group is stopped.
pub async fn accept(registry: Registry, listener: TcpListener, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connection = |stream, _| connection(registry.clone(), stream, tasks.clone());
    tasks
        .accept("registry connection", listener, &places, connection)
        .await;
}

async fn connection(registry: Registry, stream: TcpStream, tasks: Tasks) {
    let mut stop = tasks.stop_signal();
    let service = service_fn(move |request: Request<Incoming>| {
        let registry = registry.clone();
        async move {
            let answer = registry.answer(request).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(Refusal::into_response))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let ended = stop.lets_end(connection, |connection| connection.graceful_shutdown());
    if let Err(error) = ended.await {
        debug!(%error, "connection of the registry");
    }
}

/// A page of the web that was led here by a name of its own must not push images: only loopback's names are ours.
fn is_for_loopback(host: Option<&str>) -> bool {
    let Some(host) = host else {
        return false;
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_name = name == "localhost" || name.ends_with(".localhost");
    is_name
        || name
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|ip| ip.is_loopback())
}

impl Registry {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let host = head.headers.get(header::HOST);
        if !is_for_loopback(host.and_then(|value| value.to_str().ok())) {
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "DENIED",
                "this registry answers to localhost only",
            ));
        }
        let query = head.uri.query();
        let (method, headers) = (&head.method, &head.headers);
        let is_head = method == Method::HEAD;
        let is_get = is_head || method == Method::GET;
        match (route(head.uri.path())?, method.as_str()) {
            (Route::Base, _) if is_get => Ok(base()),
            (Route::Catalog, _) if is_get => self.catalog(&Page::parse(query)),
            (Route::Tags(name), _) if is_get => self.tags(&name, &Page::parse(query)),
            (Route::Referrers(name, digest), _) if is_get => self.referrers(&name, &digest, query),
            (Route::Manifest(name, wanted), _) if is_get => {
                self.get_manifest(&name, &wanted, is_head)
            }
            (Route::Manifest(name, wanted), "PUT") => {
                self.put_manifest(&name, &wanted, headers, body).await
            }
            (Route::Manifest(name, wanted), "DELETE") => self.delete_manifest(&name, &wanted),
            (Route::Blob(name, digest), _) if is_get => {
                self.get_blob(&name, &digest, headers, is_head).await
            }
            (Route::Blob(name, digest), "DELETE") => self.delete_blob(&name, &digest),
            (Route::Uploads(name), "POST") => {
                self.begin_upload(&name, Parameters::parse(query), body)
                    .await
            }
            (Route::Upload(name, id), "GET") => self.look_at_upload(&name, &id),
            (Route::Upload(name, id), "DELETE") => self.cancel_upload(&name, &id),
            (Route::Upload(name, id), "PATCH") => {
                self.continue_upload(&name, &id, headers, body).await
            }
            (Route::Upload(name, id), "PUT") => {
                let parameters = Parameters::parse(query);
                self.finish_upload(&name, &id, headers, parameters, body)
                    .await
            }
            _ => Err(Refusal::unsupported()),
        }
    }
}

fn base() -> Response<Body> {
    answer::json_answer(StatusCode::OK, &json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_are_served() {
        for good in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "a.localhost:1",
        ] {
            assert!(is_for_loopback(Some(good)), "{good}");
        }
        for bad in ["example.com:5000", "10.0.0.1", "localhost.example.com", ""] {
            assert!(!is_for_loopback(Some(bad)), "{bad}");
        }
        assert!(!is_for_loopback(None));
    }
}
