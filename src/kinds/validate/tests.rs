//! One row per message: a valid object, one change, and upstream's words.

use crate::{
    api::error::{ApiError, Cause},
    kinds::{self, Kind, UpdateContext},
};
use serde_json::{Value, json};

fn kind(group_version: &str, name: &str) -> &'static Kind {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    kinds::find_kind(group, version, name).unwrap()
}

fn texts(causes: Vec<Cause>) -> Vec<String> {
    let text = |cause: Cause| format!("{}: {}", cause.field, cause.message);
    causes.into_iter().map(text).collect()
}

/// Sets the value at a pointer, making the way there; `null` removes.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let mut place = document;
    for part in parent.split('/').skip(1) {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part.replace("~1", "/")],
        };
    }
    let last = last.replace("~1", "/");
    match (last.parse::<usize>(), value) {
        (Ok(index), value) => match place.as_array_mut() {
            Some(items) if index == items.len() => items.push(value),
            _ => place[index] = value,
        },
        (Err(_), Value::Null) => drop(place.as_object_mut().unwrap().remove(&last)),
        (Err(_), value) => place[last.as_str()] = value,
    }
}

type Row<'a> = (&'a str, Value, &'a [&'a str]);

fn check(kind: &Kind, base: &Value, rows: &[Row<'_>]) {
    let validate = kind.hooks.validate.unwrap();
    assert_eq!(
        texts(validate(base)),
        [] as [&str; 0],
        "{} is valid",
        kind.name
    );
    for (pointer, value, expected) in rows {
        let mut object = base.clone();
        set(&mut object, pointer, value.clone());
        assert_eq!(texts(validate(&object)), *expected, "{pointer} = {value}");
    }
}

fn check_update(kind: &Kind, subresource: Option<&str>, old: &Value, rows: &[Row<'_>]) {
    let validate = kind.hooks.validate_update.unwrap();
    let context = UpdateContext { old, subresource };
    assert_eq!(texts(validate(old, context)), [] as [&str; 0]);
    for (pointer, value, expected) in rows {
        let mut object = old.clone();
        set(&mut object, pointer, value.clone());
        let found = texts(validate(&object, context));
        let starts = |(found, expected): (&String, &&str)| found.starts_with(*expected);
        let is_same = found.len() == expected.len() && found.iter().zip(*expected).all(starts);
        assert!(
            is_same,
            "{pointer} = {value}: {found:?} instead of {expected:?}"
        );
    }
}

fn container(name: &str) -> Value {
    json!({
        "name": name, "image": "nginx", "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File", "resources": {},
    })
}

fn pod_spec() -> Value {
    json!({
        "containers": [container("a")], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30, "securityContext": {}, "schedulerName": "default-scheduler",
    })
}

fn pod() -> Value {
    json!({"metadata": {"name": "p", "namespace": "default"}, "spec": pod_spec()})
}

fn workload(replicas: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "w", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": pod_spec()},
        },
    });
    if !replicas.is_null() {
        object["spec"]["replicas"] = replicas;
    }
    object
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of messages")]
fn pods_and_their_containers() {
    let bad_name = format!("spec.containers[0].name: Invalid value: \"A_b\": {LABEL}");
    let rows: &[Row<'_>] = &[
        (
            "/spec/containers",
            json!([]),
            &["spec.containers: Required value"],
        ),
        (
            "/spec/containers/0/name",
            json!(""),
            &["spec.containers[0].name: Required value"],
        ),
        ("/spec/containers/0/name", json!("A_b"), &[&bad_name]),
        (
            "/spec/containers/0/name",
            json!("a.b"),
            &["spec.containers[0].name: Invalid value: \"a.b\": must not contain dots"],
        ),
        (
            "/spec/containers/1",
            container("a"),
            &["spec.containers[1].name: Duplicate value: \"a\""],
        ),
        (
            "/spec/containers/0/image",
            json!(""),
            &["spec.containers[0].image: Required value"],
        ),
        (
            "/spec/containers/0/image",
            json!(" x"),
            &[
                "spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace",
            ],
        ),
        (
            "/spec/containers/0/imagePullPolicy",
            json!("Sometimes"),
            &[
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
             \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 70000, "protocol": "TCP"}]),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            "/spec/containers/0/ports",
            json!([{"protocol": "tcp"}]),
            &[
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \
             \"UDP\"",
            ],
        ),
        (
            "/spec/containers/0/ports",
            json!([
                {"name": "web", "containerPort": 80, "protocol": "TCP"},
                {"name": "web", "containerPort": 81, "protocol": "TCP"},
            ]),
            &["spec.containers[0].ports[1].name: Duplicate value: \"web\""],
        ),
        (
            "/spec/containers/0/ports",
            json!([
                {"containerPort": 80, "hostPort": 80, "protocol": "TCP"},
                {"containerPort": 81, "hostPort": 80, "protocol": "TCP"},
            ]),
            &["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\""],
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "", "value": "x"}]),
            &["spec.containers[0].env[0].name: Required value"],
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "a=b"}]),
            &[
                "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist \
             only of printable ASCII characters other than '='",
            ],
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "A", "valueFrom": {}}]),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, \
             `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            ],
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "A", "value": "x", "valueFrom": {
                "configMapKeyRef": {"name": "c", "key": "k"},
            }}]),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "A", "valueFrom": {
                "fieldRef": {"apiVersion": "v1", "fieldPath": "spec.bogus"},
            }}]),
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.bogus\": error converting \
             fieldPath: field label not supported: spec.bogus",
            ],
        ),
        (
            "/spec/containers/0/envFrom",
            json!([{}]),
            &[
                "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            ],
        ),
        (
            "/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/x"}]),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        ),
        (
            "/spec/containers/0/resources",
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}}),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"1\": must be less than or equal to cpu limit of \
             500m",
            ],
        ),
        (
            "/spec/containers/0/resources",
            json!({"limits": {"memory": "-1"}}),
            &[
                "spec.containers[0].resources.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
        (
            "/spec/containers/0/resources",
            json!({"limits": {"gpu": "1"}}),
            &[
                "spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource type or \
             fully qualified",
                "spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource for \
             containers",
            ],
        ),
        (
            "/spec/containers/0/resources",
            json!({"requests": {"example.com/gpu": "1"}}),
            &[
                "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
            ],
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({"successThreshold": 1}),
            &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({
                "successThreshold": 2, "exec": {"command": ["x"]}, "tcpSocket": {"port": 1},
            }),
            &[
                "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"runAsUser": -1}),
            &[
                "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, \
             inclusive",
            ],
        ),
        (
            "/spec/initContainers",
            json!([container("a")]),
            &["spec.initContainers[0].name: Duplicate value: \"a\""],
        ),
    ];
    check(kind("v1", "Pod"), &pod(), rows);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of messages")]
fn pods_as_a_whole() {
    let bad_label = format!("spec.nodeSelector: Invalid value: \"a b\": {NAME_PART}");
    let rows: &[Row<'_>] = &[
        (
            "/spec/restartPolicy",
            json!("Sometimes"),
            &[
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \
             \"Never\"",
            ],
        ),
        (
            "/spec/dnsPolicy",
            json!("None"),
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            "/spec/volumes",
            json!([{"name": "v"}]),
            &["spec.volumes[0]: Required value: must specify a volume type"],
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
            &["spec.volumes[1].name: Duplicate value: \"v\""],
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "configMap": {"defaultMode": 1000}}]),
            &[
                "spec.volumes[0].configMap.name: Required value",
                "spec.volumes[0].configMap.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 \
             (octal), both inclusive",
            ],
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "hostPath": {"path": "/a/../b"}}]),
            &["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
        ),
        ("/spec/nodeSelector", json!({"a b": "x"}), &[&bad_label]),
        (
            "/spec/activeDeadlineSeconds",
            json!(0),
            &[
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            ],
        ),
        (
            "/spec/tolerations",
            json!([{"operator": "Equal"}]),
            &[
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, \
             which means \"match all values and all keys\"",
            ],
        ),
        (
            "/spec/topologySpreadConstraints",
            json!([
                {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"},
            ]),
            &[
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            ],
        ),
        (
            "/spec/hostAliases",
            json!([{"ip": "x"}]),
            &[
                "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
             2001:db8::ffff)",
            ],
        ),
        (
            "/spec/schedulingGates",
            json!([{"name": "a"}, {"name": "a"}]),
            &["spec.schedulingGates[1]: Duplicate value: \"a\""],
        ),
        (
            "/spec/affinity",
            json!({"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []},
            }}),
            &[
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required \
             value: must have at least one node selector term",
            ],
        ),
        (
            "/spec/securityContext",
            json!({"sysctls": [{"name": "A"}]}),
            &[
                "spec.securityContext.sysctls[0].name: Invalid value: \"A\": must have at most 253 characters and match \
             regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            ],
        ),
    ];
    check(kind("v1", "Pod"), &pod(), rows);
}

#[test]
fn changes_of_pods() {
    let mut old = pod();
    old["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    let may_not_change = "spec: Forbidden: pod updates may not change fields other than \
        `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` \
        (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it \
        was previously negative)\n";
    let rows: &[Row<'_>] = &[
        ("/spec/containers/0/image", json!("nginx:2"), &[]),
        ("/spec/activeDeadlineSeconds", json!(5), &[]),
        (
            "/spec/tolerations/1",
            json!({"key": "b", "operator": "Exists"}),
            &[],
        ),
        (
            "/spec/tolerations",
            json!([]),
            &[
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ],
        ),
        (
            "/spec/containers/1",
            container("b"),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        ("/spec/hostname", json!("x"), &[may_not_change]),
        (
            "/spec/schedulingGates",
            json!([{"name": "g"}]),
            &[
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'",
            ],
        ),
    ];
    check_update(kind("v1", "Pod"), None, &old, rows);
    let mut ended = pod();
    ended["spec"]["restartPolicy"] = json!("Never");
    ended["status"] =
        json!({"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 0}}}]});
    let rows: &[Row<'_>] = &[(
        "/status/containerStatuses/0/state",
        json!({"running": {}}),
        &[
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
        ],
    )];
    check_update(kind("v1", "Pod"), Some("status"), &ended, rows);
    let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [0]}});
    ended["spec"]["containers"][0]["restartPolicyRules"] = json!([rule]);
    let rows: &[Row<'_>] = &[(
        "/status/containerStatuses/0/state",
        json!({"running": {}}),
        &[],
    )];
    check_update(kind("v1", "Pod"), Some("status"), &ended, rows);
}

#[test]
fn resources_of_containers_and_of_the_whole_pod_may_change() {
    let mut old = pod();
    old["status"] = json!({"qosClass": "Burstable"});
    old["spec"]["containers"] = json!([container("a"), container("b")]);
    old["spec"]["initContainers"] = json!([container("i")]);
    old["spec"]["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    let reordered = json!([container("b"), container("a")]);
    let rows: &[Row<'_>] = &[
        ("/spec/resources/limits/cpu", json!("3"), &[]),
        (
            "/spec/containers/1/resources",
            json!({"requests": {"cpu": "1"}}),
            &[],
        ),
        (
            "/spec/initContainers/0/resources",
            json!({"limits": {"memory": "1Gi"}}),
            &[],
        ),
        (
            "/spec/resources/limits",
            Value::Null,
            &["spec.resources.limits: Forbidden: resource limits cannot be removed"],
        ),
        (
            "/spec/containers",
            reordered,
            &[
                "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
                "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
            ],
        ),
        (
            "/spec/containers",
            json!([container("a")]),
            &["spec.containers: Forbidden: containers may not be added or removed on resize"],
        ),
        (
            "/spec/containers/0/image",
            json!("other"),
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
    ];
    check_update(kind("v1", "Pod"), Some("resize"), &old, rows);
}

#[test]
fn a_selector_that_misses_its_template_is_told_like_upstream() {
    let replica_set = kind("apps/v1", "ReplicaSet");
    let mut object = workload(json!(3));
    object["spec"]["selector"]["matchLabels"]["app"] = json!("sample-app");
    object["spec"]["template"]["metadata"]["labels"]["app"] = json!("sample-app-fail");
    let causes = replica_set.hooks.validate.unwrap()(&object);
    let error = ApiError::invalid("apps", "ReplicaSet", "sample-rs-fail", causes);
    assert_eq!(
        error.message,
        "ReplicaSet.apps \"sample-rs-fail\" is invalid: spec.template.metadata.labels: Invalid value: \
         {\"app\":\"sample-app-fail\"}: `selector` does not match template `labels`"
    );
    let mut object = workload(json!(1));
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    set(&mut object, "/spec/selector", Value::Null);
    let causes = kind("apps/v1", "Deployment").hooks.validate.unwrap()(&object);
    assert_eq!(causes[0].message, "Required value");
    assert_eq!(causes[0].field, "spec.selector");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of messages")]
fn workloads() {
    let mut deployment = workload(json!(1));
    deployment["spec"]["strategy"] = json!({
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    });
    let rows: &[Row<'_>] = &[
        (
            "/spec/replicas",
            json!(-1),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            "/spec/selector",
            json!({}),
            &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            "/spec/strategy/type",
            json!("Recreate"),
            &[
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ],
        ),
        (
            "/spec/strategy/rollingUpdate",
            json!({"maxUnavailable": 0, "maxSurge": 0}),
            &[
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ],
        ),
        (
            "/spec/strategy/rollingUpdate/maxUnavailable",
            json!("200%"),
            &[
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 200%: must not be greater than 100%",
            ],
        ),
        (
            "/spec/progressDeadlineSeconds",
            json!(0),
            &[
                "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds",
            ],
        ),
        (
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            &[
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ],
        ),
        (
            "/spec/template/spec/activeDeadlineSeconds",
            json!(5),
            &[
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
            ],
        ),
    ];
    check(kind("apps/v1", "Deployment"), &deployment, rows);
    let rows: &[Row<'_>] = &[(
        "/spec/selector",
        json!({"matchLabels": {"b": "c"}}),
        &["spec.selector: Invalid value: {\"matchLabels\":{\"b\":\"c\"}}: field is immutable"],
    )];
    check_update(kind("apps/v1", "Deployment"), None, &deployment, rows);
    let mut daemon = workload(Value::Null);
    daemon["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
    let rows: &[Row<'_>] = &[
        (
            "/spec/updateStrategy/rollingUpdate/maxSurge",
            json!(1),
            &[
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is \
             non-zero",
            ],
        ),
        (
            "/spec/updateStrategy/rollingUpdate/maxUnavailable",
            json!(0),
            &[
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ],
        ),
    ];
    check(kind("apps/v1", "DaemonSet"), &daemon, rows);
    let mut stateful = workload(json!(1));
    stateful["spec"]["podManagementPolicy"] = json!("OrderedReady");
    stateful["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
    let rows: &[Row<'_>] = &[(
        "/spec/podManagementPolicy",
        json!("Any"),
        &["spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'"],
    )];
    check(kind("apps/v1", "StatefulSet"), &stateful, rows);
    let rows: &[Row<'_>] = &[
        ("/spec/replicas", json!(5), &[]),
        (
            "/spec/serviceName",
            json!("x"),
            &[
                "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
             are forbidden",
            ],
        ),
    ];
    check_update(kind("apps/v1", "StatefulSet"), None, &stateful, rows);
}

fn job() -> Value {
    let labels = json!({
        "batch.kubernetes.io/controller-uid": "u", "controller-uid": "u",
        "batch.kubernetes.io/job-name": "j", "job-name": "j",
    });
    let mut object = json!({
        "metadata": {"name": "j", "namespace": "default", "uid": "u"},
        "spec": {
            "parallelism": 1, "completions": 1, "completionMode": "NonIndexed",
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec()},
        },
    });
    object["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    object
}

#[test]
fn jobs() {
    let rows: &[Row<'_>] = &[
        (
            "/spec/template/spec/restartPolicy",
            json!("Always"),
            &[
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ],
        ),
        (
            "/spec/parallelism",
            json!(-1),
            &["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            "/spec/backoffLimitPerIndex",
            json!(1),
            &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        ),
        (
            "/spec/podFailurePolicy",
            json!({"rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [0]}},
            ]}),
            &[
                "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
            ],
        ),
    ];
    check(kind("batch/v1", "Job"), &job(), rows);
    let rows: &[Row<'_>] = &[
        ("/spec/parallelism", json!(5), &[]),
        (
            "/spec/completions",
            json!(5),
            &["spec.completions: Invalid value: 5: field is immutable"],
        ),
        (
            "/spec/template/spec/nodeName",
            json!("n"),
            &["spec.template: Invalid value: {"],
        ),
    ];
    check_update(kind("batch/v1", "Job"), None, &job(), rows);
    let mut cron = json!({"metadata": {"name": "c", "namespace": "default"}, "spec": {
        "schedule": "* * * * *", "concurrencyPolicy": "Allow", "jobTemplate": {"spec": job()["spec"].clone()},
    }});
    set(&mut cron, "/spec/jobTemplate/spec/selector", Value::Null);
    let rows: &[Row<'_>] = &[
        (
            "/spec/schedule",
            json!("* * *"),
            &[
                "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]",
            ],
        ),
        (
            "/spec/timeZone",
            json!("Mars/../Base"),
            &["spec.timeZone: Invalid value: \"Mars/../Base\": unknown time zone Mars/../Base"],
        ),
        (
            "/spec/concurrencyPolicy",
            json!("Maybe"),
            &[
                "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            ],
        ),
    ];
    check(kind("batch/v1", "CronJob"), &cron, rows);
}

#[test]
fn services() {
    let service = json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {
        "type": "ClusterIP", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    }});
    let rows: &[Row<'_>] = &[
        ("/spec/ports", json!([]), &["spec.ports: Required value"]),
        (
            "/spec/ports/0/port",
            json!(0),
            &["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"],
        ),
        (
            "/spec/ports/0/nodePort",
            json!(30000),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            "/spec/ports/1",
            json!({"port": 81, "protocol": "TCP", "targetPort": 81, "name": "b"}),
            &["spec.ports[0].name: Required value"],
        ),
        (
            "/spec/type",
            json!("Magic"),
            &[
                "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \
             \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        (
            "/spec/externalTrafficPolicy",
            json!("Local"),
            &[
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            ],
        ),
        (
            "/spec/sessionAffinity",
            json!("ClientIP"),
            &["spec.sessionAffinityConfig: Required value: when session affinity type is ClientIP"],
        ),
        (
            "/spec/externalIPs",
            json!(["127.0.0.1"]),
            &[
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, \
             ::1/128)",
                "spec.externalTrafficPolicy: Required value",
            ],
        ),
        (
            "/spec/clusterIP",
            json!("10.96.0.6"),
            &[
                "spec.clusterIPs: Invalid value: [\"10.96.0.5\"]: first value must match `clusterIP`",
            ],
        ),
    ];
    check(kind("v1", "Service"), &service, rows);
    let rows: &[Row<'_>] = &[(
        "/spec/clusterIPs",
        json!(["10.96.0.6"]),
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"],
    )];
    check_update(kind("v1", "Service"), None, &service, rows);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of messages")]
fn configuration_and_storage() {
    let config_map = json!({"metadata": {"name": "c", "namespace": "d"}, "data": {"a": "1"}});
    let rows: &[Row<'_>] = &[
        (
            "/data/a b",
            json!("x"),
            &[
                "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' \
             or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
             '[-._a-zA-Z0-9]+')",
            ],
        ),
        (
            "/binaryData/a",
            json!(""),
            &["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"],
        ),
        (
            "/data/big",
            json!("x".repeat(1 << 20)),
            &["[]: Too long: may not be more than 1048576 bytes"],
        ),
    ];
    check(kind("v1", "ConfigMap"), &config_map, rows);
    let mut fixed = config_map;
    fixed["immutable"] = json!(true);
    let rows: &[Row<'_>] = &[
        (
            "/data/a",
            json!("2"),
            &["data: Forbidden: field is immutable when `immutable` is set"],
        ),
        (
            "/immutable",
            json!(false),
            &["immutable: Forbidden: field is immutable when `immutable` is set"],
        ),
    ];
    check_update(kind("v1", "ConfigMap"), None, &fixed, rows);
    let secret = json!({"metadata": {"name": "s", "namespace": "d"}, "type": "Opaque", "data": {}});
    let rows: &[Row<'_>] = &[
        (
            "/type",
            json!("kubernetes.io/tls"),
            &[
                "data[tls.crt]: Required value",
                "data[tls.key]: Required value",
            ],
        ),
        (
            "/type",
            json!("kubernetes.io/service-account-token"),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
    ];
    check(kind("v1", "Secret"), &secret, rows);
    let rows: &[Row<'_>] = &[(
        "/type",
        json!("x"),
        &["type: Invalid value: \"x\": field is immutable"],
    )];
    check_update(kind("v1", "Secret"), None, &secret, rows);
    let claim = json!({"metadata": {"name": "c", "namespace": "d"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem",
    }, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    let rows: &[Row<'_>] = &[
        (
            "/spec/accessModes",
            json!([]),
            &["spec.accessModes: Required value: at least 1 access mode is required"],
        ),
        (
            "/spec/accessModes",
            json!(["RWO"]),
            &[
                "spec.accessModes: Unsupported value: \"RWO\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \
             \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            ],
        ),
        (
            "/spec/resources",
            json!({}),
            &["spec.resources[storage]: Required value"],
        ),
    ];
    check(kind("v1", "PersistentVolumeClaim"), &claim, rows);
    let rows: &[Row<'_>] = &[
        ("/spec/resources/requests/storage", json!("2Gi"), &[]),
        (
            "/spec/resources/requests/storage",
            json!("1Mi"),
            &[
                "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
            ],
        ),
        (
            "/spec/accessModes",
            json!(["ReadWriteMany"]),
            &[
                "spec: Forbidden: spec is immutable after creation except resources.requests and \
             volumeAttributesClassName for bound claims\n",
            ],
        ),
    ];
    check_update(kind("v1", "PersistentVolumeClaim"), None, &claim, rows);
    let volume = json!({"metadata": {"name": "v"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x", "type": ""},
        "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem",
    }});
    let rows: &[Row<'_>] = &[
        (
            "/spec/hostPath",
            Value::Null,
            &["spec: Required value: must specify a volume type"],
        ),
        (
            "/spec/capacity",
            json!({}),
            &[
                "spec.capacity: Required value",
                "spec.capacity: Unsupported value: {}: supported values: \"storage\"",
            ],
        ),
    ];
    check(kind("v1", "PersistentVolume"), &volume, rows);
    let class =
        json!({"provisioner": "x/y", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"});
    let rows: &[Row<'_>] = &[(
        "/provisioner",
        json!("z/z"),
        &["provisioner: Forbidden: updates to provisioner are forbidden."],
    )];
    check_update(
        kind("storage.k8s.io/v1", "StorageClass"),
        None,
        &class,
        rows,
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of messages")]
fn network_access_and_limits() {
    let ingress = json!({"spec": {"rules": [{"host": "a.example", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
    ]}}]}});
    let rows: &[Row<'_>] = &[
        (
            "/spec/rules",
            Value::Null,
            &[
                "spec: Invalid value: \"null\": either `defaultBackend` or `rules` must be specified",
            ],
        ),
        (
            "/spec/rules/0/http/paths/0/pathType",
            Value::Null,
            &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            "/spec/rules/0/http/paths/0/path",
            json!("x"),
            &["spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path"],
        ),
        (
            "/spec/rules/0/http/paths/0/backend",
            json!({"service": {"name": "s"}}),
            &[
                "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
            ],
        ),
        (
            "/spec/rules/0/host",
            json!("10.0.0.1"),
            &[
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ],
        ),
    ];
    check(kind("networking.k8s.io/v1", "Ingress"), &ingress, rows);
    let policy = json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    ]}});
    let rows: &[Row<'_>] = &[
        (
            "/spec/ingress/0/from/0/podSelector",
            json!({}),
            &["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
        ),
        (
            "/spec/ingress/0/from/0/ipBlock/except",
            json!(["11.0.0.0/16"]),
            &[
                "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of \
             `cidr`",
            ],
        ),
    ];
    check(kind("networking.k8s.io/v1", "NetworkPolicy"), &policy, rows);
    let role = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
    let rows: &[Row<'_>] = &[
        (
            "/rules/0/verbs",
            json!([]),
            &["rules[0].verbs: Required value: verbs must contain at least one value"],
        ),
        (
            "/rules/0/resources",
            json!([]),
            &[
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
    ];
    check(kind("rbac.authorization.k8s.io/v1", "Role"), &role, rows);
    let binding =
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}});
    let rows: &[Row<'_>] = &[("/roleRef/name", json!("q"), &["roleRef: Invalid value: {"])];
    check_update(
        kind("rbac.authorization.k8s.io/v1", "RoleBinding"),
        None,
        &binding,
        rows,
    );
    let limits = json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}}]}});
    let rows: &[Row<'_>] = &[(
        "/spec/limits/0/max",
        json!({"cpu": "500m"}),
        &["spec.limits[0].min[cpu]: Invalid value: 1: min value 1 is greater than max value 500m"],
    )];
    check(kind("v1", "LimitRange"), &limits, rows);
    let quota = json!({"spec": {"hard": {"pods": "5"}}});
    let rows: &[Row<'_>] = &[(
        "/spec/hard",
        json!({"bogus": "1"}),
        &[
            "spec.hard[bogus]: Invalid value: \"bogus\": must be a standard resource type or fully qualified",
        ],
    )];
    check(kind("v1", "ResourceQuota"), &quota, rows);
    let budget = json!({"spec": {"minAvailable": 1}});
    let rows: &[Row<'_>] = &[(
        "/spec/maxUnavailable",
        json!(1),
        &[
            "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both \
         set",
        ],
    )];
    check(kind("policy/v1", "PodDisruptionBudget"), &budget, rows);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of messages")]
fn metadata_of_every_kind() {
    let pod_kind = kind("v1", "Pod");
    let base = json!({"metadata": {"name": "p", "namespace": "default"}});
    let bad_name = format!("metadata.name: Invalid value: \"A_b\": {SUBDOMAIN}");
    let bad_key = format!("metadata.labels: Invalid value: \"a b\": {NAME_PART}");
    let rows: &[Row<'_>] = &[
        (
            "/metadata/name",
            Value::Null,
            &["metadata.name: Required value: name or generateName is required"],
        ),
        ("/metadata/name", json!("A_b"), &[&bad_name]),
        (
            "/metadata/namespace",
            Value::Null,
            &["metadata.namespace: Required value"],
        ),
        ("/metadata/labels", json!({"a b": "x"}), &[&bad_key]),
        (
            "/metadata/labels",
            json!({"a": "b c"}),
            &[
                "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric \
             characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
             'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ],
        ),
        (
            "/metadata/annotations",
            json!({"a": "x".repeat(262_144)}),
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        ),
        (
            "/metadata/finalizers",
            json!(["mine"]),
            &[
                "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it \
             fully qualified",
            ],
        ),
        (
            "/metadata/ownerReferences",
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "", "uid": "u"}]),
            &["metadata.ownerReferences.name: Invalid value: \"\": must not be empty"],
        ),
    ];
    assert_eq!(super::metadata(pod_kind, &base), []);
    for (pointer, value, expected) in rows {
        let mut object = base.clone();
        set(&mut object, pointer, value.clone());
        assert_eq!(
            texts(super::metadata(pod_kind, &object)),
            *expected,
            "{pointer}"
        );
    }
    let role = kind("rbac.authorization.k8s.io/v1", "ClusterRole");
    assert_eq!(
        super::metadata(role, &json!({"metadata": {"name": "system:node"}})),
        []
    );
    let old = json!({"metadata": {
        "name": "p", "namespace": "default", "uid": "u", "resourceVersion": "5", "deletionTimestamp": "t",
    }});
    let rows: &[Row<'_>] = &[
        (
            "/metadata/resourceVersion",
            Value::Null,
            &["metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"],
        ),
        (
            "/metadata/uid",
            json!("v"),
            &["metadata.uid: Invalid value: \"v\": field is immutable"],
        ),
        (
            "/metadata/finalizers",
            json!(["a.b/c"]),
            &[
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
             finalizers []string{\"a.b/c\"}",
            ],
        ),
    ];
    for (pointer, value, expected) in rows {
        let mut object = old.clone();
        set(&mut object, pointer, value.clone());
        let found = super::metadata_update(pod_kind, &object, &old);
        assert_eq!(texts(found), *expected, "{pointer}");
    }
}
