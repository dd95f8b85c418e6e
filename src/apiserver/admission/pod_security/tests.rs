//! Levels in upstream's words.

use super::*;
use serde_json::json;

fn said(level: Level, minor: u32, spec: &Value) -> String {
    let object = json!({"metadata": {}, "spec": spec});
    details(&violations(&Pod::of(&object), Standard { level, minor }))
}

#[test]
fn restricted_wants_hardened_containers() {
    let plain = json!({"containers": [{"name": "c"}]});
    assert_eq!(
        said(Level::Restricted, 36, &plain),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(said(Level::Baseline, 36, &plain), "");
    let hardened = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        }}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    });
    assert_eq!(said(Level::Restricted, 36, &hardened), "");
}

#[test]
fn baseline_closes_the_ways_out() {
    let cases = [
        (
            json!({"hostNetwork": true, "hostPID": true}),
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]}),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"containers": [
                {"name": "a", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}},
                {"name": "b", "securityContext": {"capabilities": {"add": ["SYS_TIME"]}}},
            ]}),
            "non-default capabilities (containers \"a\", \"b\" must not include \"NET_ADMIN\", \"SYS_TIME\" in securityContext.capabilities.add)",
        ),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            "hostPath volumes (volume \"v\")",
        ),
        (
            json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]}),
            "hostPort (container \"a\" uses hostPorts 443, 80)",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}}),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set)",
        ),
        (
            json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"h\")",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(said(Level::Baseline, 36, &spec), expected, "{spec}");
        assert_eq!(said(Level::Privileged, 36, &spec), "", "{spec}");
    }
    let later = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}});
    assert_eq!(
        said(Level::Baseline, 31, &later),
        "forbidden sysctls (net.ipv4.tcp_rmem)"
    );
}

#[test]
fn the_lower_level_is_told_first() {
    let both = json!({"hostNetwork": true, "volumes": [{"name": "v", "hostPath": {}}]});
    assert_eq!(
        said(Level::Restricted, 36, &both),
        "host namespaces (hostNetwork=true), restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")"
    );
}

#[test]
fn labels_choose_the_standard() {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.30",
        "pod-security.kubernetes.io/audit": "secret",
    });
    let (policy, wrong) = Policy::parse(&labels);
    assert_eq!(policy.enforce.to_string(), "baseline:v1.30");
    assert_eq!(policy.warn.to_string(), "baseline:v1.30");
    assert_eq!(wrong.len(), 1);
    assert_eq!(
        wrong[0].2,
        "must be one of privileged, baseline, restricted"
    );
    assert_eq!(
        Policy::parse(&Value::Null).0.enforce.to_string(),
        "privileged:latest"
    );
}

#[test]
fn pods_that_are_there_are_told_together() {
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"hostPID": true}});
    let baseline = Standard {
        level: Level::Baseline,
        minor: u32::MAX,
    };
    assert_eq!(
        judged_again("n", &[pod("b"), pod("a"), pod("c")], baseline),
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 2 other pods): host namespaces",
        ]
    );
}
