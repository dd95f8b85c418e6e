//! One look's outcome: the status, the events, and whether to scale. Pure but for the memory that is handed in.

use super::{
    behavior::{self, Memory},
    calculate::{self, Circumstances, Problem, Proposal, Tolerance},
    observe::{Observed, Scale},
};
use crate::{
    api::{name::Key, quantity::Quantity, selector::LabelSelector},
    controllers::framework::{Notice, stamp},
};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus, MetricStatus,
};

const TOLERANCE: f64 = 0.1;

/// What the status will be, unless scaling fails.
pub struct Draft {
    pub status: HorizontalPodAutoscalerStatus,
    pub notices: Vec<Notice>,
    pub wish: Option<Wish>,
    now: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub from: i32,
    pub to: i32,
    pub reason: String,
}

/// `rivals` are other autoscalers of the same pods.
pub fn decide(
    autoscaler: &HorizontalPodAutoscaler,
    observed: &Observed,
    rivals: &[Key],
    memory: &mut Memory,
    now: Timestamp,
) -> Draft {
    let mut draft = Draft {
        status: autoscaler.status.clone().unwrap_or_default(),
        notices: Vec::new(),
        wish: None,
        now,
    };
    let scale = match &observed.scale {
        Ok(scale) => scale,
        Err(why) => {
            draft.warn(autoscaler, "FailedGetScale", why.clone());
            let text = "the HPA controller was unable to get the target's current scale";
            draft.set(
                "AbleToScale",
                false,
                "FailedGetScale",
                &format!("{text}: {why}"),
            );
            return draft;
        }
    };
    let text = "the HPA controller was able to get the target's current scale";
    draft.set("AbleToScale", true, "SucceededGetScale", text);
    let current = scale.replicas;
    memory.begin(current, now);
    draft.status.current_replicas = Some(current);
    let low = autoscaler.spec.min_replicas.unwrap_or(1);
    let high = autoscaler.spec.max_replicas;
    if current == 0 && low != 0 {
        let text = "scaling is disabled since the replica count of the target is zero";
        draft.set("ScalingActive", false, "ScalingDisabled", text);
        draft.rest(0, Vec::new());
    } else if current > high {
        draft.status.current_metrics = None;
        draft.wish(
            current,
            high,
            "Current number of replicas above Spec.MaxReplicas",
        );
    } else if current < low {
        draft.status.current_metrics = None;
        draft.wish(
            current,
            low,
            "Current number of replicas below Spec.MinReplicas",
        );
    } else {
        draft.follow_metrics(autoscaler, observed, scale, rivals, memory);
    }
    draft
}

impl Draft {
    fn follow_metrics(
        &mut self,
        autoscaler: &HorizontalPodAutoscaler,
        observed: &Observed,
        scale: &Scale,
        rivals: &[Key],
        memory: &mut Memory,
    ) {
        let current = scale.replicas;
        if let Err((reason, message, condition)) = judge_selector(autoscaler, scale, rivals) {
            self.warn(autoscaler, event_of(reason), message.clone());
            self.set("ScalingActive", false, reason, &condition);
            return self.warn(autoscaler, "FailedComputeMetricsReplicas", message);
        }
        let around = Circumstances {
            observed,
            namespace: autoscaler.metadata.namespace.as_deref().unwrap_or_default(),
            current,
            tolerance: tolerance(autoscaler),
            now: self.now,
        };
        let metrics = autoscaler.spec.metrics.as_deref().unwrap_or_default();
        let mut statuses = vec![MetricStatus::default(); metrics.len()];
        let mut best: Option<Proposal> = None;
        let mut problems: Vec<Problem> = Vec::new();
        for (metric, status) in metrics.iter().zip(&mut statuses) {
            match calculate::propose(metric, &around) {
                Ok(proposal) => {
                    *status = proposal.status.clone();
                    if best
                        .as_ref()
                        .is_none_or(|best| proposal.replicas > best.replicas)
                    {
                        best = Some(proposal);
                    }
                }
                Err(problem) => {
                    self.warn(autoscaler, problem.reason, problem.message.clone());
                    problems.push(problem);
                }
            }
        }
        // With a metric unknown the load may be higher: no shrinking then.
        let best = best.filter(|best| problems.is_empty() || best.replicas >= current);
        let Some(best) = best else {
            self.status.current_metrics = (!statuses.is_empty()).then_some(statuses);
            return self.fail(autoscaler, &problems, metrics.len());
        };
        let text = format!(
            "the HPA was able to successfully calculate a replica count from {}",
            best.metric
        );
        self.set("ScalingActive", true, "ValidMetricFound", &text);
        let normal = behavior::normalize(autoscaler, current, best.replicas, memory, self.now);
        self.set("AbleToScale", true, normal.able.0, normal.able.1);
        self.set(
            "ScalingLimited",
            normal.is_limited,
            normal.limit.0,
            normal.limit.1,
        );
        if normal.replicas == current {
            return self.rest(current, statuses);
        }
        let reason = match best.replicas > current {
            true => format!("{} above target", best.metric),
            false => "All metrics below target".to_owned(),
        };
        self.status.current_metrics = Some(statuses);
        self.wish(current, normal.replicas, &reason);
    }

    fn fail(&mut self, autoscaler: &HorizontalPodAutoscaler, problems: &[Problem], count: usize) {
        let Some(first) = problems.first() else {
            return;
        };
        let text = "the HPA was unable to compute the replica count";
        let condition = format!("{text}: {}", first.message);
        self.set("ScalingActive", false, first.reason, &condition);
        let message = format!(
            "invalid metrics ({} invalid out of {count}), first error is: {}",
            problems.len(),
            first.summary
        );
        self.warn(autoscaler, "FailedComputeMetricsReplicas", message);
    }

    fn rest(&mut self, replicas: i32, metrics: Vec<MetricStatus>) {
        self.status.desired_replicas = replicas;
        self.status.current_metrics = (!metrics.is_empty()).then_some(metrics);
    }

    fn wish(&mut self, from: i32, to: i32, reason: &str) {
        self.wish = Some(Wish {
            from,
            to,
            reason: reason.to_owned(),
        });
    }

    /// The wish came true.
    pub fn rescaled(&mut self, autoscaler: &HorizontalPodAutoscaler, now: Timestamp) {
        let Some(wish) = self.wish.take() else { return };
        let text = "the HPA controller was able to update the target scale to";
        self.set(
            "AbleToScale",
            true,
            "SucceededRescale",
            &format!("{text} {}", wish.to),
        );
        let message = format!("New size: {}; reason: {}", wish.to, wish.reason);
        let notice = Notice::normal(autoscaler, "SuccessfulRescale", message);
        self.notices.push(notice);
        self.status.desired_replicas = wish.to;
        self.status.last_scale_time = Some(stamp(now));
    }

    pub fn refused(&mut self, autoscaler: &HorizontalPodAutoscaler, why: &str) {
        let Some(wish) = self.wish.take() else { return };
        let message = format!(
            "New size: {}; reason: {}; error: {why}",
            wish.to, wish.reason
        );
        self.warn(autoscaler, "FailedRescale", message);
        let text = "the HPA controller was unable to update the target scale";
        self.set(
            "AbleToScale",
            false,
            "FailedUpdateScale",
            &format!("{text}: {why}"),
        );
    }

    fn warn(&mut self, autoscaler: &HorizontalPodAutoscaler, reason: &str, message: String) {
        self.notices
            .push(Notice::warning(autoscaler, reason, message));
    }

    /// Keeps the time of the last transition while the status stays.
    fn set(&mut self, type_: &str, is_true: bool, reason: &str, message: &str) {
        let status = if is_true { "True" } else { "False" };
        let conditions = self.status.conditions.get_or_insert_default();
        let known = conditions.iter().position(|one| one.type_ == type_);
        let index = known.unwrap_or_else(|| {
            conditions.push(HorizontalPodAutoscalerCondition {
                type_: type_.to_owned(),
                ..HorizontalPodAutoscalerCondition::default()
            });
            conditions.len() - 1
        });
        let condition = &mut conditions[index];
        if condition.status != status {
            condition.last_transition_time = Some(stamp(self.now));
        }
        condition.status = status.to_owned();
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.to_owned());
    }
}

fn event_of(reason: &str) -> &str {
    match reason {
        "InvalidSelector" => "SelectorRequired",
        other => other,
    }
}

/// Reason, message of the event, message of the condition.
fn judge_selector(
    autoscaler: &HorizontalPodAutoscaler,
    scale: &Scale,
    rivals: &[Key],
) -> Result<(), (&'static str, String, String)> {
    if scale.selector.is_empty() {
        let condition = "the HPA target's scale is missing a selector";
        let message = "selector is required";
        return Err(("InvalidSelector", message.to_owned(), condition.to_owned()));
    }
    if let Err(why) = LabelSelector::parse(&scale.selector) {
        let message = format!(
            "couldn't convert selector into a corresponding internal selector object: {why}"
        );
        return Err(("InvalidSelector", message.clone(), message));
    }
    if !rivals.is_empty() {
        let own = autoscaler.metadata.name.as_deref().unwrap_or_default();
        let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
        let names = std::iter::once(own).chain(rivals.iter().map(|key| key.name.as_str()));
        let all: Vec<String> = names
            .map(|name| format!("{{{name} {namespace}}}"))
            .collect();
        let message = format!(
            "pods by selector {} are controlled by multiple HPAs: [{}]",
            scale.selector,
            all.join(" ")
        );
        return Err(("AmbiguousSelector", message.clone(), message));
    }
    Ok(())
}

fn tolerance(autoscaler: &HorizontalPodAutoscaler) -> Tolerance {
    let behavior = autoscaler.spec.behavior.as_ref();
    let own = |rules: Option<&HPAScalingRules>| {
        let text = rules.and_then(|rules| rules.tolerance.as_ref());
        let parsed = text.and_then(|text| Quantity::parse(&text.0).ok());
        parsed.map_or(TOLERANCE, Quantity::as_f64)
    };
    Tolerance {
        up: own(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
        down: own(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
    }
}
