//! The table is whole, and its readers do what upstream's decoder does.

use super::*;
use serde_json::json;

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

#[test]
fn every_definition_parses_and_every_kind_has_one() {
    let names: Vec<_> = definitions().collect();
    assert!(names.len() > 500, "{}", names.len());
    for name in names {
        let found = lookup(name).unwrap();
        assert_eq!(found.name, name);
        for field in &found.fields {
            assert_eq!(found.field(&field.name).unwrap().name, field.name);
        }
    }
}

#[test]
fn fields_carry_their_strategies() {
    let spec = lookup("io.k8s.api.core.v1.PodSpec").unwrap();
    let containers = spec.field("containers").unwrap();
    assert!(containers.is_required && containers.patch.merge && !containers.patch.retain_keys);
    assert_eq!(containers.patch.merge_key.as_deref(), Some("name"));
    assert_eq!(containers.list, ListKind::Map(vec!["name".into()]));
    assert!(spec.field("volumes").unwrap().patch.retain_keys);
    assert_eq!(spec.field("nodeSelector").unwrap().is_atomic, Some(true));
    assert_eq!(spec.field("tolerations").unwrap().list, ListKind::Atomic);
    let service = lookup("io.k8s.api.core.v1.ServiceSpec").unwrap();
    let keys = vec!["port".into(), "protocol".into()];
    assert_eq!(service.field("ports").unwrap().list, ListKind::Map(keys));
    assert!(
        lookup("io.k8s.api.core.v1.SecretKeySelector")
            .unwrap()
            .is_atomic
    );
    assert_eq!(lookup(POD).unwrap().kinds, ["/v1/Pod"]);
    let budget = lookup("io.k8s.api.policy.v1.PodDisruptionBudgetSpec").unwrap();
    assert!(budget.field("selector").unwrap().patch.replace);
}

#[test]
fn defaults_fill_present_objects_only() {
    let mut pod = json!({"spec": {"containers": [{"ports": [{"containerPort": 80}]}]}});
    default(&mut pod, POD);
    assert_eq!(
        pod,
        json!({
            "metadata": {}, "status": {},
            "spec": {"containers": [{
                "name": "", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}],
            }]},
        })
    );
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let mut deployment = json!({
        "metadata": {"name": "a", "foo": 1, "creationTimestamp": null, "labels": {"a": null, "b": "c"}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "c", "foo": {"bar": 1}, "resources": {"limits": {"cpu": 1}, "more": 2}},
            {"name": "d", "env": [{"name": "e", "value": null}]},
        ]}}},
        "extra": true,
    });
    let dropped = prune(&mut deployment, DEPLOYMENT);
    assert_eq!(
        dropped,
        [
            "extra",
            "metadata.foo",
            "spec.template.spec.containers[0].foo",
            "spec.template.spec.containers[0].resources.more",
        ]
    );
    assert_eq!(
        deployment,
        json!({
            "metadata": {"name": "a", "labels": {"a": "", "b": "c"}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "c", "resources": {"limits": {"cpu": 1}}},
                {"name": "d", "env": [{"name": "e"}]},
            ]}}},
        })
    );
}

#[test]
fn free_form_values_are_left_alone() {
    let mut revision = json!({"data": {"spec": {"x": null, "$patch": "replace"}}, "revision": 1});
    let before = revision.clone();
    let definition = "io.k8s.api.apps.v1.ControllerRevision";
    assert!(prune(&mut revision, definition).is_empty());
    normalize(&mut revision, definition);
    assert_eq!(revision, before);
}

#[test]
fn schemas_inside_definitions_are_checked_like_other_fields() {
    let definition =
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
    let mut crd = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
        "type": "object", "nope": 1,
        "properties": {"a": {"type": "array", "items": {"type": "string", "bad": 1}, "default": {"x": null}}},
        "additionalProperties": {"worse": true},
        "x-kubernetes-preserve-unknown-fields": true,
    }}}]}});
    assert_eq!(
        prune(&mut crd, definition),
        [
            "spec.versions[0].schema.openAPIV3Schema.additionalProperties.worse",
            "spec.versions[0].schema.openAPIV3Schema.nope",
            "spec.versions[0].schema.openAPIV3Schema.properties.a.items.bad",
        ]
    );
    assert_eq!(check_types(&crd, definition), Ok(()));
    let wrong = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": {"a": {"type": 1}}}}}]}});
    assert_eq!(
        check_types(&wrong, definition).unwrap_err(),
        "json: cannot unmarshal number into Go struct field \
         JSONSchemaProps.spec.versions.schema.openAPIV3Schema.properties.type of type string"
    );
}

#[test]
fn type_errors_read_like_upstreams() {
    let cases = [
        (
            json!({"spec": {"replicas": "three"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 3_000_000_000u64}}),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": "a", "value": 1}]}]}}}}),
            "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {"name": "c"}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"metadata": {"labels": {"a": true}}}),
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"metadata": {"annotations": []}}),
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.annotations of type map[string]string",
        ),
        (
            json!({"spec": "x"}),
            "json: cannot unmarshal string into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": true}}}}),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (
            json!([]),
            "json: cannot unmarshal array into Go value of type v1.Deployment",
        ),
    ];
    for (document, expected) in cases {
        assert_eq!(check_types(&document, DEPLOYMENT).unwrap_err(), expected);
    }
    let secret = json!({"data": {"a": "AQ==", "b": "!"}});
    assert_eq!(
        check_types(&secret, "io.k8s.api.core.v1.Secret").unwrap_err(),
        "illegal base64 data at input byte 0"
    );
}

#[test]
fn good_documents_pass() {
    let document = json!({
        "metadata": {"creationTimestamp": null, "managedFields": [{"fieldsV1": {"f:a": {}}, "time": "2026-11-21T05:00:00Z"}]},
        "spec": {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": 1.5, "memory": "1Gi"}}}]}}},
    });
    assert_eq!(check_types(&document, DEPLOYMENT), Ok(()));
    assert_eq!(check_types(&json!(1), "no.such.Definition"), Ok(()));
}

#[test]
fn normal_form_is_what_upstream_would_write() {
    let mut pod = json!({"spec": {
        "hostNetwork": false, "nodeName": "", "nodeSelector": {}, "tolerations": [], "enableServiceLinks": false,
        "securityContext": {}, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "", "resources": {"limits": {"cpu": "1000m", "memory": 1024, "x": "0.1m"}}}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}],
    }, "metadata": {"deletionTimestamp": "2026-11-21T05:00:00+01:00"}});
    normalize(&mut pod, POD);
    assert_eq!(
        pod,
        json!({"spec": {
            "enableServiceLinks": false, "securityContext": {}, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "", "resources": {"limits": {"cpu": "1", "memory": "1024", "x": "1m"}}}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
        }, "metadata": {"deletionTimestamp": "2026-11-21T04:00:00Z"}})
    );
}
