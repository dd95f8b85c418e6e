//! What the annotations of an Ingress ask for.
//!
//! [`ANNOTATIONS`] is the one list of annotations that are known; everything else below the prefix is reported. An
//! annotation that guards something fails closed: when it cannot be read or kept, its routes answer 503.

mod read;
mod table;

pub use table::ANNOTATIONS;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use regex::Regex;
use std::{collections::BTreeMap, time::Duration};

pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Everything one Ingress asks for beside its rules. Defaults are those of ingress-nginx.
#[derive(Clone, Debug)]
pub struct Options {
    pub use_regex: bool,
    pub rewrite_target: Option<String>,
    pub app_root: Option<String>,
    pub ssl_redirect: bool,
    pub force_ssl_redirect: bool,
    pub www_redirect: bool,
    pub redirect: Option<Redirect>,
    pub permanent_code: u16,
    pub temporal_code: u16,
    /// Of a request's body; `None` is no limit.
    pub body_bytes_max: Option<u64>,
    pub connect_timeout: Duration,
    /// Between two reads from the backend.
    pub read_timeout: Duration,
    /// Between two writes to the backend.
    pub send_timeout: Duration,
    /// Endpoints that are tried for one request.
    pub tries: usize,
    pub protocol: Protocol,
    pub allowed: Vec<IpNet>,
    pub denied: Vec<IpNet>,
    pub auth: Auth,
    pub external: External,
    pub client_auth: ClientAuth,
    pub cors: Cors,
    pub affinity: Affinity,
    pub canary: Canary,
    pub limit: Limit,
    pub aliases: Vec<String>,
    pub upstream_vhost: Option<HeaderValue>,
    pub forwarded_prefix: Option<HeaderValue>,
    /// Connect to the Service's address instead of its endpoints.
    pub service_upstream: bool,
    /// A Service that answers when the rule's own has no endpoints.
    pub default_backend: Option<String>,
    /// Why these routes must not be served.
    pub refused: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    #[default]
    Http,
    Https,
    Grpc,
    Grpcs,
}

impl Protocol {
    #[must_use]
    pub fn is_grpc(self) -> bool {
        matches!(self, Protocol::Grpc | Protocol::Grpcs)
    }

    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Grpcs)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    Permanent(String),
    Temporal(String),
}

/// Basic authentication against the htpasswd lines of a Secret.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    pub is_basic: bool,
    /// `name` or `namespace/name`.
    pub secret: String,
    /// One key per user instead of one file.
    pub is_map: bool,
    pub realm: String,
}

/// Somebody else is asked about every request. Texts may name nginx' variables.
#[derive(Clone, Debug)]
pub struct External {
    /// Whom to ask; empty: nobody.
    pub url: String,
    pub method: Method,
    /// Headers of the answer that the backend gets.
    pub response_headers: Vec<HeaderName>,
    /// Where a client goes that has to sign in.
    pub signin: Option<String>,
    /// Of its query: where the client comes back to.
    pub signin_param: String,
    /// What the one who is asked is told as that place.
    pub redirect: Option<String>,
}

impl External {
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    /// Whom to ask depends on the request.
    #[must_use]
    pub fn has_open_authority(&self) -> bool {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        rest[..end].contains('$')
    }
}

/// Certificates that clients have to show.
#[derive(Clone, Debug, Default)]
pub struct ClientAuth {
    /// `name` or `namespace/name`; empty: nobody is asked for one.
    pub secret: String,
    pub asks: Asks,
    /// For the subject's name.
    pub pattern: Option<Regex>,
    pub error_page: Option<String>,
    /// The backend gets the certificate too.
    pub passes: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asks {
    #[default]
    Must,
    May,
    /// Whoever has issued it.
    Unproven,
}

#[derive(Clone, Debug)]
pub struct Cors {
    pub is_enabled: bool,
    pub origins: Vec<String>,
    pub methods: HeaderValue,
    pub headers: HeaderValue,
    pub expose: Option<HeaderValue>,
    pub credentials: bool,
    pub max_age_seconds: u64,
}

/// A cookie that keeps a client with its endpoint.
#[derive(Clone, Debug)]
pub struct Affinity {
    pub is_cookie: bool,
    pub cookie: String,
    pub path: String,
    pub domain: Option<String>,
    pub max_age_seconds: Option<u64>,
    pub same_site: Option<String>,
    pub secure: bool,
}

/// When a request goes to this Ingress' backend instead of the one of the main Ingress.
#[derive(Clone, Debug, Default)]
pub struct Canary {
    pub is_enabled: bool,
    pub weight: u32,
    pub weight_total: u32,
    pub header: Option<HeaderName>,
    pub header_value: Option<String>,
    pub header_pattern: Option<Regex>,
    pub cookie: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Limit {
    pub per_second: Option<u32>,
    pub per_minute: Option<u32>,
    pub connections: Option<u32>,
    pub burst: u32,
    pub exempt: Vec<IpNet>,
}

impl Limit {
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.per_second.is_some() || self.per_minute.is_some() || self.connections.is_some()
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            use_regex: false,
            rewrite_target: None,
            app_root: None,
            ssl_redirect: true,
            force_ssl_redirect: false,
            www_redirect: false,
            redirect: None,
            permanent_code: 301,
            temporal_code: 302,
            body_bytes_max: Some(1 << 20),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            tries: 3,
            protocol: Protocol::Http,
            allowed: Vec::new(),
            denied: Vec::new(),
            auth: Auth::default(),
            external: External::default(),
            client_auth: ClientAuth::default(),
            cors: Cors::default(),
            affinity: Affinity::default(),
            canary: Canary {
                weight_total: 100,
                ..Canary::default()
            },
            limit: Limit {
                per_second: None,
                per_minute: None,
                connections: None,
                burst: 5,
                exempt: Vec::new(),
            },
            aliases: Vec::new(),
            upstream_vhost: None,
            forwarded_prefix: None,
            service_upstream: false,
            default_backend: None,
            refused: None,
        }
    }
}

impl Default for External {
    fn default() -> External {
        External {
            url: String::new(),
            method: Method::GET,
            response_headers: Vec::new(),
            signin: None,
            signin_param: "rd".to_owned(),
            redirect: None,
        }
    }
}

impl Default for Cors {
    fn default() -> Cors {
        Cors {
            is_enabled: false,
            origins: vec!["*".to_owned()],
            methods: HeaderValue::from_static("GET, PUT, POST, DELETE, PATCH, OPTIONS"),
            headers: HeaderValue::from_static(
                "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
            ),
            expose: None,
            credentials: true,
            max_age_seconds: 1_728_000,
        }
    }
}

impl Default for Affinity {
    fn default() -> Affinity {
        Affinity {
            is_cookie: false,
            cookie: "INGRESSCOOKIE".to_owned(),
            path: "/".to_owned(),
            domain: None,
            max_age_seconds: None,
            same_site: None,
            secure: false,
        }
    }
}

/// What an annotation does here.
pub enum Effect {
    /// Sets an option; a value that cannot be read is reported and has no effect.
    Sets(fn(&mut Options, &str) -> Result<(), String>),
    /// Sets an option that keeps somebody out; a value that cannot be read closes the routes.
    Guards(fn(&mut Options, &str) -> Result<(), String>),
    /// Tunes buffers, logs or sockets of nginx; there is nothing to tune here.
    Tunes,
    /// Keeps somebody out in a way that is not offered here: the routes are closed.
    Closes,
}

pub struct Annotation {
    /// Without the prefix.
    pub name: &'static str,
    pub effect: Effect,
}

/// Reads all annotations below the prefix; answers what a person should be told beside.
#[must_use]
pub fn parse(annotations: &BTreeMap<String, String>) -> (Options, Vec<String>) {
    let mut options = Options::default();
    let mut told = Vec::new();
    for (full, value) in annotations {
        let Some(name) = full.strip_prefix(PREFIX) else {
            continue;
        };
        let known = ANNOTATIONS.iter().find(|known| known.name == name);
        let Some(known) = known else {
            told.push(format!(
                "annotation {full} is not supported: it has no effect"
            ));
            continue;
        };
        match known.effect {
            Effect::Tunes => {}
            Effect::Sets(set) => {
                if let Err(why) = set(&mut options, value.trim()) {
                    told.push(format!("annotation {full}: {why}: it has no effect"));
                }
            }
            Effect::Guards(set) => {
                if let Err(why) = set(&mut options, value.trim()) {
                    let why = format!("annotation {full}: {why}: requests are refused with 503");
                    options.refused = Some(why.clone());
                    told.push(why);
                }
            }
            Effect::Closes => {
                let why =
                    format!("annotation {full} is not supported: requests are refused with 503");
                options.refused = Some(why.clone());
                told.push(why);
            }
        }
    }
    (options, told)
}

#[cfg(test)]
mod tests;
