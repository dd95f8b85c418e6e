//! The plan of a pod that ends: main containers first, sidecars after them in reverse, then sandbox, volumes, object.

use super::{Ending, Plan, Scene, Step, stop};
use crate::node::{
    observed::{Job, Sandbox, Volumes},
    spec::{self, Role, Wanted},
};
use jiff::{SignedDuration, Timestamp};

pub(super) fn end(scene: &Scene<'_>, why: Ending, plan: &mut Plan) {
    let deadline = deadline(scene, why);
    let running: Vec<&Wanted<'_>> = scene
        .all
        .iter()
        .filter(|wanted| scene.observed.is_running(wanted.name()))
        .collect();
    let mains = running.iter().filter(|wanted| wanted.role != Role::Sidecar);
    let has_mains = mains.clone().count() > 0;
    // A start under way may still bring up something that has to be stopped first.
    let is_starting = scene.observed.is_busy(|job| matches!(job, Job::Start(_)));
    if has_mains {
        for wanted in mains {
            stop(scene, wanted, Some(deadline), plan);
        }
    } else if let Some(sidecar) = running.last().filter(|_| !is_starting) {
        stop(scene, sidecar, Some(deadline), plan);
    }
    if !running.is_empty() || is_starting || scene.observed.busy.contains(&Job::Sandbox) {
        return;
    }
    match scene.observed.sandbox {
        Sandbox::Ready { .. } | Sandbox::Dead => plan.steps.push(Step::RemoveSandbox),
        Sandbox::Absent | Sandbox::Failed { .. } | Sandbox::Removed => {
            dismantle(scene, why, plan);
        }
    }
}

fn dismantle(scene: &Scene<'_>, why: Ending, plan: &mut Plan) {
    let observed = scene.observed;
    if observed.busy.contains(&Job::Volumes) {
        return;
    }
    if observed.volumes != Volumes::TornDown {
        plan.steps.push(Step::TearDown {
            keeps_data: why == Ending::Shutdown,
        });
    } else if why == Ending::Deleted && !observed.busy.contains(&Job::Delete) {
        plan.steps.push(Step::Delete);
    }
}

/// When containers that still run are killed. The shortest of the graces that apply.
fn deadline(scene: &Scene<'_>, why: Ending) -> Timestamp {
    let own = spec::grace_seconds(scene.spec);
    let verdict = scene.observed.verdict.as_ref();
    let verdict = verdict.map(|verdict| verdict.grace_seconds.unwrap_or(own));
    let seconds = match why {
        Ending::Gone => 0,
        Ending::Deleted => {
            let asked = scene.pod.metadata.deletion_grace_period_seconds;
            asked
                .unwrap_or(own)
                .min(verdict.unwrap_or(i64::from(u32::MAX)))
        }
        Ending::Verdict => verdict.unwrap_or(own),
        Ending::Shutdown => scene.observed.shutdown.unwrap_or(own).min(own),
        Ending::Over => own,
    };
    let since = scene.observed.ending_since.unwrap_or(scene.now);
    since + SignedDuration::from_secs(seconds.clamp(0, i64::from(u32::MAX)))
}
