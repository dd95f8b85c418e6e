//! Answers of the proxy itself.

use super::body::Reply;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};

/// An answer instead of the backend's.
pub type Refusal = Box<Response<Reply>>;

/// A page that says no more than its code, as nginx' do.
#[must_use]
pub fn page(status: StatusCode) -> Response<Reply> {
    let reason = match status {
        StatusCode::SERVICE_UNAVAILABLE => "Service Temporarily Unavailable",
        StatusCode::GATEWAY_TIMEOUT => "Gateway Time-out",
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        StatusCode::UNAUTHORIZED => "Authorization Required",
        StatusCode::METHOD_NOT_ALLOWED => "Not Allowed",
        StatusCode::FOUND => "Found",
        other => other.canonical_reason().unwrap_or_default(),
    };
    let title = format!("{} {reason}", status.as_str());
    let text = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>kubik</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = Response::new(Reply::own(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// What nginx says when a certificate is missing or wrong.
#[must_use]
pub fn refusal(why: &str) -> Response<Reply> {
    let text = format!(
        "<html>\r\n<head><title>400 {why}</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
         <center>{why}</center>\r\n<hr><center>kubik</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = Response::new(Reply::own(text));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let html = HeaderValue::from_static("text/html");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}

/// A place that cannot stand in a header is the client's own doing: 400.
#[must_use]
pub fn redirect(code: u16, to: &str) -> Response<Reply> {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND);
    let Ok(location) = HeaderValue::from_str(to) else {
        return page(StatusCode::BAD_REQUEST);
    };
    let mut response = page(status);
    response.headers_mut().insert(LOCATION, location);
    response
}

#[must_use]
pub fn empty(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::own(""));
    *response.status_mut() = status;
    response
}
