//! Resources of containers that change while they run: what was granted, what is in force, what is still to be done.
//!
//! Pure. The spec says what is wished for; the node grants all of a pod's wishes at once or none. Whether there is room
//! is [`super::admit`]'s answer, carrying it out is [`super::act`]'s.

use super::spec::{self, Role};
use crate::{api::quantity::Quantity, runtime::model::Resources};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

type Amounts = BTreeMap<String, resource::Quantity>;

/// By container name; the pod's own resources stand under [`WHOLE`].
pub type Shares = BTreeMap<String, ResourceRequirements>;

/// No container has this name.
pub const WHOLE: &str = "";

/// A pod's resources on the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    /// What the node has granted; a container that is not named has what its spec says.
    pub granted: Shares,
    /// What the newest attempt of each container was given.
    pub actual: Shares,
    /// Why a wish was not granted.
    pub pending: Option<Pending>,
    /// Wishes were granted and are being carried out.
    pub in_progress: Option<InProgress>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// `Deferred` or `Infeasible`.
    pub reason: &'static str,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct InProgress {
    /// The pod's own limits hold what containers had as well as what they get: those that must start anew may do so.
    pub is_wide: bool,
    /// Why the last try failed; empty while all goes well.
    pub error: String,
    /// Not tried again before this moment.
    pub retry_at: Option<Timestamp>,
}

/// Room may come.
pub const DEFERRED: &str = "Deferred";
/// The node is too small.
pub const INFEASIBLE: &str = "Infeasible";

/// What a running container needs to have what was granted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// New limits in its cgroup.
    InPlace,
    /// Its `resizePolicy` wants a new start.
    Restart,
}

/// What the spec wishes for. Containers for debugging have no resources.
#[must_use]
pub fn wishes(spec: &PodSpec) -> Shares {
    let all = spec::containers(spec).into_iter();
    let wishes = all.filter(|wanted| wanted.role != Role::Ephemeral);
    let wishes = wishes.map(|wanted| {
        let resources = wanted.container.resources.clone();
        (wanted.name().to_owned(), resources.unwrap_or_default())
    });
    let whole = spec.resources.clone();
    wishes
        .chain(whole.map(|whole| (WHOLE.to_owned(), whole)))
        .collect()
}

/// Whether the spec wishes for something else than was granted.
#[must_use]
pub fn differs(spec: &PodSpec, granted: &Shares) -> bool {
    wishes(spec).iter().any(|(name, wish)| {
        match granted.get(name) {
            Some(granted) => !same(wish, granted),
            // A pod may get resources of its own later; containers it has had from the beginning.
            None => name == WHOLE && !granted.is_empty(),
        }
    })
}

/// The pod as if its spec said what was granted.
#[must_use]
pub fn granted(pod: &Arc<Pod>, granted: &Shares) -> Arc<Pod> {
    let spec = spec::of(pod);
    if !differs(&spec, granted) {
        return Arc::clone(pod);
    }
    let mut spec = spec.into_owned();
    let lists = [Some(&mut spec.containers), spec.init_containers.as_mut()];
    for container in lists.into_iter().flatten().flatten() {
        if let Some(granted) = granted.get(&container.name) {
            container.resources = Some(granted.clone());
        }
    }
    if !granted.is_empty() {
        spec.resources = granted.get(WHOLE).cloned();
    }
    let mut pod = Pod::clone(pod);
    pod.spec = Some(spec);
    Arc::new(pod)
}

/// What is to be done for a running container, if anything.
#[must_use]
pub fn change(container: &Container, allocation: &Allocation) -> Option<Change> {
    let granted = allocation.granted.get(&container.name)?;
    let actual = allocation.actual.get(&container.name)?;
    let changed: Vec<&str> = ["cpu", "memory"]
        .into_iter()
        .filter(|name| !same_in(name, granted, actual))
        .collect();
    if changed.is_empty() {
        return None;
    }
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    let restarts = policies.iter().any(|policy| {
        policy.restart_policy == "RestartContainer"
            && changed.contains(&policy.resource_name.as_str())
    });
    Some(if restarts {
        Change::Restart
    } else {
        Change::InPlace
    })
}

/// Whether the pod as a whole has yet to get what was granted to it. Containers without limits of their own have its.
#[must_use]
pub fn changes_whole(allocation: &Allocation) -> bool {
    let shares = [&allocation.granted, &allocation.actual].map(|shares| shares.get(WHOLE));
    match shares {
        [Some(granted), Some(actual)] => !same(granted, actual),
        [granted, actual] => granted.is_some() != actual.is_some(),
    }
}

/// Equal amounts, however they are written.
fn same(one: &ResourceRequirements, two: &ResourceRequirements) -> bool {
    let names = |resources: &ResourceRequirements| -> BTreeSet<String> {
        let lists = [&resources.limits, &resources.requests];
        let names = lists.into_iter().flatten().flat_map(BTreeMap::keys);
        names.cloned().collect()
    };
    let mut all = names(one);
    all.extend(names(two));
    all.iter().all(|name| same_in(name, one, two))
}

fn same_in(name: &str, one: &ResourceRequirements, two: &ResourceRequirements) -> bool {
    let amount = |amounts: &Option<Amounts>| {
        let text = &amounts.as_ref()?.get(name)?.0;
        Quantity::parse(text).ok()
    };
    amount(&one.limits) == amount(&two.limits) && amount(&one.requests) == amount(&two.requests)
}

/// Limits of the whole pod that neither the old nor the new limits of a container exceed: between the two a
/// container's quota must not be above its pod's.
#[must_use]
pub fn widest(one: &Resources, two: &Resources) -> Resources {
    // Zero is no limit.
    let wider = |one: i64, two: i64| {
        if one == 0 || two == 0 {
            0
        } else {
            one.max(two)
        }
    };
    Resources {
        cpu_shares: one.cpu_shares.max(two.cpu_shares),
        cpu_quota_us: wider(one.cpu_quota_us, two.cpu_quota_us),
        cpu_period_us: two.cpu_period_us,
        memory_limit_bytes: wider(one.memory_limit_bytes, two.memory_limit_bytes),
        pids_limit: wider(one.pids_limit, two.pids_limit),
    }
}

/// The text of a resize event: what is wished for, as JSON.
#[must_use]
pub fn summary(title: &str, spec: &PodSpec, generation: Option<i64>, error: &str) -> String {
    let of = |containers: &[Container]| -> Vec<Value> {
        let one = |container: &Container| {
            let mut one = json!({"name": container.name});
            one["resources"] =
                serde_json::to_value(container.resources.clone().unwrap_or_default())
                    .unwrap_or_default();
            one
        };
        containers.iter().map(one).collect()
    };
    let mut text = String::new();
    let mut add = |name: &str, value: Value| {
        let comma = if text.is_empty() { "" } else { "," };
        text.push_str(&format!("{comma}\"{name}\":{value}"));
    };
    let init = spec.init_containers.as_deref().unwrap_or_default();
    if !init.is_empty() {
        add("initContainers", of(init).into());
    }
    if let Some(whole) = &spec.resources {
        add("resources", serde_json::to_value(whole).unwrap_or_default());
    }
    add("containers", of(&spec.containers).into());
    add("generation", generation.unwrap_or_default().into());
    if !error.is_empty() {
        add("error", error.into());
    }
    format!("{title}: {{{text}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(cpu: &str, memory: &str) -> ResourceRequirements {
        let value = json!({"limits": {"cpu": cpu, "memory": memory}});
        serde_json::from_value(value).unwrap()
    }

    fn pod(cpu: &str, memory: &str, policies: &Value) -> Arc<Pod> {
        let container =
            json!({"name": "a", "resources": share(cpu, memory), "resizePolicy": policies});
        let pod = json!({"spec": {"containers": [container],
            "ephemeralContainers": [{"name": "e", "resources": share("9", "9")}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn wishes_are_told_from_what_was_granted_by_amount() {
        let given = Shares::from([("a".to_owned(), share("500m", "64Mi"))]);
        let same = pod("0.5", "65536Ki", &json!([]));
        assert!(!differs(&spec::of(&same), &given));
        assert!(Arc::ptr_eq(&granted(&same, &given), &same));
        let other = pod("1", "64Mi", &json!([]));
        assert!(differs(&spec::of(&other), &given));
        let seen = granted(&other, &given);
        let spec = spec::of(&seen);
        assert_eq!(wishes(&spec), given, "those for debugging do not count");
    }

    #[test]
    fn a_pod_has_resources_of_its_own() {
        let pod = |cpu: &str| -> PodSpec {
            let whole = share(cpu, "1Gi");
            let spec = json!({"resources": whole, "containers": [{"name": "a"}], "initContainers": [{"name": "i"}]});
            serde_json::from_value(spec).unwrap()
        };
        let granted = wishes(&pod("1"));
        let names: Vec<&str> = granted.keys().map(String::as_str).collect();
        assert_eq!(names, [WHOLE, "a", "i"]);
        assert!(!differs(&pod("1000m"), &granted));
        assert!(differs(&pod("2"), &granted));
        let mut without = granted.clone();
        without.remove(WHOLE);
        assert!(differs(&pod("1"), &without), "it had none before");
        let allocation = |actual: &Shares| Allocation {
            granted: granted.clone(),
            actual: actual.clone(),
            ..Allocation::default()
        };
        assert!(!changes_whole(&allocation(&granted)));
        assert!(changes_whole(&allocation(&without)));
    }

    #[test]
    fn a_change_restarts_where_the_policy_says_so() {
        let strict = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"},
            {"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        #[rustfmt::skip]
        let cases = [
            (("1", "1Gi"), None),
            (("2", "1Gi"), Some(Change::InPlace)),
            (("1", "2Gi"), Some(Change::Restart)),
            (("2", "2Gi"), Some(Change::Restart)),
        ];
        for ((cpu, memory), expected) in cases {
            let pod = pod(cpu, memory, &strict);
            let spec = spec::of(&pod);
            let allocation = Allocation {
                granted: wishes(&spec),
                actual: Shares::from([("a".to_owned(), share("1", "1Gi"))]),
                ..Allocation::default()
            };
            let found = change(&spec.containers[0], &allocation);
            assert_eq!(found, expected, "{cpu} {memory}");
        }
    }

    #[test]
    fn no_limit_is_the_widest() {
        let limits = |quota, memory| Resources {
            cpu_quota_us: quota,
            memory_limit_bytes: memory,
            ..Resources::default()
        };
        let both = widest(&limits(10, 5), &limits(20, 0));
        assert_eq!((both.cpu_quota_us, both.memory_limit_bytes), (20, 0));
    }

    #[test]
    fn events_tell_the_wish() {
        let pod = pod("1", "1Gi", &json!([]));
        let mut spec = spec::of(&pod).into_owned();
        spec.ephemeral_containers = None;
        assert_eq!(
            summary("Pod resize started", &spec, Some(2), ""),
            r#"Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}],"generation":2}"#
        );
    }
}
