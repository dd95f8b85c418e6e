//! The compiled routes: which rule a host and a path meet, in a few hash lookups.
//!
//! As in nginx a host's own rules are the only ones for its requests: exact host before wildcard before none. Within a
//! host the longest path wins, an exact one before others of its length, the oldest Ingress among equals.

use super::{
    credential::Authority, external::Judge, option::Options, password::Users, path,
    rewrite::Rewrite,
};
use crate::api::name::Key;
use ipnet::IpNet;
use regex::Regex;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Routes by host. Immutable; a change of any object makes a new one.
#[derive(Debug, Default)]
pub struct Table {
    hosts: HashMap<String, Host>,
    /// By what follows `*.`, which stands for one label.
    wildcards: HashMap<String, Host>,
    any: Host,
    /// Hosts that are only redirected to another.
    moved: HashMap<String, String>,
    /// For requests that nothing matches.
    default: Option<Arc<Route>>,
}

/// The rules of one host.
#[derive(Debug, Default)]
pub struct Host {
    exact: HashMap<String, Arc<Route>>,
    /// By path without trailing slash.
    prefixes: HashMap<String, Arc<Route>>,
    /// Longest first.
    patterns: Vec<Arc<Route>>,
    /// Of the first Ingress of this host that has one.
    pub default: Option<Arc<Route>>,
}

/// How a path is compared.
#[derive(Clone, Debug)]
pub enum Matcher {
    Exact,
    /// Element by element.
    Prefix,
    /// Character by character: `ImplementationSpecific` without expressions.
    Start,
    Pattern(Regex),
}

/// One path of one Ingress and everything a request on it needs.
#[derive(Debug)]
pub struct Route {
    pub ingress: Key,
    pub path: String,
    pub matcher: Matcher,
    pub rewrite: Option<Rewrite>,
    pub options: Arc<Options>,
    /// Whom basic authentication lets in.
    pub users: Option<Arc<Users>>,
    /// Who is asked about every request.
    pub judge: Option<Arc<Judge>>,
    /// Whose certificates clients have to show.
    pub authority: Option<Arc<Authority>>,
    /// A certificate was asked for this host.
    pub has_tls: bool,
    pub backend: Backend,
    pub canary: Option<(Arc<Options>, Backend)>,
}

/// The endpoints of one Service port.
#[derive(Debug, Default)]
pub struct Backend {
    /// `namespace/name:port`, for messages.
    pub name: String,
    pub endpoints: Vec<SocketAddr>,
    /// Whose turn it is.
    turn: AtomicUsize,
}

impl Backend {
    #[must_use]
    pub fn new(name: String, endpoints: Vec<SocketAddr>) -> Backend {
        Backend {
            name,
            endpoints,
            turn: AtomicUsize::new(0),
        }
    }

    /// The index of the endpoint whose turn it is; `None` without endpoints.
    pub fn next(&self) -> Option<usize> {
        let count = self.endpoints.len();
        (count > 0).then(|| self.turn.fetch_add(1, Ordering::Relaxed) % count)
    }
}

/// Where a request goes.
#[derive(Debug)]
pub enum Found<'a> {
    Route(&'a Arc<Route>),
    /// The same place at another host.
    Moved(&'a str),
    Nothing,
}

impl Table {
    /// `host` is lower case and without port, `path` is normal.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Found<'_> {
        let rules = self.host(host);
        let own = rules.and_then(|rules| rules.find(path).or(rules.default.as_ref()));
        if let Some(route) = own {
            return Found::Route(route);
        }
        if rules.is_none()
            && let Some(to) = self.moved.get(host)
        {
            return Found::Moved(to);
        }
        let unnamed = rules.is_none().then(|| self.any.find(path)).flatten();
        match unnamed.or(self.default.as_ref()) {
            Some(route) => Found::Route(route),
            None => Found::Nothing,
        }
    }

    /// Whether a host has rules of its own.
    #[must_use]
    pub fn knows(&self, host: &str) -> bool {
        self.host(host).is_some()
    }

    /// Whether clients of a host are to be asked for a certificate.
    #[must_use]
    pub fn asks(&self, host: &str) -> bool {
        let host = self.host(host).unwrap_or(&self.any);
        host.routes().any(|route| route.authority.is_some())
    }

    fn host(&self, host: &str) -> Option<&Host> {
        self.hosts.get(host).or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.wildcards.get(parent)
        })
    }

    /// The rules for a host as an Ingress names it; empty for none.
    pub fn host_mut(&mut self, host: &str) -> &mut Host {
        match host.strip_prefix("*.") {
            _ if host.is_empty() => &mut self.any,
            Some(parent) => self.wildcards.entry(parent.to_owned()).or_default(),
            None => self.hosts.entry(host.to_owned()).or_default(),
        }
    }

    pub fn set_default(&mut self, route: Arc<Route>) {
        self.default.get_or_insert(route);
    }

    pub fn set_moved(&mut self, from: String, to: String) {
        self.moved.entry(from).or_insert(to);
    }

    /// Every endpoint that a request could be sent to.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let hosts = self.hosts.values().chain(self.wildcards.values());
        let hosts = hosts.chain([&self.any]);
        let routes = hosts.flat_map(Host::routes).chain(&self.default);
        let backends = routes.flat_map(|route| {
            let canary = route.canary.iter().map(|(_, backend)| backend);
            canary.chain([&route.backend])
        });
        backends.flat_map(|backend| backend.endpoints.iter().copied())
    }
}

impl Host {
    /// `false` when the place is taken by an earlier Ingress.
    pub fn add(&mut self, route: Arc<Route>) -> bool {
        let places = match route.matcher {
            Matcher::Exact => &mut self.exact,
            Matcher::Prefix => &mut self.prefixes,
            Matcher::Start | Matcher::Pattern(_) => {
                let is_new = self.patterns.iter().all(|one| one.path != route.path);
                if is_new {
                    let longer = |one: &Arc<Route>| one.path.len() >= route.path.len();
                    let at = self.patterns.partition_point(longer);
                    self.patterns.insert(at, route);
                }
                return is_new;
            }
        };
        let key = match route.matcher {
            Matcher::Exact => route.path.clone(),
            _ => path::prefix_key(&route.path).to_owned(),
        };
        let is_new = !places.contains_key(&key);
        places.entry(key).or_insert(route);
        is_new
    }

    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        let exact = self.exact.get(path);
        let prefix = || path::prefixes(path).find_map(|key| self.prefixes.get(key));
        let pattern = || self.patterns.iter().find(|route| route.is_met(path));
        // An exact match has the length of the whole path: nothing but an expression can be longer.
        let plain = exact.or_else(prefix);
        match (plain, pattern()) {
            (Some(plain), Some(pattern)) if pattern.path.len() > plain.path.len() => Some(pattern),
            (plain, pattern) => plain.or(pattern),
        }
    }

    fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let mapped = self.exact.values().chain(self.prefixes.values());
        mapped.chain(&self.patterns).chain(&self.default)
    }
}

impl Route {
    fn is_met(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Start => path.starts_with(&self.path),
            Matcher::Pattern(pattern) => pattern.is_match(path),
            Matcher::Exact | Matcher::Prefix => false,
        }
    }
}

#[must_use]
pub fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}
