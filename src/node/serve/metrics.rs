//! Counters of a node, its pods and containers in Prometheus' text form, under upstream's names.

use super::{
    reading::{ContainerReading, PodReading, Reading},
    traffic::Traffic,
};
use crate::{
    api::object::Object,
    runtime::model::{Resources, Usage},
};
use std::fmt::Write as _;

pub struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: Of,
}

/// What has a sample of its own, and its value.
enum Of {
    Container(fn(&ContainerReading) -> f64),
    Pod(fn(&PodReading) -> f64),
    Node(fn(&Reading) -> f64),
    /// Control groups: of pods (without a container's name) and of their containers.
    Group(fn(&Usage) -> f64),
    /// The same, for groups that have a CPU limit.
    Limited(fn(&Usage) -> f64),
    /// The control groups of containers alone, and what they allow.
    Bound(fn(&ContainerReading) -> Option<f64>),
    /// Interfaces of pods.
    Interface(fn(&Traffic) -> u64),
    /// One sample that names the node.
    Name,
    /// One sample with these labels.
    Labeled(&'static str, fn(&Reading) -> f64),
}

const fn gauge(name: &'static str, help: &'static str, of: Of) -> Metric {
    let kind = "gauge";
    Metric {
        name,
        kind,
        help,
        of,
    }
}

const fn counter(name: &'static str, help: &'static str, of: Of) -> Metric {
    let kind = "counter";
    Metric {
        name,
        kind,
        help,
        of,
    }
}

/// A reading that fails is an error of the page: one that is shown had none.
const ERRORS: &str = "1 if there was an error while getting container metrics, 0 otherwise";

/// `/metrics/resource`: what a metrics server scrapes.
pub const RESOURCE: &[Metric] = &[
    counter(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
        Of::Container(|container| seconds(&container.usage)),
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Current working set of the container in bytes",
        Of::Container(|container| container.usage.working_set_bytes as f64),
    ),
    gauge(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds",
        Of::Container(started),
    ),
    counter(
        "node_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the node in core-seconds",
        Of::Node(|reading| seconds(&reading.node)),
    ),
    gauge(
        "node_memory_working_set_bytes",
        "Current working set of the node in bytes",
        Of::Node(|reading| reading.node.working_set_bytes as f64),
    ),
    counter(
        "pod_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the pod in core-seconds",
        Of::Pod(|pod| seconds(&pod.stats.usage)),
    ),
    gauge(
        "pod_memory_working_set_bytes",
        "Current working set of the pod in bytes",
        Of::Pod(|pod| pod.stats.usage.working_set_bytes as f64),
    ),
    gauge("resource_scrape_error", ERRORS, Of::Node(|_| 0.0)),
    gauge("scrape_error", ERRORS, Of::Node(|_| 0.0)),
];

/// `/metrics/cadvisor`: those of cAdvisor's names that dashboards use and the kernel tells at once.
pub const CADVISOR: &[Metric] = &[
    counter(
        "container_cpu_cfs_periods_total",
        "Number of elapsed enforcement period intervals.",
        Of::Limited(|usage| usage.throttling.periods as f64),
    ),
    counter(
        "container_cpu_cfs_throttled_periods_total",
        "Number of throttled period intervals.",
        Of::Limited(|usage| usage.throttling.throttled_periods as f64),
    ),
    counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        Of::Limited(|usage| usage.throttling.throttled_nanos as f64 / 1e9),
    ),
    counter(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        Of::Group(seconds),
    ),
    gauge(
        "container_memory_cache",
        "Number of bytes of page cache memory.",
        Of::Group(|usage| usage.cache_bytes as f64),
    ),
    gauge(
        "container_memory_rss",
        "Size of RSS in bytes.",
        Of::Group(|usage| usage.rss_bytes as f64),
    ),
    gauge(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        Of::Group(|usage| usage.memory_bytes as f64),
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        Of::Group(|usage| usage.working_set_bytes as f64),
    ),
    counter(
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received",
        Of::Interface(|traffic| traffic.received.bytes),
    ),
    counter(
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        Of::Interface(|traffic| traffic.received.errors),
    ),
    counter(
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        Of::Interface(|traffic| traffic.received.dropped),
    ),
    counter(
        "container_network_receive_packets_total",
        "Cumulative count of packets received",
        Of::Interface(|traffic| traffic.received.packets),
    ),
    counter(
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        Of::Interface(|traffic| traffic.sent.bytes),
    ),
    counter(
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        Of::Interface(|traffic| traffic.sent.errors),
    ),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        Of::Interface(|traffic| traffic.sent.dropped),
    ),
    counter(
        "container_network_transmit_packets_total",
        "Cumulative count of packets transmitted",
        Of::Interface(|traffic| traffic.sent.packets),
    ),
    gauge(
        "container_spec_cpu_period",
        "CPU period of the container.",
        Of::Bound(|one| has_quota(&one.limits).then_some(one.limits.cpu_period_us as f64)),
    ),
    gauge(
        "container_spec_cpu_quota",
        "CPU quota of the container.",
        Of::Bound(|one| has_quota(&one.limits).then_some(one.limits.cpu_quota_us as f64)),
    ),
    gauge(
        "container_spec_cpu_shares",
        "CPU share of the container.",
        Of::Bound(|one| Some(one.limits.cpu_shares as f64)),
    ),
    gauge(
        "container_spec_memory_limit_bytes",
        "Memory limit for the container.",
        Of::Bound(|one| Some(one.limits.memory_limit_bytes as f64)),
    ),
    gauge(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds.",
        Of::Bound(|one| Some(started(one))),
    ),
    gauge(
        "machine_cpu_cores",
        "Number of logical CPU cores.",
        Of::Node(|reading| reading.cores as f64),
    ),
    gauge(
        "machine_memory_bytes",
        "Amount of memory installed on the machine.",
        Of::Node(|reading| reading.memory_bytes as f64),
    ),
];

/// `/metrics`: about the agent itself.
pub const OWN: &[Metric] = &[
    gauge(
        "kubelet_node_name",
        "The node's name. The count is always 1.",
        Of::Name,
    ),
    gauge(
        "kubelet_running_pods",
        "Number of pods that have a running pod sandbox",
        Of::Node(|reading| reading.pods.len() as f64),
    ),
    gauge(
        "kubelet_running_containers",
        "Number of containers currently running",
        Of::Labeled("container_state=\"running\"", |reading| {
            let counts = reading.pods.iter().map(|pod| pod.containers.len());
            counts.sum::<usize>() as f64
        }),
    ),
];

pub fn text(page: &[Metric], reading: &Reading, node: &str) -> String {
    let mut out = String::new();
    for metric in page {
        let name = metric.name;
        let _ = writeln!(
            out,
            "# HELP {name} {}\n# TYPE {name} {}",
            metric.help, metric.kind
        );
        let mut sample = |labels: &str, value: f64| {
            let _ = match labels {
                "" => writeln!(out, "{name} {value}"),
                _ => writeln!(out, "{name}{{{labels}}} {value}"),
            };
        };
        match metric.of {
            Of::Node(value) => sample("", value(reading)),
            Of::Name => sample(&format!("node=\"{node}\""), 1.0),
            Of::Pod(value) => {
                for pod in &reading.pods {
                    sample(&labels(pod), value(pod));
                }
            }
            Of::Container(value) => {
                for (pod, container) in containers(reading) {
                    let labels = format!("container=\"{}\",{}", container.name, labels(pod));
                    sample(&labels, value(container));
                }
            }
            Of::Group(value) => groups(reading, |labels, usage| sample(labels, value(usage))),
            Of::Limited(value) => groups(reading, |labels, usage| {
                if usage.throttling.periods > 0 {
                    sample(labels, value(usage));
                }
            }),
            Of::Bound(value) => {
                for (pod, container) in containers(reading) {
                    if let Some(found) = value(container) {
                        sample(&group(pod, Some(container), None), found);
                    }
                }
            }
            Of::Interface(value) => {
                for pod in &reading.pods {
                    for traffic in &pod.traffic {
                        let labels = group(pod, None, Some(&traffic.interface));
                        sample(&labels, value(traffic) as f64);
                    }
                }
            }
            Of::Labeled(labels, value) => sample(labels, value(reading)),
        }
    }
    out
}

fn containers(reading: &Reading) -> impl Iterator<Item = (&PodReading, &ContainerReading)> {
    let pods = reading.pods.iter();
    pods.flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
}

fn seconds(usage: &Usage) -> f64 {
    usage.cpu_nanos as f64 / 1e9
}

/// Names of objects need no escapes.
fn labels(pod: &PodReading) -> String {
    let key = pod.pod.key();
    format!("namespace=\"{}\",pod=\"{}\"", key.namespace, key.name)
}

fn started(container: &ContainerReading) -> f64 {
    container.started_at.as_millisecond() as f64 / 1000.0
}

fn has_quota(limits: &Resources) -> bool {
    limits.cpu_quota_us > 0
}

fn groups(reading: &Reading, mut sample: impl FnMut(&str, &Usage)) {
    for pod in &reading.pods {
        sample(&group(pod, None, None), &pod.stats.usage);
    }
    for (pod, container) in containers(reading) {
        sample(&group(pod, Some(container), None), &container.usage);
    }
}

/// cAdvisor's labels. Dashboards tell containers from their pods by `image`, which pods have not.
fn group(
    pod: &PodReading,
    container: Option<&ContainerReading>,
    interface: Option<&str>,
) -> String {
    let of = |value: fn(&ContainerReading) -> &str| container.map_or("", value);
    let (name, id, image) = (of(|one| &one.name), of(|one| &one.id), of(|one| &one.image));
    let slash = if id.is_empty() { "" } else { "/" };
    let interface = interface.map_or_else(String::new, |name| format!("interface=\"{name}\","));
    format!(
        "container=\"{name}\",id=\"{}{slash}{id}\",image=\"{image}\",{interface}name=\"{id}\",{}",
        pod.group,
        labels(pod)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::serve::traffic;
    use crate::runtime::model::{SandboxStats, Throttling};
    use k8s_openapi::api::core::v1::Pod;
    use std::sync::Arc;

    #[test]
    fn pages_name_pods_and_containers() {
        let usage = Usage {
            cpu_nanos: 1_500_000_000,
            working_set_bytes: 4096,
            throttling: Throttling {
                periods: 9,
                ..Throttling::default()
            },
            ..Usage::default()
        };
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("a".to_owned());
        pod.metadata.name = Some("p".to_owned());
        let reading = Reading {
            at: "2026-11-21T05:00:00Z".parse().unwrap(),
            node: usage,
            cores: 2,
            memory_bytes: 1 << 30,
            pods: vec![PodReading {
                pod: Arc::new(pod),
                group: "/g/u".to_owned(),
                traffic: traffic::parse("eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0"),
                stats: SandboxStats {
                    usage,
                    processes: 3,
                    ..SandboxStats::default()
                },
                containers: vec![ContainerReading {
                    id: "1f".to_owned(),
                    name: "c".to_owned(),
                    image: "i:1".to_owned(),
                    limits: Resources {
                        memory_limit_bytes: 64,
                        ..Resources::default()
                    },
                    started_at: "2026-11-21T04:00:00.5Z".parse().unwrap(),
                    usage,
                }],
            }],
        };
        let pages = [RESOURCE, CADVISOR, OWN]
            .map(|page| text(page, &reading, "n"))
            .concat();
        for line in [
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"a\",pod=\"p\"} 1.5",
            "pod_memory_working_set_bytes{namespace=\"a\",pod=\"p\"} 4096",
            "node_cpu_usage_seconds_total 1.5",
            "container_start_time_seconds{container=\"c\",namespace=\"a\",pod=\"p\"} 1795233600.5",
            "scrape_error 0",
            "container_cpu_usage_seconds_total{container=\"c\",id=\"/g/u/1f\",image=\"i:1\",name=\"1f\",namespace=\"a\",pod=\"p\"} 1.5",
            "container_memory_working_set_bytes{container=\"\",id=\"/g/u\",image=\"\",name=\"\",namespace=\"a\",pod=\"p\"} 4096",
            "container_cpu_cfs_periods_total{container=\"c\",id=\"/g/u/1f\",image=\"i:1\",name=\"1f\",namespace=\"a\",pod=\"p\"} 9",
            "container_network_transmit_packets_total{container=\"\",id=\"/g/u\",image=\"\",interface=\"eth0\",name=\"\",namespace=\"a\",pod=\"p\"} 6",
            "container_spec_memory_limit_bytes{container=\"c\",id=\"/g/u/1f\",image=\"i:1\",name=\"1f\",namespace=\"a\",pod=\"p\"} 64",
            "machine_cpu_cores 2",
            "kubelet_running_containers{container_state=\"running\"} 1",
            "kubelet_node_name{node=\"n\"} 1",
            "kubelet_running_pods 1",
        ] {
            assert!(pages.lines().any(|found| found == line), "{line}\n{pages}");
        }
    }
}
