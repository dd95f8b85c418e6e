//! `/stats/summary`: what node and containers use, as a document.

use super::{
    reading::{ContainerReading, Measured, PodReading},
    traffic::Traffic,
};
use crate::{
    api::{object::Object, time},
    node::{host::Host, machine},
    runtime::model::Usage,
};
use serde_json::{Value, json};
use std::fs;

pub fn summary(host: &Host, measured: &Measured) -> Value {
    let pods = measured.now.pods.iter();
    json!({
        "node": node(host, measured),
        "pods": pods.map(|pod| self::pod(pod, measured)).collect::<Vec<_>>(),
    })
}

fn cpu(nanocores: u64, usage: &Usage, measured: &Measured) -> Value {
    json!({
        "time": time::format(measured.now.at),
        "usageNanoCores": nanocores,
        "usageCoreNanoSeconds": usage.cpu_nanos,
    })
}

fn memory(usage: &Usage, measured: &Measured) -> Value {
    json!({
        "time": time::format(measured.now.at),
        "usageBytes": usage.memory_bytes,
        "workingSetBytes": usage.working_set_bytes,
        "rssBytes": usage.rss_bytes,
    })
}

fn container(container: &ContainerReading, measured: &Measured) -> Value {
    json!({
        "name": container.name,
        "startTime": time::format(container.started_at),
        "cpu": cpu(measured.container_nanocores(container), &container.usage, measured),
        "memory": memory(&container.usage, measured),
    })
}

fn pod(pod: &PodReading, measured: &Measured) -> Value {
    let key = pod.pod.key();
    let status = pod.pod.status.as_ref();
    let start = status.and_then(|status| status.start_time.as_ref());
    let containers = pod.containers.iter();
    json!({
        "podRef": {"name": key.name, "namespace": key.namespace, "uid": pod.pod.uid()},
        "startTime": start.map(|start| time::format(start.0)),
        "containers": containers.map(|one| container(one, measured)).collect::<Vec<_>>(),
        "cpu": cpu(measured.pod_nanocores(pod), &pod.stats.usage, measured),
        "memory": memory(&pod.stats.usage, measured),
        "network": network(pod, measured),
        "process_stats": {"process_count": pod.stats.processes},
    })
}

/// Of the first interface in the head, of all in the list, as upstream tells it.
fn network(pod: &PodReading, measured: &Measured) -> Value {
    let interface = |traffic: &Traffic| {
        json!({
            "name": traffic.interface,
            "rxBytes": traffic.received.bytes, "rxErrors": traffic.received.errors,
            "txBytes": traffic.sent.bytes, "txErrors": traffic.sent.errors,
        })
    };
    let Some(first) = pod.traffic.first() else {
        return Value::Null;
    };
    let mut network = interface(first);
    network["time"] = time::format(measured.now.at).into();
    network["interfaces"] = pod.traffic.iter().map(interface).collect();
    network
}

fn node(host: &Host, measured: &Measured) -> Value {
    let at = time::format(measured.now.at);
    let usage = &measured.now.node;
    let mut memory = memory(usage, measured);
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    memory["availableBytes"] = json!(machine::kibibytes(&table, "MemAvailable") * 1024);
    let (size, free) = machine::space(&host.layout.state);
    let (inodes, inodes_free) = machine::inodes(&host.layout.state);
    let file_system = json!({
        "time": at, "capacityBytes": size, "availableBytes": free, "usedBytes": size - free,
        "inodes": inodes, "inodesFree": inodes_free, "inodesUsed": inodes - inodes_free,
    });
    json!({
        "nodeName": host.name(),
        "startTime": time::format(boot_time(measured)),
        "cpu": cpu(measured.node_nanocores(), usage, measured),
        "memory": memory,
        "fs": file_system,
        "runtime": {"imageFs": file_system, "containerFs": file_system},
    })
}

/// When the machine began to run.
fn boot_time(measured: &Measured) -> jiff::Timestamp {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    let second = line.and_then(|text| text.trim().parse().ok());
    let time = second.and_then(|second| jiff::Timestamp::from_second(second).ok());
    time.unwrap_or(measured.now.at)
}
