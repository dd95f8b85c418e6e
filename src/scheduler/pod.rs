//! A pod as the scheduler sees it: what it asks for, worked out once per version of the object.

use super::affinity::{Term, terms};
use crate::api::{name::Key, object::Object, quantity::Quantity};
use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource,
};
use std::{collections::BTreeMap, sync::Arc};

/// CPU in thousandths, everything else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, i64>);

impl Amounts {
    pub fn of(list: Option<&BTreeMap<String, resource::Quantity>>) -> Amounts {
        let amount = |(name, text): (&String, &resource::Quantity)| {
            let quantity = Quantity::parse(&text.0).ok()?;
            let amount = match name.as_str() {
                "cpu" => quantity.milli(),
                _ => quantity.units(),
            };
            Some((name.clone(), amount))
        };
        Amounts(list.into_iter().flatten().filter_map(amount).collect())
    }

    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    pub fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.to_owned(), amount);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub fn add(&mut self, other: &Amounts) {
        for (name, amount) in other.iter() {
            let mine = self.0.entry(name.to_owned()).or_default();
            *mine = mine.saturating_add(amount);
        }
    }

    pub fn subtract(&mut self, other: &Amounts) {
        for (name, amount) in other.iter() {
            let mine = self.0.entry(name.to_owned()).or_default();
            *mine = mine.saturating_sub(amount);
        }
    }

    fn raise_to(&mut self, other: &Amounts) {
        for (name, amount) in other.iter() {
            let mine = self.0.entry(name.to_owned()).or_default();
            *mine = (*mine).max(amount);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Empty for every address.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let overlaps = self.ip.is_empty() || other.ip.is_empty() || self.ip == other.ip;
        overlaps && self.port == other.port && self.protocol == other.protocol
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    /// Made for this pod by the ephemeral volume controller.
    pub is_ephemeral: bool,
}

#[derive(Clone, Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub key: Key,
    pub priority: i32,
    pub requests: Amounts,
    /// CPU and memory for scoring: containers that ask for nothing count as 100m and 200Mi.
    pub weight: (i64, i64),
    pub ports: Vec<HostPort>,
    pub claims: Vec<Claim>,
    pub affinity: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    /// Anti-affinity has negative weights.
    pub preferences: Vec<(i64, Term)>,
}

const CPU_ASSUMED: i64 = 100;
const MEMORY_ASSUMED: i64 = 200 << 20;

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> PodInfo {
        let spec = pod.spec.clone().unwrap_or_default();
        let terms = terms(&pod, &spec);
        PodInfo {
            key: pod.key(),
            priority: spec.priority.unwrap_or_default(),
            requests: requests(&pod, &spec),
            weight: weight(&pod, &spec),
            ports: ports(&spec),
            claims: claims(&pod, &spec),
            affinity: terms.required,
            anti_affinity: terms.forbidden,
            preferences: terms.preferred,
            pod,
        }
    }

    pub fn uid(&self) -> &str {
        Object::uid(self.pod.as_ref())
    }

    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// A node that victims were removed from for this pod.
    pub fn nominated_node(&self) -> Option<&str> {
        let status = self.pod.status.as_ref()?;
        let node = status.nominated_node_name.as_deref()?;
        (!node.is_empty()).then_some(node)
    }
}

/// The larger of what runs one after another and what runs together, and the overhead.
fn requests(pod: &Pod, spec: &PodSpec) -> Amounts {
    let mut together = Amounts::default();
    for container in &spec.containers {
        together.add(&container_requests(pod, container));
    }
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for container in spec.init_containers.iter().flatten() {
        let own = container_requests(pod, container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&own);
            peak.raise_to(&sidecars);
        } else {
            let mut alongside = sidecars.clone();
            alongside.add(&own);
            peak.raise_to(&alongside);
        }
    }
    together.add(&sidecars);
    together.raise_to(&peak);
    let whole = spec.resources.as_ref();
    for (name, amount) in Amounts::of(whole.and_then(|all| all.requests.as_ref())).iter() {
        together.set(name, amount);
    }
    together.add(&Amounts::of(spec.overhead.as_ref()));
    together
}

/// While a resize is under way, the largest of what is wanted, granted and in use.
fn container_requests(pod: &Pod, container: &Container) -> Amounts {
    let wanted = container.resources.as_ref();
    let mut amounts = Amounts::of(wanted.and_then(|all| all.requests.as_ref()));
    let statuses = pod.status.as_ref().map(|status| {
        let main = status.container_statuses.iter().flatten();
        main.chain(status.init_container_statuses.iter().flatten())
    });
    let mut statuses = statuses.into_iter().flatten();
    if let Some(status) = statuses.find(|status| status.name == container.name) {
        amounts.raise_to(&Amounts::of(status.allocated_resources.as_ref()));
        let used: Option<&ResourceRequirements> = status.resources.as_ref();
        amounts.raise_to(&Amounts::of(used.and_then(|all| all.requests.as_ref())));
    }
    amounts
}

fn weight(pod: &Pod, spec: &PodSpec) -> (i64, i64) {
    let all = requests(pod, spec);
    let mut weight = (all.get("cpu"), all.get("memory"));
    for container in &spec.containers {
        let own = container_requests(pod, container);
        if own.get("cpu") == 0 {
            weight.0 += CPU_ASSUMED;
        }
        if own.get("memory") == 0 {
            weight.1 += MEMORY_ASSUMED;
        }
    }
    weight
}

fn ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars);
    ports
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.filter(|&port| port > 0)?;
            let ip = port.host_ip.clone().unwrap_or_default();
            Some(HostPort {
                ip: if ip == "0.0.0.0" { String::new() } else { ip },
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: number,
            })
        })
        .collect()
}

fn claims(pod: &Pod, spec: &PodSpec) -> Vec<Claim> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    volumes
        .filter_map(|volume| {
            if let Some(claim) = &volume.persistent_volume_claim {
                return Some(Claim {
                    name: claim.claim_name.clone(),
                    is_ephemeral: false,
                });
            }
            volume.ephemeral.as_ref().map(|_| Claim {
                name: format!("{pod_name}-{}", volume.name),
                is_ephemeral: true,
            })
        })
        .collect()
}
