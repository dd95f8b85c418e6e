//! Looks at made-up loads; the clock begins at 05:00:00 and every pod has been ready for an hour.

use super::{
    behavior::Memory,
    decide::{Draft, decide},
    observe::{Observed, PodUse, Scale},
};
use crate::api::name::{Gvr, Key};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// State, CPU request and use in thousandths of a core; −1: not measured.
type Made = (&'static str, i64, i64);

struct Look {
    autoscaler: Value,
    current: i32,
    pods: Vec<Made>,
    memory: Memory,
    now: Timestamp,
}

fn look(current: i32, pods: &[Made]) -> Look {
    Look {
        autoscaler: json!({
            "metadata": {"namespace": "a", "name": "web"},
            "spec": {
                "minReplicas": 1, "maxReplicas": 10,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
            },
        }),
        current,
        pods: pods.to_vec(),
        memory: Memory::default(),
        now: "2026-11-21T05:00:00Z".parse().unwrap(),
    }
}

fn pod(number: usize, state: &str, request: i64) -> Pod {
    let phase = if state == "Pending" {
        "Pending"
    } else {
        "Running"
    };
    let is_ready = if state == "Ready" { "True" } else { "False" };
    let start = if state == "Starting" {
        "04:59:50"
    } else {
        "04:00:00"
    };
    let resources = match request {
        0 => json!({}),
        _ => json!({"requests": {"cpu": format!("{request}m")}}),
    };
    serde_json::from_value(json!({
        "metadata": {"namespace": "a", "name": format!("web-{number}"), "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "nginx", "resources": resources}]},
        "status": {"phase": phase, "startTime": format!("2026-11-21T{start}Z"), "conditions": [
            {"type": "Ready", "status": is_ready, "lastTransitionTime": format!("2026-11-21T{start}Z")},
        ]},
    }))
    .unwrap()
}

impl Look {
    fn run(&mut self) -> Draft {
        self.run_with("app=web", &[])
    }

    fn run_with(&mut self, selector: &str, rivals: &[Key]) -> Draft {
        let autoscaler: HorizontalPodAutoscaler =
            serde_json::from_value(self.autoscaler.clone()).unwrap();
        let pods = self.pods.iter().enumerate();
        let measured = pods.clone().filter(|(_, (_, _, used))| *used >= 0);
        let usage = measured.map(|(number, (_, _, used))| {
            let amounts = BTreeMap::from([("cpu".to_owned(), *used)]);
            let one = PodUse {
                at: self.now,
                window: SignedDuration::from_secs(15),
                containers: BTreeMap::from([("nginx".to_owned(), amounts)]),
            };
            (format!("web-{number}"), one)
        });
        let observed = Observed {
            scale: Ok(Scale {
                resource: Gvr::new("apps", "v1", "deployments"),
                key: Key::new("a", "web"),
                document: json!({}),
                replicas: self.current,
                selector: selector.to_owned(),
            }),
            usage: Ok(usage.collect()),
            pods: pods
                .map(|(number, (state, request, _))| Arc::new(pod(number, state, *request)))
                .collect(),
        };
        let mut draft = decide(&autoscaler, &observed, rivals, &mut self.memory, self.now);
        if let Some(wish) = draft.wish.clone() {
            self.memory.scaled(wish.from, wish.to, self.now);
            draft.rescaled(&autoscaler, self.now);
            self.current = wish.to;
        }
        self.autoscaler["status"] = json!(draft.status);
        draft
    }

    fn later(&mut self, seconds: i64) -> &mut Look {
        self.now += SignedDuration::from_secs(seconds);
        self
    }

    fn each_uses(&mut self, milli: i64) -> &mut Look {
        let count = usize::try_from(self.current).unwrap();
        self.pods = vec![("Ready", 100, milli); count];
        self
    }
}

fn condition(draft: &Draft, type_: &str) -> String {
    let all = draft.status.conditions.iter().flatten();
    let mut found = all.filter(|one| one.type_ == type_);
    found.next().map_or(String::new(), |one| {
        format!("{} {}", one.status, one.reason.as_deref().unwrap())
    })
}

#[test]
fn load_decides_the_count() {
    const READY: &str = "Ready";
    // Replicas, pods, wanted.
    let table: &[(i32, &[Made], i32)] = &[
        (1, &[(READY, 100, 100)], 2),
        (2, &[(READY, 100, 50), (READY, 100, 50)], 2),
        // Within a tenth nothing happens.
        (2, &[(READY, 100, 54), (READY, 100, 55)], 2),
        (2, &[(READY, 100, 57), (READY, 100, 57)], 3),
        // Never more than twice as many or four at once.
        (1, &[(READY, 100, 1000)], 4),
        (
            3,
            &[(READY, 100, 1000), (READY, 100, 1000), (READY, 100, 1000)],
            6,
        ),
        // Who is not ready, or starts, counts as idle where growth is at stake.
        (2, &[(READY, 100, 100), ("Pending", 100, -1)], 2),
        (2, &[(READY, 100, 200), ("Starting", 100, 200)], 4),
        // Who was not measured too.
        (2, &[(READY, 100, 100), (READY, 100, -1)], 2),
        (
            3,
            &[(READY, 100, 300), (READY, 100, 300), (READY, 100, -1)],
            6,
        ),
    ];
    for (current, pods, wanted) in table {
        let draft = look(*current, pods).run();
        assert_eq!(draft.status.desired_replicas, *wanted, "{current} {pods:?}");
        assert_eq!(condition(&draft, "ScalingActive"), "True ValidMetricFound");
    }
}

#[test]
fn shrinking_waits_five_minutes() {
    let mut look = look(4, &[]);
    look.each_uses(10);
    let draft = look.run();
    assert_eq!(draft.status.desired_replicas, 4);
    assert_eq!(condition(&draft, "AbleToScale"), "True ScaleDownStabilized");
    assert_eq!(look.later(200).run().status.desired_replicas, 4);
    let draft = look.later(101).run();
    assert_eq!(draft.status.desired_replicas, 1);
    assert_eq!(draft.notices[0].reason, "SuccessfulRescale");
    assert_eq!(
        draft.notices[0].message,
        "New size: 1; reason: All metrics below target"
    );
    assert!(draft.status.last_scale_time.is_some());
}

#[test]
fn growth_is_told_with_its_reason_and_its_limits() {
    let mut look = look(4, &[]);
    let draft = look.each_uses(1000).run();
    assert_eq!(
        draft.notices[0].message,
        "New size: 8; reason: cpu resource utilization (percentage of request) above target"
    );
    assert_eq!(condition(&draft, "ScalingLimited"), "True ScaleUpLimit");
    assert_eq!(condition(&draft, "AbleToScale"), "True SucceededRescale");
    let current = &draft.status.current_metrics.as_ref().unwrap()[0]
        .resource
        .as_ref()
        .unwrap()
        .current;
    assert_eq!(current.average_utilization, Some(1000));
    assert_eq!(current.average_value.as_ref().unwrap().0, "1");
    let draft = look.later(15).each_uses(1000).run();
    assert_eq!(draft.status.desired_replicas, 10);
    assert_eq!(condition(&draft, "ScalingLimited"), "True TooManyReplicas");
}

#[test]
fn behavior_sets_windows_and_rates() {
    let rules = |value: Value| {
        let mut look = look(4, &[]);
        look.autoscaler["spec"]["behavior"] = value;
        look
    };
    let down = |policy: Value, select: &str| {
        json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]},
            "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": policy},
        })
    };
    let one_a_minute = json!([{"type": "Pods", "value": 1, "periodSeconds": 60}]);
    let mut slow = rules(down(one_a_minute.clone(), "Max"));
    let draft = slow.each_uses(0).run();
    assert_eq!(draft.status.desired_replicas, 3);
    assert_eq!(condition(&draft, "ScalingLimited"), "True ScaleDownLimit");
    assert_eq!(slow.later(30).each_uses(0).run().status.desired_replicas, 3);
    assert_eq!(slow.later(30).each_uses(0).run().status.desired_replicas, 2);

    let both = json!([{"type": "Percent", "value": 50, "periodSeconds": 60}, {"type": "Pods", "value": 1, "periodSeconds": 60}]);
    for (select, wanted) in [("Max", 2), ("Min", 3), ("Disabled", 4)] {
        let mut look = rules(down(both.clone(), select));
        assert_eq!(
            look.each_uses(0).run().status.desired_replicas,
            wanted,
            "{select}"
        );
    }
    // Growth that waits: the lowest recommendation of a minute counts.
    let mut patient = rules(down(one_a_minute, "Max"));
    patient.autoscaler["spec"]["behavior"]["scaleUp"]["stabilizationWindowSeconds"] = 60.into();
    let draft = patient.each_uses(100).run();
    assert_eq!(draft.status.desired_replicas, 4);
    assert_eq!(condition(&draft, "AbleToScale"), "True ScaleUpStabilized");
    assert_eq!(
        patient
            .later(61)
            .each_uses(100)
            .run()
            .status
            .desired_replicas,
        8
    );
    // A tolerance of its own.
    let mut fine = rules(json!({"scaleUp": {"tolerance": "0"}}));
    assert_eq!(fine.each_uses(53).run().status.desired_replicas, 5);
}

#[test]
fn values_and_single_containers_are_targets_too() {
    let mut average = look(2, &[("Ready", 0, 300), ("Ready", 0, 300)]);
    average.autoscaler["spec"]["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "200m"}}}]);
    let draft = average.run();
    assert_eq!(draft.status.desired_replicas, 3);
    assert_eq!(
        draft.notices[0].message,
        "New size: 3; reason: cpu resource above target"
    );
    let mut container = look(1, &[("Ready", 100, 100)]);
    container.autoscaler["spec"]["metrics"] = json!([{"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "nginx", "target": {"type": "Utilization", "averageUtilization": 50}}}]);
    assert_eq!(container.run().status.desired_replicas, 2);
}

#[test]
fn what_cannot_be_computed_is_said() {
    let table = [
        (
            vec![("Ready", 0, 50)],
            "missing request for cpu in container nginx of Pod web-0",
            "failed to get cpu utilization: ",
        ),
        (
            vec![("Ready", 100, -1)],
            "unable to get metrics for resource cpu: no metrics returned from resource metrics API",
            "failed to get cpu utilization: ",
        ),
        (
            vec![("Starting", 100, 50)],
            "did not receive metrics for targeted pods (pods might be unready)",
            "failed to get cpu utilization: ",
        ),
    ];
    for (pods, why, prefix) in table {
        let mut look = look(1, &pods);
        let draft = look.run();
        assert_eq!(
            condition(&draft, "ScalingActive"),
            "False FailedGetResourceMetric"
        );
        assert_eq!(draft.notices[0].message, format!("{prefix}{why}"));
        assert_eq!(
            draft.notices[1].message,
            format!(
                "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {prefix}{why}"
            )
        );
        assert_eq!(draft.notices[1].reason, "FailedComputeMetricsReplicas");
        assert!(draft.wish.is_none());
    }
}

#[test]
fn bounds_zero_and_selectors() {
    for (current, wanted, reason) in [
        (12, 10, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
    ] {
        let mut look = look(current, &[]);
        look.autoscaler["spec"]["minReplicas"] = 2.into();
        let draft = look.run();
        assert_eq!(
            draft.notices[0].message,
            format!("New size: {wanted}; reason: {reason}")
        );
    }
    let draft = look(0, &[]).run();
    assert_eq!(condition(&draft, "ScalingActive"), "False ScalingDisabled");
    let draft = look(1, &[("Ready", 100, 100)]).run_with("", &[]);
    assert_eq!(condition(&draft, "ScalingActive"), "False InvalidSelector");
    let draft = look(1, &[("Ready", 100, 100)]).run_with("app=web", &[Key::new("a", "other")]);
    assert_eq!(
        condition(&draft, "ScalingActive"),
        "False AmbiguousSelector"
    );
    assert_eq!(
        draft.notices[0].message,
        "pods by selector app=web are controlled by multiple HPAs: [{web a} {other a}]"
    );
}

#[test]
fn metrics_that_nobody_serves_are_named_as_upstream_names_them() {
    const CUSTOM: &str = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    let target = json!({"type": "AverageValue", "averageValue": "1"});
    let object = json!({"apiVersion": "v1", "kind": "Service", "name": "db"});
    let external = |selector: Value| json!({"type": "External", "external": {"metric": {"name": "qps", "selector": selector}, "target": target}});
    let missing = "unable to fetch metrics from external metrics API: the server could not find the requested resource (get qps.external.metrics.k8s.io)";
    let table = [
        (
            json!({"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": target}}),
            "FailedGetPodsMetric",
            "pods metric",
            format!("unable to get metric qps: {CUSTOM}"),
        ),
        (
            json!({"type": "Object", "object": {"metric": {"name": "qps"}, "describedObject": object, "target": target}}),
            "FailedGetObjectMetric",
            "object metric",
            format!("unable to get metric qps: Service on a db/{CUSTOM}"),
        ),
        (
            external(json!(null)),
            "FailedGetExternalMetric",
            "qps external metric",
            format!("unable to get external metric a/qps/nil: {missing}"),
        ),
        (
            external(
                json!({"matchLabels": {"q": "x"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["a", "b"]}]}),
            ),
            "FailedGetExternalMetric",
            "qps external metric",
            format!(
                "unable to get external metric a/qps/&LabelSelector{{MatchLabels:map[string]string{{q: x,}},MatchExpressions:[]LabelSelectorRequirement{{LabelSelectorRequirement{{Key:k,Operator:In,Values:[a b],}},}},}}: {missing}"
            ),
        ),
    ];
    for (metric, reason, what, why) in table {
        let mut look = look(1, &[("Ready", 100, 100)]);
        look.autoscaler["spec"]["metrics"] = json!([metric]);
        let draft = look.run();
        assert_eq!(
            condition(&draft, "ScalingActive"),
            format!("False {reason}")
        );
        assert_eq!(draft.notices[0].message, why);
        assert_eq!(
            draft.notices[1].message,
            format!(
                "invalid metrics (1 invalid out of 1), first error is: failed to get {what} value: {why}"
            )
        );
    }
}
