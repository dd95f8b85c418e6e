//! Readings of what node, pods and containers have used, and the rates between two of them.
//!
//! Nothing is read unless somebody asks. The last reading is kept as the base of the next rate while it is young; an
//! older one would tell an average over minutes, so that a new base is read first, a moment before.

use super::traffic::{self, Traffic};
use crate::{
    api::{
        ApiError,
        object::Object,
        usage::{Amounts, NodeUsage, PodUsage},
    },
    node::{host::Host, machine, qos, spec, translate},
    runtime::model::{ContainerState, Resources, RuntimeError, SandboxInfo, SandboxStats, Usage},
    task::clock,
};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::{fs, sync::Arc, time::Duration};

/// Who asks again that soon gets the same answer: over less time rates say little.
const FRESH: SignedDuration = SignedDuration::from_secs(1);
/// A base older than this is no longer one. Longer than the period of autoscalers.
const STALE: SignedDuration = SignedDuration::from_secs(60);
/// How long to wait after a new base was read.
const FIRST_WINDOW: Duration = Duration::from_millis(500);

/// Counters at one moment.
pub struct Reading {
    pub at: Timestamp,
    pub node: Usage,
    /// Of the whole machine.
    pub cores: i64,
    pub memory_bytes: i64,
    pub pods: Vec<PodReading>,
}

pub struct PodReading {
    pub pod: Arc<Pod>,
    /// Path of its control group; those of its containers lie below, by id.
    pub group: String,
    pub stats: SandboxStats,
    /// Empty for pods in the host's network.
    pub traffic: Vec<Traffic>,
    /// Those that run, in the order of the pod's specification.
    pub containers: Vec<ContainerReading>,
}

pub struct ContainerReading {
    pub id: String,
    pub name: String,
    pub image: String,
    pub started_at: Timestamp,
    pub usage: Usage,
    /// What its control group allows.
    pub limits: Resources,
}

/// A reading and an earlier one.
pub struct Measured {
    pub now: Arc<Reading>,
    pub base: Arc<Reading>,
}

/// What one agent keeps between two questions.
#[derive(Default)]
pub struct Samples(tokio::sync::Mutex<Option<Measured>>);

impl Samples {
    /// Who comes while another is measuring waits, and gets the same.
    pub async fn measure(&self, host: &Host) -> Result<Measured, ApiError> {
        let mut kept = self.0.lock().await;
        let age = |kept: &Measured| clock::now().duration_since(kept.now.at);
        if let Some(kept) = kept.as_ref().filter(|kept| age(kept) < FRESH) {
            return Ok(kept.again());
        }
        let base = match kept.take().filter(|kept| age(kept) < STALE) {
            Some(kept) => kept.now,
            None => {
                let base = Arc::new(read(host).await?);
                tokio::time::sleep(FIRST_WINDOW).await;
                base
            }
        };
        let now = Arc::new(read(host).await?);
        let measured = Measured { now, base };
        *kept = Some(measured.again());
        Ok(measured)
    }
}

impl Measured {
    fn again(&self) -> Measured {
        Measured {
            now: Arc::clone(&self.now),
            base: Arc::clone(&self.base),
        }
    }

    pub fn node_nanocores(&self) -> u64 {
        let then = (self.base.at, self.base.node.cpu_nanos);
        rate(then, (self.now.at, self.now.node.cpu_nanos))
    }

    pub fn pod_nanocores(&self, pod: &PodReading) -> u64 {
        let mut base = self.base.pods.iter();
        let before = base.find(|before| before.pod.uid() == pod.pod.uid());
        let status = pod.pod.status.as_ref();
        let started = status.and_then(|status| status.start_time.as_ref());
        let then = match before {
            Some(before) => (self.base.at, before.stats.usage.cpu_nanos),
            None => (started.map_or(self.base.at, |start| start.0), 0),
        };
        rate(then, (self.now.at, pod.stats.usage.cpu_nanos))
    }

    /// Of a container that was not there before, since its start.
    pub fn container_nanocores(&self, container: &ContainerReading) -> u64 {
        let mut base = self.base.pods.iter().flat_map(|pod| &pod.containers);
        let then = match base.find(|before| before.id == container.id) {
            Some(before) => (self.base.at, before.usage.cpu_nanos),
            None => (container.started_at, 0),
        };
        rate(then, (self.now.at, container.usage.cpu_nanos))
    }

    pub fn usage(&self) -> NodeUsage {
        let pods = self.now.pods.iter();
        NodeUsage {
            at: self.now.at,
            window: self.now.at.duration_since(self.base.at),
            node: Amounts {
                cpu_nanocores: self.node_nanocores(),
                memory_bytes: self.now.node.working_set_bytes,
            },
            pods: pods
                .filter(|pod| !pod.containers.is_empty())
                .map(|pod| self.pod_usage(pod))
                .collect(),
        }
    }

    fn pod_usage(&self, pod: &PodReading) -> PodUsage {
        let key = pod.pod.key();
        let containers = pod.containers.iter().map(|container| {
            let amounts = Amounts {
                cpu_nanocores: self.container_nanocores(container),
                memory_bytes: container.usage.working_set_bytes,
            };
            (container.name.clone(), amounts)
        });
        PodUsage {
            namespace: key.namespace,
            name: key.name,
            labels: pod.pod.metadata.labels.clone().unwrap_or_default(),
            containers: containers.collect(),
        }
    }
}

/// Nanocores between two times and the counters then.
fn rate((then, before): (Timestamp, u64), (now, after): (Timestamp, u64)) -> u64 {
    let elapsed = u128::try_from(now.duration_since(then).as_nanos()).unwrap_or(0);
    let used = u128::from(after.saturating_sub(before));
    let rate = (used * 1_000_000_000).checked_div(elapsed).unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Reads every counter once.
pub async fn read(host: &Host) -> Result<Reading, ApiError> {
    let sandboxes = host.runtime.sandboxes().await;
    let sandboxes = sandboxes.map_err(|failure: RuntimeError| ApiError::internal(failure))?;
    let snapshot = host.caches.pods.snapshot();
    let own = snapshot.values().filter(|pod| host.owns(pod));
    let found = own.filter_map(|pod| {
        let sandbox = sandboxes.iter().find(|sandbox| sandbox.id == pod.uid())?;
        Some(read_pod(host, Arc::clone(pod), sandbox))
    });
    // One that has just gone is left out.
    let pods: Vec<PodReading> = join_all(found).await.into_iter().flatten().collect();
    Ok(Reading {
        at: clock::now(),
        node: node(host, &pods),
        cores: host.machine.cpus,
        memory_bytes: host.machine.memory_bytes,
        pods,
    })
}

async fn read_pod(host: &Host, pod: Arc<Pod>, sandbox: &SandboxInfo) -> Option<PodReading> {
    let stats = host.runtime.stats(&sandbox.id).await.ok()?;
    let all = spec::of(&pod);
    let running = sandbox.containers.iter().filter_map(|info| {
        let ContainerState::Running { started_at, .. } = info.state else {
            return None;
        };
        let wanted = spec::container(&all, &info.name);
        Some(ContainerReading {
            id: info.id.clone(),
            name: info.name.clone(),
            image: image_of(&pod, &info.name),
            started_at,
            usage: *stats.containers.get(&info.id)?,
            limits: wanted.map_or_else(Resources::default, |one| {
                qos::container(&all, &one.container)
            }),
        })
    });
    let mut containers: Vec<ContainerReading> = running.collect();
    let traffic = match sandbox.netns.as_os_str().is_empty() {
        true => Vec::new(),
        false => {
            let table = fs::read_to_string(format!("/proc/{}/net/dev", sandbox.pid));
            traffic::parse(&table.unwrap_or_default())
        }
    };
    let group = translate::sandbox(&pod, &host.place(&pod), "").cgroup;
    let spec = pod.spec.as_ref();
    let order = |name: &str| {
        let mut names = spec.into_iter().flat_map(|spec| &spec.containers);
        names.position(|container| container.name == name)
    };
    containers.sort_by_key(|container| order(&container.name).unwrap_or(usize::MAX));
    Some(PodReading {
        pod,
        group,
        stats,
        traffic,
        containers,
    })
}

/// As the pod's status names it.
fn image_of(pod: &Pod, container: &str) -> String {
    let status = pod.status.as_ref();
    let mut statuses = status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    match statuses.find(|status| status.name == container) {
        Some(status) => status.image.clone(),
        None => String::new(),
    }
}

/// The only node of a cluster is the machine; of several nodes on it each is the sum of its pods.
fn node(host: &Host, pods: &[PodReading]) -> Usage {
    if host.cluster.nodes.len() > 1 {
        return pods.iter().fold(Usage::default(), |sum, pod| Usage {
            cpu_nanos: sum.cpu_nanos + pod.stats.usage.cpu_nanos,
            memory_bytes: sum.memory_bytes + pod.stats.usage.memory_bytes,
            working_set_bytes: sum.working_set_bytes + pod.stats.usage.working_set_bytes,
            rss_bytes: sum.rss_bytes + pod.stats.usage.rss_bytes,
            cache_bytes: sum.cache_bytes + pod.stats.usage.cache_bytes,
            ..Usage::default()
        });
    }
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let bytes = |name: &str| u64::try_from(machine::kibibytes(&table, name) * 1024).unwrap_or(0);
    let total = bytes("MemTotal");
    Usage {
        cpu_nanos: busy_nanos(&stat),
        memory_bytes: total.saturating_sub(bytes("MemFree")),
        working_set_bytes: total.saturating_sub(bytes("MemAvailable")),
        rss_bytes: bytes("AnonPages"),
        cache_bytes: bytes("Cached"),
        ..Usage::default()
    }
}

/// Time all cores together have worked, from `/proc/stat` (in hundredths of a second, on every Linux).
fn busy_nanos(stat: &str) -> u64 {
    const TICK_NANOS: u64 = 10_000_000;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6, 7];
    let busy = busy.iter().filter_map(|&index: &usize| ticks.get(index));
    busy.sum::<u64>() * TICK_NANOS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn reading(second: i64, containers: &[(&str, u64)]) -> Arc<Reading> {
        let container = |(id, cpu_nanos): &(&str, u64)| ContainerReading {
            id: (*id).to_owned(),
            name: (*id).to_owned(),
            image: String::new(),
            limits: Resources::default(),
            started_at: at(8),
            usage: Usage {
                cpu_nanos: *cpu_nanos,
                ..Usage::default()
            },
        };
        Arc::new(Reading {
            at: at(second),
            node: Usage::default(),
            cores: 1,
            memory_bytes: 1,
            pods: vec![PodReading {
                pod: Arc::new(Pod::default()),
                group: String::new(),
                stats: SandboxStats::default(),
                traffic: Vec::new(),
                containers: containers.iter().map(container).collect(),
            }],
        })
    }

    #[test]
    fn rates_are_between_two_readings_or_since_the_start() {
        let measured = Measured {
            base: reading(10, &[("old", 1_000_000_000)]),
            now: reading(12, &[("old", 2_000_000_000), ("new", 1_000_000_000)]),
        };
        let usage = measured.usage();
        let found: Vec<u64> = usage.pods[0]
            .containers
            .iter()
            .map(|(_, amounts)| amounts.cpu_nanocores)
            .collect();
        assert_eq!(found, [500_000_000, 250_000_000]);
        assert_eq!(usage.window.as_secs(), 2);
        assert_eq!(rate((at(3), 5), (at(3), 9)), 0);
    }

    #[test]
    fn busy_time_leaves_idle_time_out() {
        let stat = "cpu  1 2 3 400 500 6 7 8 0 0\ncpu0 1\n";
        assert_eq!(busy_nanos(stat), 27 * 10_000_000);
    }
}
