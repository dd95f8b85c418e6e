//! Which proxy leads to a registry: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, in either case, as Go's programs read
//! them. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use ipnet::IpNet;
use std::net::IpAddr;

/// The proxies of this process' environment. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    /// Hosts that are reached directly.
    direct: Vec<String>,
}

/// A proxy that speaks plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl Proxies {
    /// `read` answers environment variables.
    pub fn read(read: impl Fn(&str) -> Option<String>) -> Proxies {
        let either = |name: &str| {
            let found = read(name).or_else(|| read(&name.to_ascii_lowercase()));
            found.filter(|text| !text.trim().is_empty())
        };
        let direct = either("NO_PROXY").unwrap_or_default();
        Proxies {
            http: either("HTTP_PROXY"),
            https: either("HTTPS_PROXY"),
            direct: direct
                .split([',', ' '])
                .map(|entry| entry.trim().to_ascii_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
        }
    }

    /// The proxy to ask for a host; `None` means to go there directly. The error is a text for people.
    pub fn choose(&self, is_https: bool, host: &str, port: u16) -> Result<Option<Proxy>, String> {
        let text = if is_https { &self.https } else { &self.http };
        match text {
            Some(text) if !self.is_direct(host, port) => parse(text).map(Some),
            _ => Ok(None),
        }
    }

    fn is_direct(&self, host: &str, port: u16) -> bool {
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        self.direct.iter().any(|entry| {
            if entry == "*" {
                return true;
            }
            let (name, wanted) = match entry.rsplit_once(':') {
                Some((name, digits)) if !name.contains(':') => (name, digits.parse().ok()),
                _ => (entry.as_str(), None),
            };
            if wanted.is_some_and(|wanted: u16| wanted != port) {
                return false;
            }
            match (address, name.parse::<IpNet>(), name.parse::<IpAddr>()) {
                (Some(ip), Ok(net), _) => net.contains(&ip),
                (Some(ip), _, Ok(other)) => ip == other,
                (Some(_), _, _) => false,
                (None, _, _) => is_below(&host, name),
            }
        })
    }
}

/// `example.com` means itself and what is below; `.example.com` only what is below.
fn is_below(host: &str, name: &str) -> bool {
    let bare = name.trim_start_matches("*.").trim_start_matches('.');
    let is_whole = name == bare && host == bare;
    is_whole
        || host
            .strip_suffix(bare)
            .is_some_and(|head| head.ends_with('.'))
}

fn parse(text: &str) -> Result<Proxy, String> {
    let text = text.trim();
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => {
            return Err(format!(
                "the proxy \"{scheme}://…\" is not supported: use one with http://"
            ));
        }
        None => text,
    };
    let rest = rest.split('/').next().unwrap_or_default();
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, digits)) => {
            let port = digits
                .parse()
                .map_err(|_| format!("the proxy \"{place}\" has no valid port"))?;
            (host, port)
        }
        None => (place, 80),
    };
    if host.is_empty() {
        return Err("the proxy's address has no host".to_owned());
    }
    let decoded = |login: &str| {
        let text = percent_encoding::percent_decode_str(login).decode_utf8_lossy();
        format!("Basic {}", STANDARD.encode(text.as_bytes()))
    };
    Ok(Proxy {
        host: host.to_owned(),
        port,
        authorization: login.map(decoded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(direct: &str) -> Proxies {
        let direct = direct.to_owned();
        Proxies::read(move |name| match name {
            "HTTPS_PROXY" => Some("http://jane:a%40b@proxy.corp:3128/".into()),
            "http_proxy" => Some("proxy.corp".into()),
            "NO_PROXY" => Some(direct.clone()),
            _ => None,
        })
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let found = proxies("").choose(true, "ghcr.io", 443).unwrap().unwrap();
        assert_eq!((found.host.as_str(), found.port), ("proxy.corp", 3128));
        let expected = format!("Basic {}", STANDARD.encode("jane:a@b"));
        assert_eq!(found.authorization, Some(expected));
        let plain = proxies("").choose(false, "ghcr.io", 80).unwrap().unwrap();
        assert_eq!((plain.port, plain.authorization), (80, None));
        assert_eq!(Proxies::default().choose(true, "ghcr.io", 443), Ok(None));
    }

    #[test]
    fn what_is_near_is_reached_directly() {
        let cases = [
            ("", "localhost", true),
            ("", "127.0.0.1", true),
            ("", "[::1]", true),
            ("", "10.0.0.1", false),
            ("*", "ghcr.io", true),
            ("corp", "registry.corp", true),
            ("corp", "corp", true),
            (".corp", "registry.corp", true),
            (".corp", "corp", false),
            ("corp", "mycorp", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("a.b, Registry.Corp:443", "registry.corp", true),
            ("registry.corp:5000", "registry.corp", false),
        ];
        for (direct, host, expected) in cases {
            let chosen = proxies(direct).choose(true, host, 443).unwrap();
            assert_eq!(chosen.is_none(), expected, "NO_PROXY={direct} {host}");
        }
    }

    #[test]
    fn odd_proxies_are_named() {
        for odd in ["socks5://a:1", "http://", "a:b"] {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }
}
