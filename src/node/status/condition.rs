//! The conditions the node owns, in upstream's order, with upstream's reasons.

use super::{Scene, whole_seconds};
use crate::node::{observed::Sandbox, spec::Role};
use k8s_openapi::{
    api::core::v1::{ContainerStatus, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

pub(super) const RESIZE_PENDING: &str = "PodResizePending";
pub(super) const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// A condition without its times.
struct Finding {
    kind: &'static str,
    is_true: bool,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn yes(kind: &'static str) -> Finding {
        Finding::new(kind, true, "", String::new())
    }

    fn no(kind: &'static str, reason: &'static str, message: String) -> Finding {
        Finding::new(kind, false, reason, message)
    }

    fn new(kind: &'static str, is_true: bool, reason: &'static str, message: String) -> Finding {
        Finding {
            kind,
            is_true,
            reason,
            message,
        }
    }
}

pub(super) fn conditions(scene: &Scene<'_>, phase: &str, new: &PodStatus) -> Vec<PodCondition> {
    let has_sandbox = matches!(scene.observed.sandbox, Sandbox::Ready { .. });
    let containers_ready = containers_ready(scene, phase, new);
    let mut findings = vec![
        Finding::new("PodReadyToStartContainers", has_sandbox, "", String::new()),
        initialized(scene, phase, new),
        ready(scene, &containers_ready),
        containers_ready,
        Finding::yes("PodScheduled"),
    ];
    let mut conditions: Vec<PodCondition> = Vec::new();
    let verdict = scene.observed.verdict.as_ref();
    if let Some((reason, message)) = verdict.and_then(|verdict| verdict.disruption.clone()) {
        let mut condition = with_times(scene, Finding::yes("DisruptionTarget"));
        condition.reason = Some(reason);
        condition.message = Some(message);
        conditions.push(condition);
    }
    findings.extend(resizing(scene));
    let own = findings.drain(..).map(|finding| with_times(scene, finding));
    conditions.extend(own);
    conditions
}

/// A change of resources that waits, and one that is being carried out.
fn resizing(scene: &Scene<'_>) -> Vec<Finding> {
    let allocation = &scene.observed.allocation;
    let pending = allocation.pending.iter().map(|pending| {
        Finding::new(
            RESIZE_PENDING,
            true,
            pending.reason,
            pending.message.clone(),
        )
    });
    let in_progress = allocation.in_progress.iter().map(|progress| {
        let reason = if progress.error.is_empty() {
            ""
        } else {
            "Error"
        };
        Finding::new(RESIZE_IN_PROGRESS, true, reason, progress.error.clone())
    });
    pending.chain(in_progress).collect()
}

fn with_times(scene: &Scene<'_>, finding: Finding) -> PodCondition {
    let status = if finding.is_true { "True" } else { "False" };
    let text = |text: String| (!text.is_empty()).then_some(text);
    let mut conditions = scene.observed.reported.conditions.iter().flatten();
    let before = conditions.find(|before| before.type_ == finding.kind && before.status == status);
    let changed_at = before
        .and_then(|before| before.last_transition_time.clone())
        .unwrap_or_else(|| Time(whole_seconds(scene.now)));
    PodCondition {
        type_: finding.kind.to_owned(),
        status: status.to_owned(),
        reason: text(finding.reason.to_owned()),
        message: text(finding.message),
        observed_generation: scene.pod.metadata.generation,
        last_transition_time: Some(changed_at),
        last_probe_time: None,
    }
}

fn initialized(scene: &Scene<'_>, phase: &str, new: &PodStatus) -> Finding {
    const KIND: &str = "Initialized";
    if phase == "Succeeded" {
        return Finding::new(KIND, true, "PodCompleted", String::new());
    }
    let statuses = || new.container_statuses.iter().flatten();
    if statuses().any(|status| status.started == Some(true)) || scene.observed.has_begun(scene.all)
    {
        return Finding::yes(KIND);
    }
    let incomplete: Vec<&str> = named(scene, new)
        .filter(|(role, status)| match role {
            Role::Init => !status.ready,
            Role::Sidecar => status.started != Some(true),
            Role::Main | Role::Ephemeral => false,
        })
        .map(|(_, status)| status.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return Finding::yes(KIND);
    }
    let message = format!(
        "containers with incomplete status: [{}]",
        incomplete.join(" ")
    );
    Finding::no(KIND, "ContainersNotInitialized", message)
}

fn containers_ready(scene: &Scene<'_>, phase: &str, new: &PodStatus) -> Finding {
    const KIND: &str = "ContainersReady";
    match phase {
        "Succeeded" => return Finding::no(KIND, "PodCompleted", String::new()),
        "Failed" => return Finding::no(KIND, "PodFailed", String::new()),
        _ => {}
    }
    let unready: Vec<&str> = named(scene, new)
        .filter(|(role, status)| matches!(role, Role::Main | Role::Sidecar) && !status.ready)
        .map(|(_, status)| status.name.as_str())
        .collect();
    if unready.is_empty() {
        return Finding::yes(KIND);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Finding::no(KIND, "ContainersNotReady", message)
}

fn ready(scene: &Scene<'_>, containers: &Finding) -> Finding {
    const KIND: &str = "Ready";
    if !containers.is_true {
        return Finding::no(KIND, containers.reason, containers.message.clone());
    }
    let gates = scene.spec.readiness_gates.iter().flatten();
    let closed: Vec<String> = gates
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            let mut conditions = scene.observed.reported.conditions.iter().flatten();
            match conditions.find(|condition| condition.type_ == *kind) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{kind}\" does not exist."
                )),
                Some(condition) if condition.status == "True" => None,
                Some(condition) => Some(format!(
                    "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                    condition.status
                )),
            }
        })
        .collect();
    if closed.is_empty() {
        Finding::yes(KIND)
    } else {
        Finding::no(KIND, "ReadinessGatesNotReady", closed.join(", "))
    }
}

/// Init containers' and main containers' statuses with their roles, in the spec's order.
fn named<'a>(
    scene: &'a Scene<'_>,
    new: &'a PodStatus,
) -> impl Iterator<Item = (Role, &'a ContainerStatus)> {
    let init = new.init_container_statuses.iter().flatten();
    init.chain(new.container_statuses.iter().flatten())
        .filter_map(|status| {
            let mut all = scene.all.iter();
            let wanted = all.find(|wanted| wanted.name() == status.name)?;
            Some((wanted.role, status))
        })
}
