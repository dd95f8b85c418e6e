//! What a failed pod means to the job: `podFailurePolicy`.

use crate::api::object::Object;
use k8s_openapi::api::{
    batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod},
};

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Count,
    Ignore,
    FailIndex,
    /// With the message of the condition.
    FailJob(String),
}

impl Verdict {
    pub fn is_counted(&self) -> bool {
        *self != Verdict::Ignore
    }
}

/// The first rule that matches decides; without one the failure counts.
pub fn verdict(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec
        .pod_failure_policy
        .as_ref()
        .map(|policy| policy.rules.as_slice());
    let mut rules = rules.unwrap_or_default().iter().enumerate();
    rules
        .find_map(|(number, rule)| apply(rule, number, pod))
        .unwrap_or(Verdict::Count)
}

fn apply(rule: &PodFailurePolicyRule, number: usize, pod: &Pod) -> Option<Verdict> {
    let key = pod.key();
    let action = &rule.action;
    let message = if let Some(codes) = &rule.on_exit_codes {
        let (container, code) = matching_exit(codes, pod)?;
        format!(
            "Container {container} for pod {key} failed with exit code {code} matching {action} rule at index {number}"
        )
    } else {
        let condition = matching_condition(rule, pod)?;
        format!("Pod {key} has condition {condition} matching {action} rule at index {number}")
    };
    Some(match action.as_str() {
        "FailJob" => Verdict::FailJob(message),
        "FailIndex" => Verdict::FailIndex,
        "Ignore" => Verdict::Ignore,
        _ => Verdict::Count,
    })
}

fn matching_exit<'a>(
    codes: &PodFailurePolicyOnExitCodesRequirement,
    pod: &'a Pod,
) -> Option<(&'a str, i32)> {
    let status = pod.status.as_ref()?;
    let all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten();
    let wanted = all.filter(|one| {
        codes
            .container_name
            .as_ref()
            .is_none_or(|name| *name == one.name)
    });
    let mut exits = wanted.filter_map(|one: &ContainerStatus| {
        let code = one.state.as_ref()?.terminated.as_ref()?.exit_code;
        (code != 0).then_some((one.name.as_str(), code))
    });
    let is_listed = |code: i32| codes.values.contains(&code);
    exits.find(|(_, code)| match codes.operator.as_str() {
        "In" => is_listed(*code),
        "NotIn" => !is_listed(*code),
        _ => false,
    })
}

fn matching_condition<'a>(rule: &PodFailurePolicyRule, pod: &'a Pod) -> Option<&'a str> {
    let patterns = rule.on_pod_conditions.as_ref()?;
    let mut conditions = pod.status.as_ref()?.conditions.as_ref()?.iter();
    let found = conditions.find(|condition| {
        patterns.iter().any(|pattern| {
            let status = pattern.status.as_deref().unwrap_or("True");
            pattern.type_ == condition.type_ && status == condition.status
        })
    });
    found.map(|condition| condition.type_.as_str())
}
