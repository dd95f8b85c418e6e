//! Requests and limits as Linux sees them: class of service, cgroup values, oom scores.
//!
//! Pure. The formulas are Kubernetes' (shares per core 1024, quota per 100 ms).

use super::spec::{self, Role};
use crate::{api::quantity::Quantity, runtime::model::Resources};
use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource,
};
use std::collections::BTreeMap;

const PERIOD_US: i64 = 100_000;
const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
const GUARANTEED_SCORE: i32 = -997;
const BEST_EFFORT_SCORE: i32 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Class {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Guaranteed => "Guaranteed",
            Class::Burstable => "Burstable",
            Class::BestEffort => "BestEffort",
        }
    }

    /// The directory of the class below the pods' root; guaranteed pods stand in the root itself.
    #[must_use]
    pub fn cgroup(self) -> &'static str {
        match self {
            Class::Guaranteed => "",
            Class::Burstable => "/burstable",
            Class::BestEffort => "/besteffort",
        }
    }
}

type Amounts = BTreeMap<String, resource::Quantity>;

/// An amount in thousandths; zero when it is not given (or no quantity, which the API would have refused).
#[must_use]
pub fn milli(amounts: Option<&Amounts>, name: &str) -> i64 {
    amount(amounts, name).map_or(0, Quantity::milli)
}

#[must_use]
pub fn units(amounts: Option<&Amounts>, name: &str) -> i64 {
    amount(amounts, name).map_or(0, Quantity::units)
}

fn amount(amounts: Option<&Amounts>, name: &str) -> Option<Quantity> {
    Quantity::parse(&amounts?.get(name)?.0).ok()
}

#[must_use]
pub fn class(spec: &PodSpec) -> Class {
    if let Some(pod) = &spec.resources
        && (pod.limits.is_some() || pod.requests.is_some())
    {
        return class_of(&[Some(pod)]);
    }
    let containers = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers);
    let all: Vec<Option<&ResourceRequirements>> = containers
        .map(|container| container.resources.as_ref())
        .collect();
    class_of(&all)
}

fn class_of(all: &[Option<&ResourceRequirements>]) -> Class {
    let names = ["cpu", "memory"];
    let mut has_any = false;
    let mut is_guaranteed = true;
    for resources in all {
        for name in names {
            let of = |amounts: Option<&Amounts>| milli(amounts, name);
            let limit = of(resources.and_then(|resources| resources.limits.as_ref()));
            let request = of(resources.and_then(|resources| resources.requests.as_ref()));
            has_any |= limit > 0 || request > 0;
            // A limit without a request means a request of the same size.
            is_guaranteed &= limit > 0 && (request == 0 || request == limit);
        }
    }
    match (has_any, is_guaranteed) {
        (true, true) => Class::Guaranteed,
        (true, false) => Class::Burstable,
        (false, _) => Class::BestEffort,
    }
}

#[must_use]
pub fn shares(milli_cpu: i64) -> u64 {
    let shares = (milli_cpu.saturating_mul(1024) / 1000).clamp(SHARES_MIN, SHARES_MAX);
    shares.unsigned_abs()
}

/// Microseconds per period; zero for "no limit".
#[must_use]
pub fn quota_us(milli_cpu: i64) -> i64 {
    match milli_cpu {
        0 => 0,
        milli => (milli.saturating_mul(PERIOD_US) / 1000).max(1000),
    }
}

/// The cgroup values of one container. Where it has no limit of its own, the whole pod's holds.
#[must_use]
pub fn container(spec: &PodSpec, container: &Container) -> Resources {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let whole = spec.resources.as_ref();
    let whole = whole.and_then(|whole| whole.limits.as_ref());
    let limit = |name: &str| match milli(limits, name) {
        0 => milli(whole, name),
        own => own,
    };
    let cpu_limit = limit("cpu");
    let cpu_request = match milli(requests, "cpu") {
        0 => cpu_limit,
        milli => milli,
    };
    linux(cpu_request, cpu_limit, limit("memory") / 1000)
}

/// The cgroup values of a whole pod: limits only where every container has one.
#[must_use]
pub fn pod(spec: &PodSpec) -> Resources {
    let own = spec.resources.as_ref();
    let own_limits = own.and_then(|own| own.limits.as_ref());
    let own_requests = own.and_then(|own| own.requests.as_ref());
    let limit = |name: &str| match milli(own_limits, name) {
        0 => total(spec, name, Side::Limits).unwrap_or(0),
        milli => milli,
    };
    let cpu_request = match milli(own_requests, "cpu") {
        0 => requests(spec, "cpu"),
        milli => milli,
    };
    linux(cpu_request, limit("cpu"), limit("memory") / 1000)
}

fn linux(cpu_request: i64, cpu_limit: i64, memory: i64) -> Resources {
    Resources {
        cpu_shares: shares(cpu_request),
        cpu_quota_us: quota_us(cpu_limit),
        cpu_period_us: PERIOD_US.unsigned_abs(),
        memory_limit_bytes: memory,
        pids_limit: 0,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Requests,
    Limits,
}

/// The pod's effective request of a resource, in thousandths, overhead included.
#[must_use]
pub fn requests(spec: &PodSpec, name: &str) -> i64 {
    let own = spec.resources.as_ref();
    let own = own.and_then(|own| own.requests.as_ref());
    let containers = match milli(own, name) {
        0 => total(spec, name, Side::Requests).unwrap_or(0),
        milli => milli,
    };
    containers.saturating_add(milli(spec.overhead.as_ref(), name))
}

/// The larger of: main containers with all sidecars; each init container with the sidecars before it. `None` for
/// limits when a container has none.
fn total(spec: &PodSpec, name: &str, side: Side) -> Option<i64> {
    let mut sidecars: i64 = 0;
    let mut mains: i64 = 0;
    let mut peak: i64 = 0;
    for wanted in spec::containers(spec) {
        let resources = wanted.container.resources.as_ref();
        let limits = milli(resources.and_then(|all| all.limits.as_ref()), name);
        let asked = milli(resources.and_then(|all| all.requests.as_ref()), name);
        let value = match side {
            Side::Limits if limits == 0 && wanted.role != Role::Ephemeral => return None,
            Side::Limits => limits,
            Side::Requests if asked == 0 => limits,
            Side::Requests => asked,
        };
        match wanted.role {
            Role::Sidecar => {
                sidecars = sidecars.saturating_add(value);
                peak = peak.max(sidecars);
            }
            Role::Init => peak = peak.max(sidecars.saturating_add(value)),
            Role::Main => mains = mains.saturating_add(value),
            Role::Ephemeral => {}
        }
    }
    Some(peak.max(mains.saturating_add(sidecars)))
}

/// How soon the kernel kills a container when memory runs out.
#[must_use]
pub fn oom_score(spec: &PodSpec, container: &Container, capacity_bytes: i64) -> i32 {
    /// Priority of node-critical pods.
    const NODE_CRITICAL: i32 = 2_000_001_000;
    if spec
        .priority
        .is_some_and(|priority| priority >= NODE_CRITICAL)
    {
        return GUARANTEED_SCORE;
    }
    match class(spec) {
        Class::Guaranteed => GUARANTEED_SCORE,
        Class::BestEffort => BEST_EFFORT_SCORE,
        Class::Burstable => {
            let resources = container.resources.as_ref();
            let of = |amounts| units(amounts, "memory");
            let request = match of(resources.and_then(|all| all.requests.as_ref())) {
                0 => of(resources.and_then(|all| all.limits.as_ref())),
                bytes => bytes,
            };
            let capacity = i128::from(capacity_bytes.max(1));
            let score = 1000 - 1000 * i128::from(request) / capacity;
            // Above guaranteed pods, below best-effort ones.
            i32::try_from(score.clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(resources: &[Value]) -> PodSpec {
        let containers: Vec<Value> = resources
            .iter()
            .map(|resources| json!({"name": "c", "resources": resources}))
            .collect();
        serde_json::from_value(json!({"containers": containers})).unwrap()
    }

    #[test]
    fn classes_and_scores() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let guaranteed = json!({"limits": both, "requests": both});
        let limits_only = json!({"limits": both});
        let burstable = json!({"requests": {"memory": "4Gi"}});
        let gpu = json!({"limits": {"example.com/gpu": "1"}});
        #[rustfmt::skip]
        let cases = [
            (vec![json!({})], Class::BestEffort, 1000),
            (vec![gpu], Class::BestEffort, 1000),
            (vec![guaranteed.clone()], Class::Guaranteed, -997),
            (vec![limits_only], Class::Guaranteed, -997),
            (vec![burstable], Class::Burstable, 500),
            (vec![guaranteed, json!({})], Class::Burstable, 875),
        ];
        for (resources, expected, score) in cases {
            let spec = spec(&resources);
            assert_eq!(class(&spec), expected, "{resources:?}");
            let capacity = 8 << 30;
            let container = &spec.containers[0];
            assert_eq!(
                oom_score(&spec, container, capacity),
                score,
                "{resources:?}"
            );
        }
    }

    #[test]
    fn cgroup_values() {
        let shares: Vec<u64> = [0, 1, 100, 1000, 1_000_000].map(shares).into();
        assert_eq!(shares, [2, 2, 102, 1024, 262_144]);
        let quotas: Vec<i64> = [0, 5, 250, 2000].map(quota_us).into();
        assert_eq!(quotas, [0, 1000, 25_000, 200_000]);
        let one = json!({"limits": {"memory": "64Mi", "cpu": "500m"}});
        let pod = pod(&spec(&[one.clone(), one.clone()]));
        assert_eq!(pod.memory_limit_bytes, 128 << 20);
        assert_eq!(pod.cpu_quota_us, 100_000);
        let half = super::pod(&spec(&[one, json!({})]));
        assert_eq!(half.memory_limit_bytes, 0, "one container is unlimited");
        assert_eq!(half.cpu_shares, 512);
    }

    #[test]
    fn init_containers_count_with_the_sidecars_before_them() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let spec: PodSpec = serde_json::from_value(json!({
            "overhead": {"cpu": "5m"},
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": cpu("100m")},
                {"name": "i", "resources": cpu("1")}],
            "containers": [{"name": "a", "resources": cpu("200m")}],
        }))
        .unwrap();
        assert_eq!(requests(&spec, "cpu"), 1105);
    }
}
