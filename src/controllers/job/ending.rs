//! Whether and how a job ends. The end is announced first (`SuccessCriteriaMet`, `FailureTarget`) and stated
//! (`Complete`, `Failed`) when no pod of the job runs any more and all are counted.

use super::{
    account::Totals,
    condition, index,
    policy::{self, Verdict},
    seconds, set_condition,
    survey::{Survey, is_tracked},
};
use crate::controllers::{
    framework::{Decision, Notice, World},
    pods,
};
use k8s_openapi::api::batch::v1::{JobStatus, SuccessPolicyRule};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    is_success: bool,
    reason: String,
    message: String,
}

impl End {
    fn failure(reason: &str, message: impl Into<String>) -> End {
        End {
            is_success: false,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    fn success(reason: &str, message: impl Into<String>) -> End {
        End {
            is_success: true,
            ..End::failure(reason, message)
        }
    }
}

/// `None` while the job goes on.
pub fn of(survey: &Survey<'_>, status: &JobStatus, totals: &Totals, world: &World) -> Option<End> {
    let announced = |type_: &str| {
        let found = condition(status, type_).filter(|one| one.status == "True")?;
        Some((
            found.reason.clone().unwrap_or_default(),
            found.message.clone().unwrap_or_default(),
        ))
    };
    if let Some((reason, message)) = announced("FailureTarget") {
        return Some(End::failure(&reason, message));
    }
    if let Some((reason, message)) = announced("SuccessCriteriaMet") {
        return Some(End::success(&reason, message));
    }
    failure(survey, status, totals, world).or_else(|| success(survey, totals))
}

fn failure(survey: &Survey<'_>, status: &JobStatus, totals: &Totals, world: &World) -> Option<End> {
    let verdicts = survey
        .failed
        .iter()
        .map(|pod| policy::verdict(survey.spec, pod));
    let mut fatal = verdicts.filter_map(|verdict| match verdict {
        Verdict::FailJob(message) => Some(message),
        _ => None,
    });
    if let Some(message) = fatal.next() {
        return Some(End::failure("PodFailurePolicy", message));
    }
    let limit = survey.spec.backoff_limit.unwrap_or(i32::MAX);
    if totals.failed > limit || restarts_exceed(survey, limit) {
        let text = "Job has reached the specified backoff limit";
        return Some(End::failure("BackoffLimitExceeded", text));
    }
    let is_running = survey.spec.suspend != Some(true);
    let has_deadline = survey.spec.active_deadline_seconds.is_some();
    if is_running && has_deadline && until_deadline(survey, status, world).is_none() {
        let text = "Job was active longer than specified deadline";
        return Some(End::failure("DeadlineExceeded", text));
    }
    let failed = i32::try_from(totals.failed_indexes.len()).unwrap_or(i32::MAX);
    if survey
        .spec
        .max_failed_indexes
        .is_some_and(|max| failed > max)
    {
        let text = "Job has exceeded the specified maximal number of failed indexes";
        return Some(End::failure("MaxFailedIndexesExceeded", text));
    }
    let settled = totals.completed.len() + totals.failed_indexes.len();
    let all = survey
        .completions()
        .and_then(|all| usize::try_from(all).ok());
    if failed > 0 && Some(settled) == all {
        return Some(End::failure("FailedIndexes", "Job has failed indexes"));
    }
    None
}

/// Containers that are restarted in place count as failures too.
fn restarts_exceed(survey: &Survey<'_>, limit: i32) -> bool {
    let template = survey.spec.template.spec.as_ref();
    let policy = template.and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts: i32 = survey.active.iter().map(|pod| pods::restarts(pod)).sum();
    if limit == 0 {
        restarts > 0
    } else {
        restarts >= limit
    }
}

fn success(survey: &Survey<'_>, totals: &Totals) -> Option<End> {
    let rules = survey
        .spec
        .success_policy
        .as_ref()
        .map(|policy| policy.rules.as_slice());
    let mut rules = rules.unwrap_or_default().iter();
    if let Some(number) = rules.position(|rule| is_met(rule, survey, totals)) {
        let text = format!("Matched rules at index {number}");
        return Some(End::success("SuccessPolicy", text));
    }
    let is_reached = match survey.completions() {
        Some(completions) => totals.succeeded >= completions,
        None => totals.succeeded > 0 && survey.active.is_empty() && survey.terminating == 0,
    };
    let text = "Reached expected number of succeeded pods";
    is_reached.then(|| End::success("CompletionsReached", text))
}

fn is_met(rule: &SuccessPolicyRule, survey: &Survey<'_>, totals: &Totals) -> bool {
    let below = survey.completions().unwrap_or_default();
    let wanted = rule
        .succeeded_indexes
        .as_deref()
        .map(|text| index::parse(Some(text), below));
    let done = match &wanted {
        Some(wanted) => wanted.intersection(&totals.completed).count(),
        None => totals.completed.len(),
    };
    match (rule.succeeded_count, &wanted) {
        (Some(count), _) => i32::try_from(done).unwrap_or(i32::MAX) >= count,
        (None, Some(wanted)) => done == wanted.len(),
        (None, None) => false,
    }
}

/// Time left of `activeDeadlineSeconds`; `None` when there is no deadline or it has passed.
pub fn until_deadline(survey: &Survey<'_>, status: &JobStatus, world: &World) -> Option<Duration> {
    let limit = survey.spec.active_deadline_seconds?;
    let started = status.start_time.as_ref().map_or(world.now, |time| time.0);
    world.until(started, seconds(limit))
}

/// Writes the end into the status: the announcement now, the statement when everything has ended.
pub fn announce(
    survey: &Survey<'_>,
    end: &End,
    status: &mut JobStatus,
    world: &World,
    decision: &mut Decision,
) {
    let now = world.stamp();
    let told = ("True", end.reason.as_str(), end.message.as_str());
    let (first, last) = match end.is_success {
        true => ("SuccessCriteriaMet", "Complete"),
        false => ("FailureTarget", "Failed"),
    };
    if condition(status, first).is_none() {
        set_condition(status, first, told, &now);
    }
    let noted = status.uncounted_terminated_pods.as_ref();
    let is_counted = noted.is_none_or(|noted| noted.succeeded.is_none() && noted.failed.is_none());
    let is_over = survey.active.is_empty()
        && survey.terminating == 0
        && is_counted
        && !survey.pods.iter().any(|pod| is_tracked(pod));
    if !is_over {
        return;
    }
    set_condition(status, last, told, &now);
    if end.is_success {
        status.completion_time = Some(now);
        decision.push(Notice::normal(survey.job, "Completed", "Job completed"));
    } else {
        decision.push(Notice::warning(
            survey.job,
            &end.reason,
            end.message.clone(),
        ));
    }
}
