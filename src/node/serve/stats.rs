//! `/stats/summary`: what node and containers use, read when asked.

use crate::{
    api::{ApiError, object::Object, time},
    node::{host::Host, machine},
    runtime::model::{ContainerInfo, ContainerState, RuntimeError, Usage},
    task::clock,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::{collections::HashMap, fs, sync::Mutex};

/// The last reading of each counter, to tell a rate from it.
#[derive(Default)]
pub struct Samples(Mutex<HashMap<String, (Timestamp, u64)>>);

/// Readings of things that have been gone for a while are forgotten at this size.
const SAMPLES_MAX: usize = 4096;

impl Samples {
    /// Nanocores since the last reading; zero at the first one.
    fn rate(&self, what: &str, nanos: u64, now: Timestamp) -> u64 {
        let mut samples = self.0.lock().expect("no panic while locked");
        if samples.len() > SAMPLES_MAX {
            samples.clear();
        }
        let before = samples.insert(what.to_owned(), (now, nanos));
        let Some((then, then_nanos)) = before else {
            return 0;
        };
        let elapsed = u128::try_from(now.duration_since(then).as_nanos()).unwrap_or(0);
        let used = u128::from(nanos.saturating_sub(then_nanos));
        let rate = (used * 1_000_000_000).checked_div(elapsed).unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

pub(super) async fn summary(host: &Host, samples: &Samples) -> Result<Value, ApiError> {
    let now = clock::now();
    let sandboxes = host.runtime.sandboxes().await;
    let sandboxes = sandboxes.map_err(|failure: RuntimeError| ApiError::internal(failure))?;
    let pods = host.caches.pods.snapshot();
    let mut summaries = Vec::new();
    for sandbox in sandboxes {
        let pod = pods
            .values()
            .find(|pod| pod.uid() == sandbox.id && host.owns(pod));
        let Some(pod) = pod else { continue };
        let mut containers = Vec::new();
        let mut sum = Usage::default();
        for info in &sandbox.containers {
            let ContainerState::Running { started_at, .. } = info.state else {
                continue;
            };
            let Ok(usage) = host.runtime.usage(&sandbox.id, &info.id).await else {
                continue;
            };
            sum.cpu_nanos += usage.cpu_nanos;
            sum.memory_bytes += usage.memory_bytes;
            sum.working_set_bytes += usage.working_set_bytes;
            containers.push(container(info, started_at, &usage, samples, now));
        }
        summaries.push(pod_summary(pod, &sum, &containers, samples, now));
    }
    Ok(json!({"node": node(host, samples, now), "pods": summaries}))
}

fn cpu(what: &str, nanos: u64, samples: &Samples, now: Timestamp) -> Value {
    json!({
        "time": time::format(now),
        "usageNanoCores": samples.rate(what, nanos, now),
        "usageCoreNanoSeconds": nanos,
    })
}

fn memory(usage: &Usage, now: Timestamp) -> Value {
    json!({
        "time": time::format(now),
        "usageBytes": usage.memory_bytes,
        "workingSetBytes": usage.working_set_bytes,
    })
}

fn container(
    info: &ContainerInfo,
    started_at: Timestamp,
    usage: &Usage,
    samples: &Samples,
    now: Timestamp,
) -> Value {
    json!({
        "name": info.name,
        "startTime": time::format(started_at),
        "cpu": cpu(&info.id, usage.cpu_nanos, samples, now),
        "memory": memory(usage, now),
    })
}

fn pod_summary(
    pod: &Pod,
    sum: &Usage,
    containers: &[Value],
    samples: &Samples,
    now: Timestamp,
) -> Value {
    let key = pod.key();
    let status = pod.status.as_ref();
    let start = status.and_then(|status| status.start_time.as_ref());
    json!({
        "podRef": {"name": key.name, "namespace": key.namespace, "uid": pod.uid()},
        "startTime": start.map(|start| time::format(start.0)),
        "containers": containers,
        "cpu": cpu(pod.uid(), sum.cpu_nanos, samples, now),
        "memory": memory(sum, now),
    })
}

fn node(host: &Host, samples: &Samples, now: Timestamp) -> Value {
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| machine::kibibytes(&table, name) * 1024;
    let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"));
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let (size, free) = machine::space(&host.layout.state);
    let (inodes, inodes_free) = machine::inodes(&host.layout.state);
    let file_system = json!({
        "time": time::format(now), "capacityBytes": size, "availableBytes": free, "usedBytes": size - free,
        "inodes": inodes, "inodesFree": inodes_free, "inodesUsed": inodes - inodes_free,
    });
    json!({
        "nodeName": host.name(),
        "startTime": time::format(now),
        "cpu": cpu("", busy_nanos(&stat), samples, now),
        "memory": {
            "time": time::format(now), "availableBytes": available, "usageBytes": total - bytes("MemFree"),
            "workingSetBytes": total - available,
        },
        "fs": file_system,
        "runtime": {"imageFs": file_system, "containerFs": file_system},
    })
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

    #[test]
    fn rates_and_busy_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let samples = Samples::default();
        assert_eq!(samples.rate("a", 1_000_000_000, at(10)), 0);
        assert_eq!(samples.rate("a", 2_000_000_000, at(12)), 500_000_000);
        assert_eq!(samples.rate("a", 2_000_000_000, at(12)), 0);
        let stat = "cpu  1 2 3 400 500 6 7 8 0 0\ncpu0 1\n";
        assert_eq!(busy_nanos(stat), 27 * 10_000_000);
    }
}
