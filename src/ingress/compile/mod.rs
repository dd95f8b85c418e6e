//! From objects to the table of routes. Pure: everything a request needs is decided here, once per change.

mod guard;

use super::{
    certificate, class,
    credential::Authority,
    endpoint,
    external::Judge,
    option::{self, Options},
    password::Users,
    rewrite::Rewrite,
    table::{Backend, Host, Matcher, Route, Table},
};
use crate::{
    api::{name::Key, object::Object},
    client::Snapshot,
};
use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{
        HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressRule, ServiceBackendPort,
    },
};
use regex::{Regex, RegexBuilder};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

/// Names the Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Of one compiled expression, in memory.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What routes are made of, as last seen.
#[derive(Clone, Default)]
pub struct Objects {
    pub services: Snapshot<Service>,
    pub slices: Snapshot<EndpointSlice>,
    pub secrets: Snapshot<Secret>,
}

/// Something the author of an Ingress should be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    pub ingress: Key,
    pub message: String,
}

#[derive(Debug, Default)]
pub struct Compiled {
    pub table: Table,
    pub findings: Vec<Finding>,
}

/// The Ingresses that are ours, oldest first: among equals the oldest wins.
#[must_use]
pub fn served(
    ingresses: &Snapshot<Ingress>,
    classes: &Snapshot<IngressClass>,
) -> Vec<Arc<Ingress>> {
    let ours = ingresses
        .values()
        .filter(|ingress| class::is_ours(ingress, classes));
    let mut served: Vec<Arc<Ingress>> = ours.cloned().collect();
    served.sort_by_key(|ingress| {
        let created = ingress.metadata.creation_timestamp.as_ref();
        (created.map(|time| time.0), ingress.key())
    });
    served
}

/// Whether routes or certificates of these Ingresses need Secrets.
#[must_use]
pub fn wants_secrets(served: &[Arc<Ingress>]) -> bool {
    let guards = ["auth-secret", "auth-tls-secret"].map(|name| format!("{}{name}", option::PREFIX));
    served.iter().any(|ingress| {
        let annotations = ingress.metadata.annotations.as_ref();
        !certificate::tls(ingress).is_empty()
            || annotations.is_some_and(|all| guards.iter().any(|guard| all.contains_key(guard)))
    })
}

#[must_use]
pub fn compile(served: &[Arc<Ingress>], objects: &Objects) -> Compiled {
    let mut builder = Builder {
        objects,
        slices: slices_by_service(&objects.slices),
        secured: secured_hosts(served),
        canaries: HashMap::new(),
        compiled: Compiled::default(),
    };
    let read: Vec<Read<'_>> = served.iter().map(|ingress| builder.read(ingress)).collect();
    for read in read.iter().filter(|read| read.options.canary.is_enabled) {
        builder.add_canary(read);
    }
    let main: Vec<&Read<'_>> = read
        .iter()
        .filter(|read| !read.options.canary.is_enabled)
        .collect();
    for read in &main {
        builder.add_rules(read);
    }
    // An Ingress without rules says what everything else is for.
    let (bare, others): (Vec<&Read<'_>>, Vec<&Read<'_>>) =
        main.iter().partition(|read| rules(read.ingress).is_empty());
    for read in bare.into_iter().chain(others) {
        builder.add_default(read);
    }
    builder.compiled
}

/// An Ingress with its annotations read.
struct Read<'a> {
    ingress: &'a Ingress,
    key: Key,
    options: Arc<Options>,
    users: Option<Arc<Users>>,
    judge: Option<Arc<Judge>>,
    authority: Option<Arc<Authority>>,
}

struct Builder<'a> {
    objects: &'a Objects,
    slices: HashMap<Key, Vec<&'a EndpointSlice>>,
    /// Hosts for which a certificate was asked.
    secured: HashSet<String>,
    /// By host and path.
    canaries: HashMap<(String, String), (Arc<Options>, Key, IngressBackend)>,
    compiled: Compiled,
}

impl<'a> Builder<'a> {
    fn read(&mut self, ingress: &'a Ingress) -> Read<'a> {
        let key = ingress.key();
        let none = std::collections::BTreeMap::new();
        let annotations = ingress.metadata.annotations.as_ref().unwrap_or(&none);
        let (mut options, told) = option::parse(annotations);
        for message in told {
            self.tell(&key, message);
        }
        let users = match options.auth.is_basic {
            true => self.users(&key, &options).map(Some),
            false => Ok(None),
        };
        let users = self.kept(&key, &mut options, users);
        let authority = match options.client_auth.secret.is_empty() {
            true => Ok(None),
            false => self.authority(&key, &options).map(Some),
        };
        let authority = self.kept(&key, &mut options, authority);
        let external = &options.external;
        let judge = external.is_set().then(|| {
            let service = self.service_of(&key, &external.url);
            let service = service
                .map(|(service, port)| self.endpoints(&key, &service, &port, &Options::default()));
            Arc::new(Judge::new(external, service))
        });
        Read {
            ingress,
            key,
            options: Arc::new(options),
            users,
            judge,
            authority,
        }
    }

    fn add_canary(&mut self, read: &Read<'_>) {
        for (host, path) in paths(read.ingress) {
            let place = (host.to_owned(), path.path.clone().unwrap_or_default());
            let canary = (
                Arc::clone(&read.options),
                read.key.clone(),
                path.backend.clone(),
            );
            self.canaries.entry(place).or_insert(canary);
        }
    }

    fn add_rules(&mut self, read: &Read<'_>) {
        for rule in rules(read.ingress) {
            let host = host(rule);
            let mut names = vec![host.clone()];
            if !host.is_empty() {
                names.extend(read.options.aliases.iter().cloned());
            }
            for name in &names {
                // A host without paths is known all the same: its requests go to the default backend.
                self.compiled.table.host_mut(name);
            }
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let Some(route) = self.route(read, &host, path) else {
                    continue;
                };
                let route = Arc::new(route);
                for name in &names {
                    self.add_route(name, &route);
                }
            }
            if read.options.www_redirect && !host.is_empty() && !host.starts_with("*.") {
                let other = match host.strip_prefix("www.") {
                    Some(bare) => bare.to_owned(),
                    None => format!("www.{host}"),
                };
                self.compiled.table.set_moved(other, host);
            }
        }
    }

    fn add_route(&mut self, host: &str, route: &Arc<Route>) {
        if !self.compiled.table.host_mut(host).add(Arc::clone(route)) {
            let shown = if host.is_empty() { "*" } else { host };
            let message = format!(
                "host {shown:?} and path {:?} are already served by an older Ingress",
                route.path
            );
            self.tell(&route.ingress, message);
        }
    }

    fn route(&mut self, read: &Read<'_>, host: &str, rule: &HTTPIngressPath) -> Option<Route> {
        let path = rule
            .path
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/");
        let matcher = match matcher(path, &rule.path_type, &read.options) {
            Ok(matcher) => matcher,
            Err(why) => {
                self.tell(&read.key, why);
                return None;
            }
        };
        let pattern = match &matcher {
            Matcher::Pattern(pattern) => Some(pattern.clone()),
            _ => None,
        };
        let target = read.options.rewrite_target.as_deref();
        let place = (host.to_owned(), rule.path.clone().unwrap_or_default());
        let canary = self.canaries.get(&place).cloned();
        Some(Route {
            rewrite: target.map(|target| Rewrite::new(target, pattern)),
            path: path.to_owned(),
            matcher,
            has_tls: self.secured.contains(host) || self.has_secured_parent(host),
            backend: self.backend(read, &rule.backend),
            canary: canary.map(|(options, key, backend)| {
                let backend = self.service(&key, &backend, &options);
                (options, backend)
            }),
            ingress: read.key.clone(),
            options: Arc::clone(&read.options),
            users: read.users.clone(),
            judge: read.judge.clone(),
            authority: read.authority.clone(),
        })
    }

    fn has_secured_parent(&self, host: &str) -> bool {
        let parent = host
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        parent.is_some_and(|parent| self.secured.contains(&parent))
    }

    fn add_default(&mut self, read: &Read<'_>) {
        let spec = read.ingress.spec.as_ref();
        let Some(backend) = spec.and_then(|spec| spec.default_backend.as_ref()) else {
            return;
        };
        let hosts: Vec<String> = rules(read.ingress).iter().map(host).collect();
        let backend = self.backend(read, backend);
        let route = Arc::new(Route {
            ingress: read.key.clone(),
            path: "/".to_owned(),
            matcher: Matcher::Prefix,
            rewrite: None,
            options: Arc::clone(&read.options),
            users: read.users.clone(),
            judge: read.judge.clone(),
            authority: read.authority.clone(),
            has_tls: false,
            backend,
            canary: None,
        });
        for name in hosts.iter().filter(|host| !host.is_empty()) {
            let host: &mut Host = self.compiled.table.host_mut(name);
            host.default.get_or_insert_with(|| Arc::clone(&route));
        }
        self.compiled.table.set_default(route);
    }

    /// The rule's backend; the one of the annotation `default-backend` when it has no endpoints.
    fn backend(&mut self, read: &Read<'_>, backend: &IngressBackend) -> Backend {
        let own = self.service(&read.key, backend, &read.options);
        let Some(name) = read
            .options
            .default_backend
            .as_deref()
            .filter(|_| own.endpoints.is_empty())
        else {
            return own;
        };
        let key = Key::new(&*read.key.namespace, name);
        let first = self.objects.services.get(&key).and_then(|service| {
            let port = service.spec.as_ref()?.ports.as_ref()?.first()?.port;
            Some(ServiceBackendPort {
                number: Some(port),
                name: None,
            })
        });
        first.map_or(own, |port| {
            self.endpoints(&read.key, &key, &port, &read.options)
        })
    }

    fn service(&mut self, ingress: &Key, backend: &IngressBackend, options: &Options) -> Backend {
        let Some(service) = &backend.service else {
            self.tell(
                ingress,
                "a resource as backend is not supported: requests are answered with 503".to_owned(),
            );
            return Backend::default();
        };
        let key = Key::new(&*ingress.namespace, &*service.name);
        let port = service.port.clone().unwrap_or_default();
        self.endpoints(ingress, &key, &port, options)
    }

    fn endpoints(
        &mut self,
        ingress: &Key,
        key: &Key,
        wanted: &ServiceBackendPort,
        options: &Options,
    ) -> Backend {
        let named = wanted.name.clone().filter(|name| !name.is_empty());
        let number = || {
            wanted
                .number
                .map(|number| number.to_string())
                .unwrap_or_default()
        };
        let name = format!("{key}:{}", named.unwrap_or_else(number));
        // A Service that is not there yet is no mistake: `kubectl describe` shows what is missing.
        let Some(service) = self.objects.services.get(key) else {
            return Backend::new(name, Vec::new());
        };
        let spec = service.spec.as_ref();
        if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
            let message = format!(
                "service {key} is an external name, which is not supported as backend: requests are answered with 503"
            );
            self.tell(ingress, message);
        }
        let Some(port) = endpoint::port(service, wanted) else {
            return Backend::new(name, Vec::new());
        };
        let none = Vec::new();
        let slices = self.slices.get(key).unwrap_or(&none);
        let endpoints: Vec<SocketAddr> = if options.service_upstream {
            endpoint::cluster_address(service, port)
                .into_iter()
                .collect()
        } else {
            endpoint::addresses(slices, port)
        };
        Backend::new(name, endpoints)
    }

    fn tell(&mut self, ingress: &Key, message: String) {
        let finding = Finding {
            ingress: ingress.clone(),
            message,
        };
        if !self.compiled.findings.contains(&finding) {
            self.compiled.findings.push(finding);
        }
    }
}

fn rules(ingress: &Ingress) -> &[IngressRule] {
    let spec = ingress.spec.as_ref();
    spec.and_then(|spec| spec.rules.as_deref())
        .unwrap_or_default()
}

fn host(rule: &IngressRule) -> String {
    rule.host.as_deref().unwrap_or_default().to_lowercase()
}

fn paths(ingress: &Ingress) -> impl Iterator<Item = (String, &HTTPIngressPath)> {
    rules(ingress).iter().flat_map(|rule| {
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        paths.map(|path| (host(rule), path))
    })
}

/// As nginx compares paths once an Ingress rewrites or says so: as expressions, without regard to case.
fn matcher(path: &str, kind: &str, options: &Options) -> Result<Matcher, String> {
    let is_expression = options.use_regex || options.rewrite_target.is_some();
    let is_plain = !path.contains(|c: char| r"\^$*+?()[]{}|".contains(c));
    match kind {
        "Exact" if !options.use_regex => Ok(Matcher::Exact),
        "Prefix" if !is_expression || is_plain => Ok(Matcher::Prefix),
        _ if !is_expression => Ok(Matcher::Start),
        _ => pattern(path).map(Matcher::Pattern),
    }
}

fn pattern(path: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(&format!("^{path}"))
        .case_insensitive(true)
        .size_limit(PATTERN_BYTES_MAX)
        .build();
    built.map_err(|_| {
        format!("path {path:?} is not a regular expression that is supported: it is not served")
    })
}

fn secured_hosts(served: &[Arc<Ingress>]) -> HashSet<String> {
    let entries = served.iter().flat_map(|ingress| {
        certificate::tls(ingress)
            .iter()
            .map(move |tls| (ingress, tls))
    });
    entries
        .flat_map(|(ingress, tls)| certificate::hosts(ingress, tls))
        .collect()
}

fn slices_by_service(slices: &Snapshot<EndpointSlice>) -> HashMap<Key, Vec<&EndpointSlice>> {
    let mut all: HashMap<Key, Vec<&EndpointSlice>> = HashMap::new();
    for (key, slice) in slices.iter() {
        let labels = slice.metadata.labels.as_ref();
        if let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) {
            let of_service = all
                .entry(Key::new(&*key.namespace, &**service))
                .or_default();
            of_service.push(slice);
        }
    }
    all
}

#[cfg(test)]
mod tests;
