//! Passing a request on: choosing an endpoint, trying another, saying what went wrong.
//!
//! A request goes to another endpoint when nothing of it was sent, or when it is idempotent, has no body and its kept
//! connection broke: the backend may have closed it at that very moment.

use super::{
    body::{Cut, Reply, Upload},
    option::Options,
    table::Backend,
    upstream::{Failure, Link, Place, Pool},
};
use http::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::body::Incoming;
use std::sync::Arc;
use tracing::debug;

/// A backend's answer.
pub struct Forwarded {
    pub response: Response<Reply>,
    /// The endpoint that answered, as its index.
    pub endpoint: usize,
    /// Present when the backend has agreed to speak another protocol from now on.
    pub switched: Option<Switched>,
}

/// A connection about to leave HTTP.
pub struct Switched {
    pub link: Link,
    pub upgrade: hyper::upgrade::OnUpgrade,
}

/// `endpoint` is where to begin. The request is as the backend shall see it.
pub async fn forward(
    pool: &Arc<Pool>,
    backend: &Backend,
    options: &Options,
    endpoint: usize,
    mut request: Request<Upload>,
) -> Result<Forwarded, StatusCode> {
    let count = backend.endpoints.len();
    let tries = options.tries.clamp(1, count.max(1));
    let mut status = StatusCode::SERVICE_UNAVAILABLE;
    for attempt in 0..tries {
        let index = (endpoint + attempt) % count.max(1);
        let Some(&address) = backend.endpoints.get(index) else {
            break;
        };
        let place = Place {
            address,
            protocol: options.protocol,
        };
        let tried = if options.protocol.is_grpc() {
            call(pool, place, options, request).await
        } else {
            exchange(pool, place, options, request).await
        };
        match tried {
            Ok((response, switched)) => {
                return Ok(Forwarded {
                    response,
                    endpoint: index,
                    switched,
                });
            }
            Err(refused) => {
                debug!(backend = backend.name, %address, failure = %refused.failure, "backend");
                status = status_of(&refused.failure);
                match refused.request {
                    Some(unsent) => request = unsent,
                    None => break,
                }
            }
        }
    }
    Err(status)
}

struct Refused {
    failure: Failure,
    /// Present when it may be tried elsewhere.
    request: Option<Request<Upload>>,
}

fn status_of(failure: &Failure) -> StatusCode {
    match failure {
        Failure::ConnectTimeout | Failure::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Failure::Connect(_) | Failure::Unsent(_) => StatusCode::BAD_GATEWAY,
        Failure::Broken(error) => match Cut::at_root_of(error) {
            Some(Cut::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Some(Cut::ClientSilent) => StatusCode::REQUEST_TIMEOUT,
            Some(Cut::BackendSilent) | None => StatusCode::BAD_GATEWAY,
        },
    }
}

type Exchanged = (Response<Reply>, Option<Switched>);

/// One request over HTTP/1, on a kept connection or a new one.
async fn exchange(
    pool: &Arc<Pool>,
    place: Place,
    options: &Options,
    mut request: Request<Upload>,
) -> Result<Exchanged, Refused> {
    *request.version_mut() = Version::HTTP_11;
    while let Some(link) = pool.take(&place) {
        let copy = Copy::of(&request);
        match send(pool, place, link, options, request).await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Unsent(unsent)) => request = *unsent,
            Err(failure) => match copy.filter(|_| matches!(failure, Failure::Broken(_))) {
                Some(copy) => request = copy.request(),
                None => {
                    return Err(Refused {
                        failure,
                        request: None,
                    });
                }
            },
        }
    }
    let link = match pool.connect(&place, options.connect_timeout).await {
        Ok(link) => link,
        Err(failure) => {
            let request = Some(request);
            return Err(Refused { failure, request });
        }
    };
    send(pool, place, link, options, request)
        .await
        .map_err(|failure| match failure {
            Failure::Unsent(unsent) => Refused {
                failure: Failure::Connect(std::io::ErrorKind::ConnectionReset.into()),
                request: Some(*unsent),
            },
            failure => Refused {
                failure,
                request: None,
            },
        })
}

async fn send(
    pool: &Arc<Pool>,
    place: Place,
    mut link: Link,
    options: &Options,
    request: Request<Upload>,
) -> Result<Exchanged, Failure> {
    let mut response = link.send(request, options.read_timeout).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = hyper::upgrade::on(&mut response);
        let response = response.map(|_| Reply::own(""));
        return Ok((response, Some(Switched { link, upgrade })));
    }
    let response =
        response.map(|body| Reply::linked(body, link, place, pool, options.read_timeout));
    Ok((response, None))
}

/// What is needed to send a request without a body once more.
struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Copy {
    fn of(request: &Request<Upload>) -> Option<Copy> {
        let is_repeatable = request.body().is_empty() && request.method().is_idempotent();
        is_repeatable.then(|| Copy {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    fn request(self) -> Request<Upload> {
        let mut request = Request::new(Upload::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// One gRPC call over the shared HTTP/2 connection.
async fn call(
    pool: &Arc<Pool>,
    place: Place,
    options: &Options,
    request: Request<Upload>,
) -> Result<Exchanged, Refused> {
    let request = match absolute(request, place) {
        Ok(request) => request,
        Err(request) => {
            let failure = Failure::Unsent(request);
            return Err(Refused {
                failure,
                request: None,
            });
        }
    };
    let mut channel = match pool.channel(&place, options.connect_timeout).await {
        Ok(channel) => channel,
        Err(failure) => {
            let request = Some(request);
            return Err(Refused { failure, request });
        }
    };
    let progress = request.body().progress();
    let mut sending = std::pin::pin!(channel.try_send_request(request));
    loop {
        let seen = progress.count();
        let waited = tokio::time::timeout(options.read_timeout, sending.as_mut()).await;
        let response: Response<Incoming> = match waited {
            Ok(Ok(response)) => response,
            Ok(Err(mut failed)) => {
                let request = failed.take_message();
                let failure = Failure::Broken(failed.into_error());
                return Err(Refused { failure, request });
            }
            Err(_) if progress.count() != seen => continue,
            Err(_) => {
                let failure = Failure::Timeout;
                return Err(Refused {
                    failure,
                    request: None,
                });
            }
        };
        // A stream may be silent for as long as its two ends like.
        return Ok((response.map(Reply::shared), None));
    }
}

/// HTTP/2 carries the host in the address, not in a header.
fn absolute(
    mut request: Request<Upload>,
    place: Place,
) -> Result<Request<Upload>, Box<Request<Upload>>> {
    let host = request.headers_mut().remove(HOST);
    let authority = host
        .as_ref()
        .and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(if place.protocol.is_tls() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    parts.authority = authority;
    parts
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            *request.version_mut() = Version::HTTP_2;
            Ok(request)
        }
        Err(_) => Err(Box::new(request)),
    }
}
