//! Taints and tolerations, and nodes that take no new pods.

use super::{Cycle, NodeInfo, Rejection, Verdict, normalize};
use crate::api::placement::tolerates;
use k8s_openapi::api::core::v1::{Taint, Toleration};

const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

pub fn unschedulable(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    let spec = node.node.spec.as_ref();
    if spec.and_then(|spec| spec.unschedulable) != Some(true) {
        return Ok(());
    }
    let taint = Taint {
        key: UNSCHEDULABLE_TAINT.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if tolerations(cycle).any(|one| tolerates(one, &taint)) {
        return Ok(());
    }
    Err(Rejection::for_good("node(s) were unschedulable"))
}

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    if has_untolerated(cycle, node, &["NoSchedule", "NoExecute"]) {
        return Err(Rejection::for_good("node(s) had untolerated taint(s)"));
    }
    Ok(())
}

/// Also for plug-ins that leave tainted nodes out of their counts.
pub fn has_untolerated(cycle: &Cycle<'_>, node: &NodeInfo, effects: &[&str]) -> bool {
    untolerated(cycle, node, effects) > 0
}

pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let counts: Vec<i64> = nodes
        .iter()
        .map(|node| untolerated(cycle, node, &["PreferNoSchedule"]))
        .collect();
    normalize(&counts, true)
}

fn untolerated(cycle: &Cycle<'_>, node: &NodeInfo, effects: &[&str]) -> i64 {
    let taints = node
        .node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_ref());
    let untolerated = taints
        .into_iter()
        .flatten()
        .filter(|taint| effects.contains(&taint.effect.as_str()))
        .filter(|taint| !tolerations(cycle).any(|one| tolerates(one, taint)));
    i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
}

fn tolerations<'a>(cycle: &'a Cycle<'_>) -> impl Iterator<Item = &'a Toleration> {
    let spec = cycle.pod.spec();
    spec.and_then(|spec| spec.tolerations.as_ref())
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_match_as_documented() {
        let cases = [
            (r#"{"operator":"Exists"}"#, true),
            (r#"{"operator":"Exists","effect":"NoExecute"}"#, false),
            (r#"{"key":"a","operator":"Exists"}"#, true),
            (r#"{"key":"b","operator":"Exists"}"#, false),
            (r#"{"key":"a","value":"1"}"#, true),
            (r#"{"key":"a","value":"2"}"#, false),
            (
                r#"{"key":"a","operator":"Equal","value":"1","effect":"NoSchedule"}"#,
                true,
            ),
            (r#"{"value":"1"}"#, false),
        ];
        let taint = Taint {
            key: "a".to_owned(),
            value: Some("1".to_owned()),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        for (toleration, expected) in cases {
            let parsed = serde_json::from_str(toleration).unwrap();
            assert_eq!(tolerates(&parsed, &taint), expected, "{toleration}");
        }
    }
}
