//! `fetch URL`: one HTTP/1.0 request.

use crate::runtime::resolve;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The answer's body; an error when the status is not 2xx.
pub fn run(url: &str) -> Result<String, String> {
    let (host, port, path) = split(url)?;
    let addresses = resolve::lookup(&host).map_err(|error| error.to_string())?;
    let address = addresses
        .first()
        .ok_or_else(|| format!("{host} has no address"))?;
    let address = SocketAddr::new(*address, port);
    let failed = |error: std::io::Error| format!("{url} ({address}): {error}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .map_err(failed)?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("{url}: not an HTTP answer"))?;
    let status = head.lines().next().unwrap_or_default();
    match status
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse::<u16>().ok())
    {
        Some(200..=299) => Ok(body.to_owned()),
        _ => Err(format!("{url}: {status}")),
    }
}

fn split(url: &str) -> Result<(String, u16, String), String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("{url}: only http:// is understood"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (
            host,
            port.parse()
                .map_err(|_| format!("{url}: {port} is no port"))?,
        ),
        None => (authority, 80),
    };
    Ok((host.to_owned(), port, format!("/{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(split("http://a"), Ok(("a".into(), 80, "/".into())));
        assert_eq!(
            split("http://a.b:81/c?d"),
            Ok(("a.b".into(), 81, "/c?d".into()))
        );
        assert!(split("https://a").is_err() && split("http://a:x").is_err());
    }
}
