//! Which daemons to create and which to delete now.

use super::{
    View,
    node::{self, Verdict},
    pauses::Pauses,
};
use crate::{
    api::object::Object,
    controllers::{
        framework::{Decision, Notice, World, Write, controller_ref},
        pods,
        revision::HASH_LABEL,
        share::{self, Round},
    },
};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub fn next(view: &View<'_>, pauses: &Pauses, world: &World, decision: &mut Decision) {
    let mut is_settled = true;
    for (node, verdict) in &view.nodes {
        is_settled &= manage(view, node, *verdict, pauses, world, decision);
    }
    for (name, pods) in &view.by_node {
        let is_known = view.nodes.iter().any(|(node, _)| node.key().name == *name);
        // Pods of nodes that are gone are removed by their own collector; unpinned ones are nobody's.
        if !is_known && name.is_empty() {
            pods.iter()
                .for_each(|pod| decision.push(deletion(view, pod)));
        }
    }
    let strategy = view.spec.update_strategy.as_ref();
    let is_rolling = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete");
    if is_settled && is_rolling {
        roll(view, world, decision);
    }
}

/// Brings one node to one pod, whatever its template; whether nothing was to do.
fn manage(
    view: &View<'_>,
    node: &Arc<Node>,
    verdict: Verdict,
    pauses: &Pauses,
    world: &World,
    decision: &mut Decision,
) -> bool {
    let pods = view.pods_on(node);
    if verdict == Verdict::Leave {
        let living = pods.iter().filter(|pod| !pod.is_deleting());
        living.for_each(|pod| decision.push(deletion(view, pod)));
        return true;
    }
    let mut running: Vec<&Arc<Pod>> = Vec::new();
    let mut is_settled = true;
    for pod in pods.iter().filter(|pod| !pod.is_deleting()) {
        if !pods::is_terminal(pod) {
            running.push(pod);
            continue;
        }
        // A node that pauses holds up no other.
        if let Err(left) = pauses.begin(view.set.uid(), &node.key().name, world.now) {
            decision.again(left);
            continue;
        }
        is_settled = false;
        let (phase, reason) = match pods::phase(pod) {
            "Failed" => ("failed", "FailedDaemonPod"),
            _ => ("succeeded", "SucceededDaemonPod"),
        };
        let text = format!(
            "Found {phase} daemon pod {} on node {}, will try to kill it",
            pod.key(),
            node.key().name
        );
        let notice = if phase == "failed" {
            Notice::warning(view.set, reason, text)
        } else {
            Notice::normal(view.set, reason, text)
        };
        decision.push(notice);
        decision.push(deletion(view, pod));
    }
    if pods.is_empty() && verdict == Verdict::Run {
        decision.push(creation(view, &node.key().name));
        return false;
    }
    // With surge an old and a new pod live side by side for a while.
    let groups = [true, false].map(|is_current| {
        running
            .iter()
            .filter(|pod| view.is_current(pod) == is_current)
            .copied()
            .collect::<Vec<_>>()
    });
    for mut group in groups {
        group.sort_by_key(|pod| {
            (
                !pods::is_ready(pod),
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            )
        });
        for pod in group.iter().skip(1) {
            decision.push(deletion(view, pod));
            is_settled = false;
        }
    }
    is_settled
}

/// Replaces outdated pods within `maxUnavailable`, or ahead of them within `maxSurge`.
fn roll(view: &View<'_>, world: &World, decision: &mut Decision) {
    let desired = view
        .nodes
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Run)
        .count();
    let (surge, unavailable) = margins(view, i32::try_from(desired).unwrap_or(i32::MAX));
    let is_available = |pod: &Pod, decision: &mut Decision| match pods::available_at(
        pod,
        view.min_ready_seconds(),
    ) {
        Some(at) if at <= world.now && !pod.is_deleting() => true,
        Some(at) if at > world.now => {
            decision.again(at.duration_since(world.now).unsigned_abs());
            false
        }
        _ => false,
    };
    let mut lacking = 0;
    let mut surging = 0;
    let mut candidates = Vec::new();
    for (node, _) in view
        .nodes
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Run)
    {
        let pods = view.pods_on(node);
        let new = pods
            .iter()
            .find(|pod| view.is_current(pod) && !pod.is_deleting());
        let old = pods
            .iter()
            .find(|pod| !view.is_current(pod) && !pod.is_deleting());
        let new_serves = new.is_some_and(|pod| is_available(pod, decision));
        let old_serves = old.is_some_and(|pod| is_available(pod, decision));
        match (new, old) {
            (Some(_), Some(old)) if new_serves => decision.push(deletion(view, old)),
            (Some(_), Some(_)) => surging += 1,
            (None, Some(old)) if !old_serves && surge == 0 => {
                // It serves nobody: replacing it costs nothing.
                lacking += 1;
                decision.push(deletion(view, old));
            }
            // A new pod beside one that serves nobody is no surge.
            (None, Some(_)) if !old_serves => decision.push(creation(view, &node.key().name)),
            (None, Some(old)) => candidates.push((node, old)),
            (_, None) if !new_serves => lacking += 1,
            _ => {}
        }
    }
    if surge > 0 {
        let room = usize::try_from(surge - surging).unwrap_or_default();
        let nodes = candidates.iter().take(room);
        nodes.for_each(|(node, _)| decision.push(creation(view, &node.key().name)));
    } else {
        let room = usize::try_from(unavailable - lacking).unwrap_or_default();
        candidates
            .iter()
            .take(room)
            .for_each(|(_, old)| decision.push(deletion(view, old)));
    }
}

/// `maxSurge` and `maxUnavailable`; never both zero.
fn margins(view: &View<'_>, desired: i32) -> (i32, i32) {
    let rolling = view
        .spec
        .update_strategy
        .as_ref()
        .and_then(|one| one.rolling_update.as_ref());
    let surge = rolling.and_then(|one| one.max_surge.as_ref());
    let surge = surge
        .and_then(|value| share::resolve(value, desired, Round::Up))
        .unwrap_or_default();
    let unavailable = rolling.and_then(|one| one.max_unavailable.as_ref());
    let unavailable = unavailable.and_then(|value| share::resolve(value, desired, Round::Up));
    let unavailable = unavailable.unwrap_or(i32::from(surge == 0));
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    }
}

fn creation(view: &View<'_>, node: &str) -> Write {
    let key = view.set.key();
    let owner = controller_ref(view.set);
    let mut pod = pods::from_template(&view.spec.template, &key.namespace, &key.name, owner);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), view.hash.clone());
    let annotations = view.set.metadata.annotations.as_ref();
    if let Some(generation) = annotations.and_then(|all| all.get(TEMPLATE_GENERATION)) {
        labels.insert("pod-template-generation".to_owned(), generation.clone());
    }
    let spec = pod.spec.get_or_insert_default();
    node::pin(&mut spec.affinity, node);
    let own = spec.tolerations.get_or_insert_default();
    for toleration in node::tolerations(spec.host_network == Some(true)) {
        if !own.contains(&toleration) {
            own.push(toleration);
        }
    }
    Write::create(&pod)
        .told(Notice::normal(
            view.set,
            "SuccessfulCreate",
            "Created pod: ",
        ))
        .lamented(Notice::warning(
            view.set,
            "FailedCreate",
            "Error creating: ",
        ))
}

fn deletion(view: &View<'_>, pod: &Pod) -> Write {
    let told = format!("Deleted pod: {}", pod.key().name);
    Write::delete(pod)
        .told(Notice::normal(view.set, "SuccessfulDelete", told))
        .lamented(Notice::warning(
            view.set,
            "FailedDelete",
            "Error deleting: ",
        ))
}
