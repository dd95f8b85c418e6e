//! The cluster's names: what each Service contributes, found by name and by address. Pure data.
//!
//! Kept up to date one Service at a time; a query touches one entry, however many there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

/// Lower-case labels, as they stand in names.
pub type ServiceName = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Empty for the only port of a Service.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    pub number: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's hostname, else its address with dashes.
    pub label: String,
    pub address: Ipv4Addr,
    pub ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Cluster(Ipv4Addr),
    Headless,
    /// Another name, as the Service gives it.
    External(String),
}

/// What one Service contributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// Of the Service itself.
    pub ports: Vec<Port>,
    /// Ready ones, or all of them if the Service publishes those that are not.
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
pub struct Zone {
    /// Labels of `cluster.local`.
    pub domain: Vec<String>,
    /// Where the cluster's name server is: the address of `ns.dns.cluster.local`.
    pub server: Ipv4Addr,
    /// Answers are complete; until then the server says that it cannot tell.
    pub is_complete: bool,
    services: BTreeMap<ServiceName, Entry>,
    /// Labels before the domain, per address.
    reverse: HashMap<Ipv4Addr, BTreeSet<Vec<String>>>,
}

impl Zone {
    #[must_use]
    pub fn new(domain: &str, server: Ipv4Addr) -> Zone {
        let labels = domain.split('.').filter(|label| !label.is_empty());
        Zone {
            domain: labels.map(str::to_ascii_lowercase).collect(),
            server,
            is_complete: false,
            services: BTreeMap::new(),
            reverse: HashMap::new(),
        }
    }

    /// Replaces what a Service contributes; `None` removes it.
    pub fn set(&mut self, service: ServiceName, entry: Option<Entry>) {
        if let Some(old) = self.services.remove(&service) {
            for (address, name) in reverse(&service, &old) {
                if let Some(names) = self.reverse.get_mut(&address) {
                    names.remove(&name);
                    if names.is_empty() {
                        self.reverse.remove(&address);
                    }
                }
            }
        }
        if let Some(entry) = entry {
            for (address, name) in reverse(&service, &entry) {
                self.reverse.entry(address).or_default().insert(name);
            }
            self.services.insert(service, entry);
        }
    }

    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Entry> {
        let key = (namespace.to_owned(), name.to_owned());
        self.services.get(&key)
    }

    /// Whether a namespace has any Service.
    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        let start = (namespace.to_owned(), String::new());
        let next = self.services.range(start..).next();
        next.is_some_and(|((found, _), _)| found == namespace)
    }

    /// Whether a name stands for pods by their address.
    #[must_use]
    pub fn is_of_pods(&self, name: &[String]) -> bool {
        let inside = name.len().checked_sub(self.domain.len());
        inside.is_some_and(|inside| {
            name[inside..] == self.domain && name[..inside].last().is_some_and(|last| last == "pod")
        })
    }

    /// The names of an address, without the domain.
    pub fn names(&self, address: Ipv4Addr) -> impl Iterator<Item = &Vec<String>> {
        self.reverse.get(&address).into_iter().flatten()
    }
}

fn reverse((namespace, service): &ServiceName, entry: &Entry) -> Vec<(Ipv4Addr, Vec<String>)> {
    let name = |first: Option<&str>| {
        let rest = [service.as_str(), namespace, "svc"];
        first.into_iter().chain(rest).map(str::to_owned).collect()
    };
    let endpoints = entry.endpoints.iter();
    let mut all: Vec<(Ipv4Addr, Vec<String>)> = endpoints
        .map(|one| (one.address, name(Some(&one.label))))
        .collect();
    if let Kind::Cluster(address) = entry.kind {
        all.push((address, name(None)));
    }
    all
}
