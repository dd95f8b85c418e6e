//! The configuration a cluster is started with: chosen at its first start, completed at later ones.

use super::{
    args::StartOptions,
    failure::{Failure, for_profile},
    place, screen,
};
use crate::{
    config::{ClusterConfig, Layout, plan_cluster},
    runtime::image::certificates,
};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

const FIRST_API_PORT: u16 = 8443;
/// Where Docker's users expect a local registry.
const FIRST_REGISTRY_PORT: u16 = 5000;

/// Saves (or loads) the cluster's configuration. Locked, so that two starts do not choose the same slot.
pub fn prepare(profile: &str, options: &StartOptions) -> Result<(Layout, ClusterConfig), Failure> {
    let _guard = place::lock()?;
    let layout = place::wanted_layout(profile, options.ephemeral);
    let others: Vec<ClusterConfig> = place::profiles()
        .iter()
        .filter(|name| *name != profile)
        .filter_map(|name| place::load(&place::layout(name)))
        .collect();
    if let Some(mut config) = place::read(&layout)? {
        refuse_changes(&config, options)?;
        move_api(&mut config, &others)?;
        amend(&mut config, options, &others)?;
        save(&layout, &config)?;
        return Ok((layout, config));
    }
    let slot = free_slot(&others).ok_or_else(|| {
        Failure::new(
            "RSRC_NO_SUBNET",
            21,
            "all 64 subnets for clusters are taken on this machine",
        )
        .advise("Delete a cluster you no longer need: kubik profile list")
    })?;
    let port = api_port(options.api_port, &others)?;
    let mut config = plan_cluster(profile, slot, port, options.ephemeral);
    config.host_name = place::host_name(profile);
    if let Some(domain) = &options.dns_domain {
        config.cluster_domain.clone_from(domain);
    }
    amend(&mut config, options, &others)?;
    config.add_nodes(options.nodes.unwrap_or(1));
    save(&layout, &config)?;
    Ok((layout, config))
}

/// Somebody took the port while the cluster was stopped. Its kubeconfig is written anew by every start.
fn move_api(config: &mut ClusterConfig, others: &[ClusterConfig]) -> Result<(), Failure> {
    if is_free(config.api_port) {
        return Ok(());
    }
    let port = api_port(None, others)?;
    screen::note(&format!(
        "port {} is in use by another program; the API listens on {port} from now on",
        config.api_port
    ));
    config.api_port = port;
    Ok(())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn save(layout: &Layout, config: &ClusterConfig) -> Result<(), Failure> {
    place::save(layout, config)
        .map_err(|e| Failure::host(&layout.config().display().to_string(), &e))
}

/// What may be given again at a later start: it adds to what the cluster has.
pub fn amend(
    config: &mut ClusterConfig,
    options: &StartOptions,
    others: &[ClusterConfig],
) -> Result<(), Failure> {
    for mirror in &options.registry_mirror {
        let (host, address) = split_mirror(mirror);
        let known = config.registry_mirrors.entry(host.to_owned()).or_default();
        if known.iter().all(|other| other != address) {
            known.push(address.to_owned());
        }
    }
    config
        .insecure_registries
        .extend(options.insecure_registry.iter().cloned());
    for text in &options.extra_config {
        // What is wrong with it, or has no meaning here, was said before.
        let _ = config.kubelet.set(text);
    }
    if let Some(port) = options.ingress_http_port {
        config.ingress.http_port = port;
    }
    if let Some(port) = options.ingress_https_port {
        config.ingress.https_port = port;
    }
    if !options.ingress_listen.is_empty() {
        let addresses = options.ingress_listen.iter();
        config.ingress.listen = addresses.filter_map(|listen| listen.0).collect();
    }
    for file in &options.registry_ca {
        let text = authority(file)?;
        if !config.registry_authorities.contains(&text) {
            config.registry_authorities.push(text);
        }
    }
    for name in &options.addons {
        super::addons::named(name, true)?;
        config.addons.insert(name.clone(), true);
    }
    if config.registry_port == 0 || options.registry_port.is_some() {
        config.registry_port = registry_port(options.registry_port, config.api_port, others)?;
    }
    Ok(())
}

fn authority(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::host(&format!("read {}", file.display()), &e))?;
    if certificates(text.as_bytes()).is_empty() {
        let why = format!("{} holds no certificate in PEM form", file.display());
        return Err(Failure::new("HOST_CERTIFICATE", 38, why)
            .advise("Give the file of the authority that signed the registry's certificate."));
    }
    Ok(text)
}

/// A port that was asked for is believed: the daemon says if it cannot have it.
fn registry_port(
    wanted: Option<u16>,
    api_port: u16,
    others: &[ClusterConfig],
) -> Result<u16, Failure> {
    let unused = |port: u16| {
        port != api_port
            && others
                .iter()
                .all(|other| ![other.registry_port, other.api_port].contains(&port))
    };
    let mut ports = FIRST_REGISTRY_PORT..u16::MAX;
    wanted
        .or_else(|| ports.find(|&port| unused(port) && is_free(port)))
        .ok_or_else(|| Failure::new("IF_PORT_IN_USE", 71, "no port is free for the registry"))
}

/// `HOST=URL`; without a host it is Docker's own registry that is mirrored.
fn split_mirror(text: &str) -> (&str, &str) {
    match text.split_once('=') {
        Some((host, address)) if !host.contains('/') => (host, address),
        _ => ("docker.io", text),
    }
}

pub fn refuse_changes(config: &ClusterConfig, options: &StartOptions) -> Result<(), Failure> {
    let nodes = options.nodes.map(usize::from);
    let changed = match () {
        () if nodes.is_some_and(|n| n != config.nodes.len()) => "--nodes",
        () if options
            .dns_domain
            .as_ref()
            .is_some_and(|d| *d != config.cluster_domain) =>
        {
            "--dns-domain"
        }
        () if options.ephemeral && !config.ephemeral => "--ephemeral",
        () if options.api_port.is_some_and(|port| port != config.api_port) => "--api-port",
        () => return Ok(()),
    };
    let why = format!(
        "the cluster \"{}\" exists with another {changed}",
        config.profile
    );
    let profile = for_profile(&config.profile);
    let again = match changed {
        "--nodes" => {
            format!("Change it with: kubik node add{profile}, kubik node delete{profile} NAME")
        }
        _ => format!("Delete it first: kubik delete{profile}"),
    };
    Err(Failure::new("MK_CONFIG", 18, why).advise(again))
}

fn free_slot(others: &[ClusterConfig]) -> Option<u8> {
    let addresses = local_addresses();
    (0..64u8).find(|&slot| {
        let plan = plan_cluster("x", slot, 0, false);
        let taken = others.iter().any(|other| other.slot == slot);
        let linked = nix::net::if_::if_nametoindex(plan.bridge().as_str()).is_ok();
        let clash = addresses
            .iter()
            .any(|ip| plan.pod_cidr.contains(ip) || plan.service_cidr.contains(ip));
        !taken && !linked && !clash
    })
}

fn local_addresses() -> Vec<Ipv4Addr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|one| Some(one.address?.as_sockaddr_in()?.ip()))
        .collect()
}

fn api_port(wanted: Option<u16>, others: &[ClusterConfig]) -> Result<u16, Failure> {
    let unused = |port: u16| {
        let taken = |other: &ClusterConfig| [other.api_port, other.registry_port].contains(&port);
        !others.iter().any(taken)
    };
    match wanted {
        Some(port) if is_free(port) => Ok(port),
        Some(port) => Err(
            Failure::new("IF_PORT_IN_USE", 71, format!("port {port} is in use"))
                .advise("Choose another --api-port, or leave it out and kubik finds a free one."),
        ),
        None => (FIRST_API_PORT..u16::MAX)
            .find(|&port| unused(port) && is_free(port))
            .ok_or_else(|| {
                Failure::new("IF_PORT_IN_USE", 71, "no port is free for the API server")
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_cannot_silently_change_its_shape() {
        let mut config = plan_cluster("kubik", 0, 8443, false);
        config.add_nodes(1);
        let options = |nodes, api_port| StartOptions {
            nodes,
            api_port,
            ..StartOptions::default()
        };
        assert!(refuse_changes(&config, &options(None, None)).is_ok());
        assert!(refuse_changes(&config, &options(Some(1), Some(8443))).is_ok());
        assert_eq!(
            refuse_changes(&config, &options(Some(3), None))
                .unwrap_err()
                .code,
            18
        );
        assert_eq!(
            refuse_changes(&config, &options(None, Some(1)))
                .unwrap_err()
                .code,
            18
        );
    }
}
