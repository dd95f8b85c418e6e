//! What one pod offers to one service: addresses and ports.

use super::super::pods;
use crate::api::object::Object;
use k8s_openapi::{
    api::core::v1::{Container, Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::net::IpAddr;

/// A port behind a service port, as both kinds of objects tell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    pub name: String,
    pub number: i32,
    pub protocol: String,
    pub app_protocol: Option<String>,
}

/// The pod could receive traffic: it has an address and has not ended.
pub fn is_candidate(pod: &Pod) -> bool {
    !pods::is_terminal(pod) && !addresses(pod).is_empty()
}

/// The pod's addresses, first the main one.
pub fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut all: Vec<IpAddr> = listed.filter_map(|ip| ip.parse().ok()).collect();
    if all.is_empty() {
        all.extend(
            status
                .pod_ip
                .as_ref()
                .and_then(|ip| ip.parse::<IpAddr>().ok()),
        );
    }
    all
}

/// The name by which DNS knows the pod under this service.
pub fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let is_in = spec.subdomain.as_deref() == Some(service.key().name.as_str());
    spec.hostname
        .clone()
        .filter(|name| is_in && !name.is_empty())
}

/// Ports that the pod has for the service; a name that none of its containers bears is left out.
pub fn ports(pod: &Pod, service: &Service) -> Vec<Port> {
    let spec = service.spec.as_ref();
    let wanted = spec
        .and_then(|spec| spec.ports.as_ref())
        .into_iter()
        .flatten();
    let mut ports: Vec<Port> = wanted
        .filter_map(|port| {
            Some(Port {
                name: port.name.clone().unwrap_or_default(),
                number: number(pod, port)?,
                protocol: protocol(port.protocol.as_ref()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort();
    ports
}

fn number(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            // A restartable init container is a sidecar: it serves as long as the pod lives.
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
            let mut containers = spec.containers.iter().chain(sidecars);
            containers
                .find_map(|container| named(container, name, &protocol(port.protocol.as_ref())))
        }
    }
}

fn named(container: &Container, name: &str, wanted: &str) -> Option<i32> {
    let mut ports = container.ports.iter().flatten();
    let found = ports.find(|port| {
        port.name.as_deref() == Some(name) && protocol(port.protocol.as_ref()) == wanted
    });
    found.map(|port| port.container_port)
}

fn protocol(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "TCP".to_owned())
}
