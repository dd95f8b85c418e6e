//! The sandbox of a pod: checked, made with its network and its files in `/etc`, removed again.
//!
//! Each act is safe to repeat. Containers are [`super::act`]'s.

use super::{
    host::Host,
    spec,
    translate::{self, etc},
};
use crate::{
    api::{name::Key, object::Object},
    net::{
        model::{Attach, HostPort},
        rules::Protocol,
    },
    task::Tasks,
};
use anyhow::{Context, bail, ensure};
use k8s_openapi::api::{
    core::v1::{Pod, PodSpec},
    node::v1::RuntimeClass,
};
use std::{fs, io, net::Ipv4Addr, path::PathBuf};

/// The handlers of RuntimeClasses that this node has. All name the one runtime: none, what most clusters call theirs,
/// and our own name.
pub const HANDLERS: &[&str] = &["", "runc", "kubik"];

/// Sandbox, network, and the files in `/etc` that name the pod. Answers the pod's address.
pub async fn create(host: &Host, pod: &Pod) -> anyhow::Result<Ipv4Addr> {
    let _turn = host.starts.acquire().await?;
    let spec = spec::of(pod);
    let facts = host.facts(pod, None);
    check_hostname(&facts.hostname)?;
    let handler = handler(host, &spec).await?;
    check_handler(&spec, &handler)?;
    let place = host.place(pod);
    let directories = [place.log_dir.clone(), place.data_dir.clone()];
    let made = Tasks::blocking(move || directories.iter().try_for_each(fs::create_dir_all));
    made.await??;
    let request = translate::sandbox(pod, &place, &facts.hostname);
    let id = request.id.clone();
    let sandbox = host.runtime.create_sandbox(request).await?;
    let address = if spec.host_network == Some(true) {
        host.address()
    } else {
        let attach = Attach {
            sandbox: id,
            netns: sandbox.netns,
            range: host.config.pod_cidr,
            address: None,
            host_ports: host_ports(&spec),
        };
        let attached = host.network.attach(attach).await;
        attached
            .context("failed to setup network for sandbox")?
            .address
    };
    write_etc(host, pod, address, &facts.hostname).await?;
    Ok(address)
}

/// The kernel's limit; only a name with its domain can be longer.
fn check_hostname(name: &str) -> anyhow::Result<()> {
    const NAME_MAX: usize = 64;
    let length = name.len();
    ensure!(
        length <= NAME_MAX,
        "failed to construct FQDN from Pod hostname and cluster domain, FQDN {name} is too long ({NAME_MAX} characters is the max, {length} characters requested)"
    );
    Ok(())
}

/// The handler of the pod's RuntimeClass; empty without one.
async fn handler(host: &Host, spec: &PodSpec) -> anyhow::Result<String> {
    let name = spec.runtime_class_name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Ok(String::new());
    }
    let class = host.client.get::<RuntimeClass>(&Key::new("", name)).await;
    Ok(class?.handler)
}

/// There is one runtime, and it has no user namespaces.
fn check_handler(spec: &PodSpec, handler: &str) -> anyhow::Result<()> {
    ensure!(
        HANDLERS.contains(&handler),
        "failed to get sandbox runtime: no runtime for \"{handler}\" is configured"
    );
    if spec.host_users == Some(false) {
        match handler {
            "" => {
                bail!("can't set `spec.hostUsers: false`, runtime does not support user namespaces")
            }
            handler => bail!(
                "can't set `spec.hostUsers: false`, RuntimeClass handler \"{handler}\" does not support user namespaces"
            ),
        }
    }
    Ok(())
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let containers = spec::containers(spec);
    let ports = containers
        .iter()
        .flat_map(|wanted| wanted.container.ports.iter().flatten());
    let number = |port: i32| u16::try_from(port).ok().filter(|&port| port > 0);
    ports
        .filter_map(|port| {
            Some(HostPort {
                host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
                protocol: match port.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    _ => Protocol::Tcp,
                },
                host_port: number(port.host_port?)?,
                container_port: number(port.container_port)?,
            })
        })
        .collect()
}

/// `hosts`, `resolv.conf` and `hostname`, once per sandbox.
async fn write_etc(
    host: &Host,
    pod: &Pod,
    address: Ipv4Addr,
    hostname: &str,
) -> anyhow::Result<()> {
    let spec = spec::of(pod).into_owned();
    let directory = etc_directory(host, pod);
    let (name, domain) = etc::names(pod, &host.cluster.cluster_domain);
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let cluster = host.cluster.clone();
    let hostname = format!("{hostname}\n");
    let work = move || -> io::Result<()> {
        fs::create_dir_all(&directory)?;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let hosts = if spec.host_network == Some(true) {
            etc::host_network_hosts(&spec, &read("/etc/hosts"))
        } else {
            etc::hosts(&spec, address, &name, &domain)
        };
        let of_host = etc::Resolver::parse(&read("/etc/resolv.conf"));
        let domain = &cluster.cluster_domain;
        let dns = cluster.dns_service_ip();
        let resolver = etc::resolver(&spec, &namespace, domain, dns, &of_host);
        fs::write(directory.join("hosts"), hosts)?;
        fs::write(directory.join("resolv.conf"), resolver.text())?;
        fs::write(directory.join("hostname"), hostname)
    };
    Ok(Tasks::blocking(work).await??)
}

pub fn etc_directory(host: &Host, pod: &Pod) -> PathBuf {
    host.layout.pod(pod.uid()).join("etc")
}

/// Kills what is left of the sandbox and frees its address.
pub async fn remove(host: &Host, uid: &str) -> anyhow::Result<()> {
    let removed = host.runtime.remove_sandbox(uid).await;
    // Not before: an address is given to the next pod as soon as it is free.
    let detached = host.network.detach(uid).await;
    removed?;
    detached?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_runtime_that_is_not_here_is_refused() {
        #[rustfmt::skip]
        let cases = [
            ("", None, ""),
            ("runc", Some(true), ""),
            ("gvisor", None, "failed to get sandbox runtime: no runtime for \"gvisor\" is configured"),
            ("", Some(false), "can't set `spec.hostUsers: false`, runtime does not support user namespaces"),
            ("runc", Some(false), "can't set `spec.hostUsers: false`, RuntimeClass handler \"runc\" does not support user namespaces"),
        ];
        for (handler, users, expected) in cases {
            let spec = json!({"containers": [], "hostUsers": users});
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            let failure = check_handler(&spec, handler).err();
            let text = failure.map(|failure| failure.to_string());
            assert_eq!(text.unwrap_or_default(), expected, "{handler} {users:?}");
        }
    }

    #[test]
    fn a_host_name_fits_the_kernel() {
        assert!(check_hostname(&"a".repeat(64)).is_ok());
        let failure = check_hostname(&"a".repeat(65)).unwrap_err().to_string();
        assert!(
            failure.ends_with("is too long (64 characters is the max, 65 characters requested)")
        );
    }
}
