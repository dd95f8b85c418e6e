//! How many replicas one metric asks for. Pure.
//!
//! Pods without a measurement count as idle when that holds growth back and as fully loaded when that holds shrinking
//! back; pods that are not ready yet count as idle when growing, and not at all otherwise.

use super::observe::{Observed, PodUse};
use crate::{
    api::{object::Object, quantity::Quantity},
    controllers::{framework::go_text, pods},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        autoscaling::v2::{
            ContainerResourceMetricStatus, MetricSpec, MetricStatus, MetricTarget,
            MetricValueStatus, ResourceMetricStatus,
        },
        core::v1::{Container, Pod},
    },
    apimachinery::pkg::api::resource,
};
use std::collections::BTreeMap;

/// So long after a pod's start CPU is that of its start, unless it is ready.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A pod that became unready within this time has never been ready.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);
const NO_TARGET: &str = "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set";

#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub replicas: i32,
    /// As events name it.
    pub metric: String,
    pub status: MetricStatus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: &'static str,
    pub message: String,
    /// With which metric it was.
    pub summary: String,
}

/// How far a ratio of usage to target may be from one without any consequence.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What all metrics of one look share.
pub struct Circumstances<'a> {
    pub observed: &'a Observed,
    pub namespace: &'a str,
    pub current: i32,
    pub tolerance: Tolerance,
    pub now: Timestamp,
}

pub fn propose(metric: &MetricSpec, around: &Circumstances<'_>) -> Result<Proposal, Problem> {
    if let Some(source) = &metric.resource {
        let name = source.name.as_str();
        let (replicas, metric, current) =
            resource(name, None, &source.target, around).map_err(|message| Problem {
                reason: "FailedGetResourceMetric",
                summary: format!("failed to get {name} resource metric value: {message}"),
                message,
            })?;
        let status = MetricStatus {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricStatus {
                name: name.to_owned(),
                current,
            }),
            ..MetricStatus::default()
        };
        return Ok(Proposal {
            replicas,
            metric,
            status,
        });
    }
    if let Some(source) = &metric.container_resource {
        let (name, container) = (source.name.as_str(), source.container.as_str());
        let (replicas, metric, current) = resource(name, Some(container), &source.target, around)
            .map_err(|message| Problem {
            reason: "FailedGetContainerResourceMetric",
            summary: format!("failed to get {container} container metric value: {message}"),
            message,
        })?;
        let status = MetricStatus {
            type_: "ContainerResource".to_owned(),
            container_resource: Some(ContainerResourceMetricStatus {
                name: name.to_owned(),
                container: container.to_owned(),
                current,
            }),
            ..MetricStatus::default()
        };
        return Ok(Proposal {
            replicas,
            metric,
            status,
        });
    }
    Err(unserved(metric, around.namespace))
}

/// Metrics of others' APIs, which nobody serves here.
fn unserved(metric: &MetricSpec, namespace: &str) -> Problem {
    const CUSTOM: &str = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    let (reason, what, message) = if let Some(source) = &metric.pods {
        let message = format!("unable to get metric {}: {CUSTOM}", source.metric.name);
        ("FailedGetPodsMetric", "pods metric", message)
    } else if let Some(source) = &metric.object {
        let (kind, name) = (&source.described_object.kind, &source.described_object.name);
        // In this order: upstream's arguments are mixed up.
        let message = format!(
            "unable to get metric {}: {kind} on {namespace} {name}/{CUSTOM}",
            source.metric.name
        );
        ("FailedGetObjectMetric", "object metric", message)
    } else if let Some(source) = &metric.external {
        let name = &source.metric.name;
        let selector = go_text(source.metric.selector.as_ref());
        let why = format!(
            "unable to get external metric {namespace}/{name}/{selector}: unable to fetch metrics from external metrics API: the server could not find the requested resource (get {name}.external.metrics.k8s.io)"
        );
        return Problem {
            reason: "FailedGetExternalMetric",
            summary: format!("failed to get {name} external metric value: {why}"),
            message: why,
        };
    } else {
        let message = format!("unknown metric source type {:?}", metric.type_);
        return Problem {
            reason: "InvalidMetricSourceType",
            summary: message.clone(),
            message,
        };
    };
    Problem {
        reason,
        summary: format!("failed to get {what} value: {message}"),
        message,
    }
}

fn resource(
    name: &str,
    container: Option<&str>,
    target: &MetricTarget,
    around: &Circumstances<'_>,
) -> Result<(i32, String, MetricValueStatus), String> {
    let amount = |milli: i64| Some(resource::Quantity(Quantity::from_milli(milli).to_string()));
    if let Some(average) = &target.average_value {
        let wanted = Quantity::parse(&average.0).map_or(0, Quantity::milli);
        let load = Load::gather(name, container, around)
            .and_then(|load| load.is_known().map(|()| load))
            .map_err(|why| format!("failed to get {name} usage: {why}"))?;
        let (replicas, mean) = load.by_value(wanted, around);
        let status = MetricValueStatus {
            average_value: amount(mean),
            ..MetricValueStatus::default()
        };
        return Ok((replicas, format!("{name} resource"), status));
    }
    let wanted = target.average_utilization.ok_or(NO_TARGET)?;
    let failed = |why: String| format!("failed to get {name} utilization: {why}");
    let load = Load::gather(name, container, around).map_err(failed)?;
    let requests = requests(name, container, &around.observed.pods).map_err(failed)?;
    load.is_known().map_err(failed)?;
    let (replicas, percent, mean) = load
        .by_utilization(&requests, wanted, around)
        .map_err(failed)?;
    let status = MetricValueStatus {
        average_utilization: Some(percent),
        average_value: amount(mean),
        ..MetricValueStatus::default()
    };
    let metric = format!("{name} resource utilization (percentage of request)");
    Ok((replicas, metric, status))
}

/// The pods, sorted by what is known of their load; values are thousandths.
struct Load {
    known: BTreeMap<String, i64>,
    missing: Vec<String>,
    unready: Vec<String>,
    ready: usize,
}

impl Load {
    fn gather(
        name: &str,
        container: Option<&str>,
        around: &Circumstances<'_>,
    ) -> Result<Load, String> {
        let unable = |why: &str| format!("unable to get metrics for resource {name}: {why}");
        let usage = around.observed.usage.as_ref().map_err(|why| unable(why))?;
        if usage.is_empty() {
            return Err(unable("no metrics returned from resource metrics API"));
        }
        if around.observed.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        let mut load = Load {
            known: BTreeMap::new(),
            missing: Vec::new(),
            unready: Vec::new(),
            ready: 0,
        };
        for pod in &around.observed.pods {
            if pod.is_deleting() || pods::phase(pod) == "Failed" {
                continue;
            }
            let pod_name = pod.key().name;
            if pods::phase(pod) == "Pending" {
                load.unready.push(pod_name);
                continue;
            }
            let used = usage.get(&pod_name);
            let value = used.and_then(|used| value(used, name, container));
            match (used, value) {
                (Some(used), _) if name == "cpu" && is_starting(pod, used, around.now) => {
                    load.unready.push(pod_name);
                }
                (_, Some(value)) => {
                    load.ready += 1;
                    load.known.insert(pod_name, value);
                }
                _ => load.missing.push(pod_name),
            }
        }
        Ok(load)
    }

    fn is_known(&self) -> Result<(), String> {
        match self.known.is_empty() {
            true => {
                let why = "did not receive metrics for targeted pods (pods might be unready)";
                Err(why.to_owned())
            }
            false => Ok(()),
        }
    }

    fn by_value(&self, wanted: i64, around: &Circumstances<'_>) -> (i32, i64) {
        let mean = |known: &BTreeMap<String, i64>| {
            let sum: i64 = known.values().sum();
            let count = i64::try_from(known.len()).unwrap_or(i64::MAX);
            sum.checked_div(count).unwrap_or(0)
        };
        let ratio = |known: &BTreeMap<String, i64>| mean(known) as f64 / wanted.max(1) as f64;
        let replicas = self.replicas(around, ratio(&self.known), |_| wanted, ratio);
        (replicas, mean(&self.known))
    }

    fn by_utilization(
        &self,
        requests: &BTreeMap<String, i64>,
        wanted: i32,
        around: &Circumstances<'_>,
    ) -> Result<(i32, i32, i64), String> {
        let (percent, mean) = utilization(&self.known, requests)
            .ok_or_else(|| "no metrics returned matched known pods".to_owned())?;
        let ratio = |percent: i32| f64::from(percent) / f64::from(wanted.max(1));
        let full = |name: &str| {
            let request = requests.get(name).copied().unwrap_or(0);
            request * i64::from(wanted.max(100)) / 100
        };
        let again = |known: &BTreeMap<String, i64>| {
            utilization(known, requests).map_or(0.0, |(percent, _)| ratio(percent))
        };
        let replicas = self.replicas(around, ratio(percent), full, again);
        Ok((replicas, percent, mean))
    }

    /// `full` is what a pod that was not measured may be using, `again` the ratio with such assumptions added.
    fn replicas(
        &self,
        around: &Circumstances<'_>,
        ratio: f64,
        full: impl Fn(&str) -> i64,
        again: impl Fn(&BTreeMap<String, i64>) -> f64,
    ) -> i32 {
        let holds_unready = !self.unready.is_empty() && ratio > 1.0;
        if !holds_unready && self.missing.is_empty() {
            return match around.tolerance.covers(ratio) {
                true => around.current,
                false => times(ratio, self.ready),
            };
        }
        let mut assumed = self.known.clone();
        for name in &self.missing {
            if ratio < 1.0 {
                assumed.insert(name.clone(), full(name));
            } else if ratio > 1.0 {
                assumed.insert(name.clone(), 0);
            }
        }
        if holds_unready {
            assumed.extend(self.unready.iter().map(|name| (name.clone(), 0)));
        }
        let new = again(&assumed);
        let turns = (ratio < 1.0 && new > 1.0) || (ratio > 1.0 && new < 1.0);
        if around.tolerance.covers(new) || turns {
            return around.current;
        }
        let replicas = times(new, assumed.len());
        let is_contrary =
            (new < 1.0 && replicas > around.current) || (new > 1.0 && replicas < around.current);
        if is_contrary {
            around.current
        } else {
            replicas
        }
    }
}

fn times(ratio: f64, count: usize) -> i32 {
    // A float-to-int cast saturates.
    (ratio * count as f64).ceil() as i32
}

/// Percent of the requests, and the mean.
fn utilization(
    known: &BTreeMap<String, i64>,
    requests: &BTreeMap<String, i64>,
) -> Option<(i32, i64)> {
    let pairs = known
        .iter()
        .filter_map(|(name, value)| Some((*value, *requests.get(name)?)));
    let (mut used, mut requested, mut count) = (0i64, 0i64, 0i64);
    for (value, request) in pairs {
        used += value;
        requested += request;
        count += 1;
    }
    let percent = (used * 100).checked_div(requested)?;
    Some((i32::try_from(percent).unwrap_or(i32::MAX), used / count))
}

/// Of all containers, or of one. `None` when one was not measured.
fn value(used: &PodUse, name: &str, container: Option<&str>) -> Option<i64> {
    match container {
        Some(container) => used.containers.get(container)?.get(name).copied(),
        None => used
            .containers
            .values()
            .map(|amounts| amounts.get(name).copied())
            .sum(),
    }
}

/// Whether a pod's CPU is still that of its start.
fn is_starting(pod: &Pod, used: &PodUse, now: Timestamp) -> bool {
    let started = pod
        .status
        .as_ref()
        .and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(started)) = (pods::condition(pod, "Ready"), started) else {
        return true;
    };
    let is_unready = ready.status == "False";
    let since = ready
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::MIN, |time| time.0);
    let plus = |time: Timestamp, span: SignedDuration| time.saturating_add(span).unwrap_or(time);
    if plus(started.0, CPU_INITIALIZATION) > now {
        is_unready || used.at < plus(since, used.window)
    } else {
        is_unready && plus(started.0, INITIAL_READINESS) > since
    }
}

/// What each pod asks for, in thousandths.
fn requests(
    name: &str,
    container: Option<&str>,
    pods: &[std::sync::Arc<Pod>],
) -> Result<BTreeMap<String, i64>, String> {
    let mut requests = BTreeMap::new();
    for pod in pods {
        let pod_name = pod.key().name;
        let Some(spec) = &pod.spec else { continue };
        let restarts = |one: &&Container| one.restart_policy.as_deref() == Some("Always");
        let sidecars = spec.init_containers.iter().flatten().filter(restarts);
        let all = spec.containers.iter().chain(sidecars);
        let mut sum = 0;
        for one in all.filter(|one| container.is_none_or(|name| name == one.name)) {
            let asked = one.resources.as_ref().and_then(|all| all.requests.as_ref());
            let asked = asked.and_then(|requests| Quantity::parse(&requests.get(name)?.0).ok());
            let asked = asked.ok_or_else(|| {
                format!(
                    "missing request for {name} in container {} of Pod {pod_name}",
                    one.name
                )
            })?;
            sum += asked.milli();
        }
        requests.insert(pod_name, sum);
    }
    Ok(requests)
}
