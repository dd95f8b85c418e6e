//! Small documents before and after; what comes out is valid, and a second pass changes nothing.

use crate::{api::schema, kinds};
use serde_json::{Value, json};

fn defaulted(group_version: &str, name: &str, mut object: Value) -> Value {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let kind = kinds::find_kind(group, version, name).unwrap();
    schema::default(&mut object, kind.definition);
    if let Some(default) = kind.hooks.default {
        default(&mut object);
        let once = object.clone();
        default(&mut object);
        assert_eq!(object, once, "{name}: a second pass changes nothing");
    }
    if let Some(prepare) = kind.hooks.prepare_create {
        prepare(&mut object);
    }
    if let Some(validate) = kind.hooks.validate {
        assert_eq!(validate(&object), [], "{name} is valid");
    }
    object
}

#[test]
fn the_smallest_pod() {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "d"},
        "spec": {"containers": [
            {"name": "a", "image": "nginx", "ports": [{"containerPort": 80}]},
            {"name": "b", "image": "nginx:1.2", "livenessProbe": {"httpGet": {"port": 80}},
             "resources": {"limits": {"cpu": "1"}}},
        ], "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}]},
    });
    let pod = defaulted("v1", "Pod", pod);
    let (spec, first) = (&pod["spec"], &pod["spec"]["containers"][0]);
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["securityContext"], json!({}));
    assert_eq!(spec["enableServiceLinks"], true);
    assert_eq!(first["imagePullPolicy"], "Always");
    assert_eq!(
        first["ports"][0],
        json!({"containerPort": 80, "protocol": "TCP"})
    );
    let second = &spec["containers"][1];
    assert_eq!(second["imagePullPolicy"], "IfNotPresent");
    assert_eq!(second["resources"]["requests"], json!({"cpu": "1"}));
    assert_eq!(
        second["livenessProbe"],
        json!({
            "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3,
        })
    );
    assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
    assert_eq!(spec["volumes"][1]["configMap"]["defaultMode"], 420);
    assert_eq!(
        pod["status"],
        json!({"phase": "Pending", "qosClass": "Burstable"})
    );
}

#[test]
fn pull_policies_follow_tags() {
    let table = [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("nginx:latest@sha256:00", "Always"),
    ];
    for (image, policy) in table {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": image}]}});
        let pod = defaulted("v1", "Pod", pod);
        assert_eq!(
            pod["spec"]["containers"][0]["imagePullPolicy"], policy,
            "{image}"
        );
    }
}

fn workload() -> Value {
    json!({"metadata": {"name": "w", "uid": "u"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}},
    }})
}

#[test]
fn the_smallest_workloads_are_valid() {
    let deployment = defaulted("apps/v1", "Deployment", workload());
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["progressDeadlineSeconds"], 600);
    assert_eq!(
        deployment["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!(
        deployment["spec"]["template"]["spec"]["enableServiceLinks"],
        Value::Null
    );
    for name in ["ReplicaSet", "StatefulSet", "DaemonSet"] {
        defaulted("apps/v1", name, workload());
    }
    let mut job = workload();
    job["spec"]["selector"] = Value::Null;
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    let job = defaulted("batch/v1", "Job", job);
    assert_eq!(job["spec"]["completions"], 1);
    assert_eq!(job["spec"]["backoffLimit"], 6);
    assert_eq!(
        job["spec"]["selector"]["matchLabels"],
        json!({"batch.kubernetes.io/controller-uid": "u"})
    );
    assert_eq!(
        job["spec"]["template"]["metadata"]["labels"]["job-name"],
        "w"
    );
    let mut template = workload();
    template["spec"]["template"]["spec"]["restartPolicy"] = json!("OnFailure");
    let cron = json!({"metadata": {"name": "c"}, "spec": {
        "schedule": "* * * * *", "jobTemplate": {"spec": {"template": template["spec"]["template"]}},
    }});
    defaulted("batch/v1", "CronJob", cron);
}

#[test]
fn other_kinds() {
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let service = defaulted("v1", "Service", service);
    assert_eq!(
        service["spec"]["ports"][0],
        json!({"port": 80, "protocol": "TCP", "targetPort": 80})
    );
    assert_eq!(service["spec"]["internalTrafficPolicy"], "Cluster");
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "x"}});
    let secret = defaulted("v1", "Secret", secret);
    assert_eq!(
        (&secret["data"], &secret["type"]),
        (&json!({"a": "eA=="}), &json!("Opaque"))
    );
    assert_eq!(secret["stringData"], Value::Null);
    let namespace = defaulted("v1", "Namespace", json!({"metadata": {"name": "n"}}));
    assert_eq!(
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "n"
    );
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    let claim = json!({"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }});
    let claim = defaulted("v1", "PersistentVolumeClaim", claim);
    assert_eq!(claim["status"]["phase"], "Pending");
    let policy = json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}, "egress": [{}]}});
    let policy = defaulted("networking.k8s.io/v1", "NetworkPolicy", policy);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    let limits = json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
    let limits = defaulted("v1", "LimitRange", limits);
    assert_eq!(
        limits["spec"]["limits"][0]["defaultRequest"],
        json!({"cpu": "1"})
    );
    let scaler = json!({"metadata": {"name": "h"}, "spec": {
        "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
    }});
    let scaler = defaulted("autoscaling/v2", "HorizontalPodAutoscaler", scaler);
    assert_eq!(
        scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        80
    );
}

#[test]
fn a_gated_pod_says_so_from_the_start() {
    let mut pod = json!({"spec": {"schedulingGates": [{"name": "example.com/g"}]}});
    super::pod::new_pod(&mut pod);
    let condition = &pod["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("PodScheduled"), &json!("SchedulingGated"))
    );
}
