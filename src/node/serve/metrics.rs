//! Counters of a node, its pods and containers in Prometheus' text form, under upstream's names.

use super::reading::{ContainerReading, PodReading, Reading};
use crate::{api::object::Object, runtime::model::Usage};
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
    /// One sample that names the node.
    Name,
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
        Of::Container(|container| container.started_at.as_millisecond() as f64 / 1000.0),
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

/// `/metrics/cadvisor`: the part of cAdvisor's names that dashboards use and a control group tells.
pub const CADVISOR: &[Metric] = &[
    counter(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        Of::Group(seconds),
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
    gauge(
        "container_memory_rss",
        "Size of RSS in bytes.",
        Of::Group(|usage| usage.rss_bytes as f64),
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
        Of::Node(|reading| {
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
            Of::Group(value) => {
                for pod in &reading.pods {
                    sample(&group(pod, "", ""), value(&pod.stats.usage));
                }
                for (pod, container) in containers(reading) {
                    let labels = group(pod, &container.name, &container.id);
                    sample(&labels, value(&container.usage));
                }
            }
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

fn group(pod: &PodReading, container: &str, id: &str) -> String {
    format!("container=\"{container}\",name=\"{id}\",{}", labels(pod))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::SandboxStats;
    use k8s_openapi::api::core::v1::Pod;
    use std::sync::Arc;

    #[test]
    fn pages_name_pods_and_containers() {
        let usage = Usage {
            cpu_nanos: 1_500_000_000,
            working_set_bytes: 4096,
            ..Usage::default()
        };
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("a".to_owned());
        pod.metadata.name = Some("p".to_owned());
        let reading = Reading {
            at: "2026-11-21T05:00:00Z".parse().unwrap(),
            node: usage,
            pods: vec![PodReading {
                pod: Arc::new(pod),
                stats: SandboxStats {
                    usage,
                    processes: 3,
                    ..SandboxStats::default()
                },
                containers: vec![ContainerReading {
                    id: "1f".to_owned(),
                    name: "c".to_owned(),
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
            "container_cpu_usage_seconds_total{container=\"c\",name=\"1f\",namespace=\"a\",pod=\"p\"} 1.5",
            "container_memory_working_set_bytes{container=\"\",name=\"\",namespace=\"a\",pod=\"p\"} 4096",
            "kubelet_node_name{node=\"n\"} 1",
            "kubelet_running_pods 1",
        ] {
            assert!(pages.lines().any(|found| found == line), "{line}\n{pages}");
        }
    }
}
