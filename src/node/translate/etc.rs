//! The texts of `/etc/hosts` and `/etc/resolv.conf`, and the names a pod answers to.
//!
//! Pure: the host's own files come in as text.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use std::net::Ipv4Addr;

/// The kernel's limit of a host name.
const HOSTNAME_MAX: usize = 63;
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

/// Host name and domain of a pod.
#[must_use]
pub fn names(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod.spec.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    if let Some(name) = spec.hostname_override.filter(|name| !name.is_empty()) {
        return (name, String::new());
    }
    let host = spec
        .hostname
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| {
            let mut name = name;
            name.truncate(HOSTNAME_MAX);
            name.trim_end_matches(['-', '.']).to_owned()
        });
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = spec
        .subdomain
        .filter(|subdomain| !subdomain.is_empty())
        .map(|subdomain| format!("{subdomain}.{namespace}.svc.{cluster_domain}"));
    (host, domain.unwrap_or_default())
}

/// What `hostname` prints inside the pod.
#[must_use]
pub fn hostname(spec: &PodSpec, host: &str, domain: &str) -> String {
    if spec.set_hostname_as_fqdn == Some(true) && !domain.is_empty() {
        format!("{host}.{domain}")
    } else {
        host.to_owned()
    }
}

/// `/etc/hosts` of a pod with its own network.
#[must_use]
pub fn hosts(spec: &PodSpec, address: Ipv4Addr, host: &str, domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let line = match domain {
        "" => format!("{address}\t{host}\n"),
        domain => format!("{address}\t{host}.{domain}\t{host}\n"),
    };
    text.push_str(&line);
    text.push_str(&aliases(spec));
    text
}

/// `/etc/hosts` of a pod in the host's network.
#[must_use]
pub fn host_network_hosts(spec: &PodSpec, hosts: &str) -> String {
    let aliases = aliases(spec);
    format!("# Kubernetes-managed hosts file (host network).\n{hosts}{aliases}")
}

fn aliases(spec: &PodSpec) -> String {
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

/// The parts of a resolver configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolver {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    #[must_use]
    pub fn parse(text: &str) -> Resolver {
        let mut resolver = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let words = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => resolver.nameservers.extend(words.take(1)),
                // The last `search` line counts.
                Some("search" | "domain") => resolver.searches = words.collect(),
                Some("options") => resolver.options = words.collect(),
                _ => {}
            }
        }
        resolver.searches.retain(|search| search != ".");
        resolver
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// The resolver configuration of a pod, by `dnsPolicy` and `dnsConfig`.
#[must_use]
pub fn resolver(
    spec: &PodSpec,
    namespace: &str,
    domain: &str,
    dns: Ipv4Addr,
    host: &Resolver,
) -> Resolver {
    let is_host_network = spec.host_network == Some(true);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let mut resolver = match policy {
        "None" => Resolver::default(),
        "ClusterFirstWithHostNet" => cluster(namespace, domain, dns, host),
        "ClusterFirst" if !is_host_network => cluster(namespace, domain, dns, host),
        _ => host.clone(),
    };
    if let Some(config) = &spec.dns_config {
        resolver
            .nameservers
            .extend(config.nameservers.clone().unwrap_or_default());
        resolver
            .searches
            .extend(config.searches.clone().unwrap_or_default());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            resolver
                .options
                .retain(|old| old.split(':').next() != Some(name.as_str()));
            resolver.options.push(match option.value.as_deref() {
                None | Some("") => name,
                Some(value) => format!("{name}:{value}"),
            });
        }
    }
    limit(resolver)
}

fn cluster(namespace: &str, domain: &str, dns: Ipv4Addr, host: &Resolver) -> Resolver {
    let mut searches = vec![
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.to_owned(),
    ];
    searches.extend(host.searches.iter().cloned());
    Resolver {
        nameservers: vec![dns.to_string()],
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

/// Without repetitions and within what resolvers accept.
fn limit(mut resolver: Resolver) -> Resolver {
    for list in [&mut resolver.nameservers, &mut resolver.searches] {
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|entry| seen.insert(entry.clone()));
    }
    resolver.nameservers.truncate(NAMESERVERS_MAX);
    resolver.searches.truncate(SEARCHES_MAX);
    while resolver.searches.join(" ").len() > SEARCH_CHARS_MAX {
        resolver.searches.pop();
    }
    resolver
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"}});
        pod["spec"] = spec;
        pod["spec"]["containers"] = json!([]);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn policies() {
        let host =
            Resolver::parse("# x\nnameserver 8.8.8.8\nsearch corp.example\noptions rotate\n");
        let cluster = "search n.svc.cluster.local svc.cluster.local cluster.local corp.example\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";
        let own = "search corp.example\nnameserver 8.8.8.8\noptions rotate\n";
        let config = json!({"nameservers": ["1.1.1.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        let none = "search a.b\nnameserver 1.1.1.1\noptions ndots:2 edns0\n";
        let merged = "search n.svc.cluster.local svc.cluster.local cluster.local corp.example a.b\n\
                      nameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:2 edns0\n";
        #[rustfmt::skip]
        let cases = [
            (json!({}), cluster),
            (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), own),
            (json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), cluster),
            (json!({"dnsPolicy": "Default"}), own),
            (json!({"dnsPolicy": "None", "dnsConfig": config}), none),
            (json!({"dnsConfig": config}), merged),
        ];
        for (spec, expected) in cases {
            let pod = pod(spec.clone());
            let spec_of = pod.spec.as_ref().unwrap();
            let dns = Ipv4Addr::new(10, 96, 0, 10);
            let resolver = resolver(spec_of, "n", "cluster.local", dns, &host);
            assert_eq!(resolver.text(), expected, "{spec}");
        }
    }

    #[test]
    fn names_and_hosts() {
        let address = Ipv4Addr::new(10, 244, 0, 9);
        let pod = pod(json!({"subdomain": "sub", "setHostnameAsFQDN": true,
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
        let spec = pod.spec.as_ref().unwrap();
        let (host, domain) = names(&pod, "cluster.local");
        assert_eq!(
            (host.as_str(), domain.as_str()),
            ("p", "sub.n.svc.cluster.local")
        );
        assert_eq!(hostname(spec, &host, &domain), "p.sub.n.svc.cluster.local");
        let hosts = hosts(spec, address, &host, &domain);
        assert!(hosts.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        let end = "10.244.0.9\tp.sub.n.svc.cluster.local\tp\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n";
        assert!(hosts.ends_with(end), "{hosts}");
        let mut long = pod;
        long.metadata.name = Some("x".repeat(80));
        assert_eq!(names(&long, "c").0.len(), 63);
    }
}
