//! Hand-made vectors, upstream's vectors where they lie beside the project, and random bytes.

use super::*;
use crate::api::random::Random;
use serde_json::json;
use std::{fs, path::Path};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// What `kubectl create configmap x --from-literal=a=b` sends.
#[test]
fn a_clients_body_decodes() {
    let body = hex("6b387300 0a0f 0a027631 1209 436f6e6669674d6170 121b \
         0a11 0a0178 1200 1a00 2200 2a00 3200 3800 4200 1206 0a0161 120162 1a00 2200");
    let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}});
    assert_eq!(decode(&body, None).as_ref(), Ok(&expected));
    assert_eq!(decode(&encode(&expected).unwrap(), None), Ok(expected));
}

#[test]
fn a_missing_type_is_the_endpoints() {
    let body = hex("6b387300 1205 0a03 0a0178");
    assert_eq!(
        decode(&body, Some(("v1", "Secret"))),
        Ok(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}))
    );
    let unknown = decode(&body, None).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "no kind \"\" is registered for version \"\""
    );
    assert_eq!(decode(b"{}", None), Err(ProtobufError::NoMagic));
}

#[test]
fn documents_survive_both_ways() {
    let documents = [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {
            "ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8081, "name": "b"}], "selector": {"a": "b"}}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"creationTimestamp": "2026-11-21T05:00:00Z"}, "data": {"k": "AAE="}, "immutable": true}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}},
            "livenessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5}}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}], "terminationGracePeriodSeconds": -1}}),
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": "2026-11-21T05:00:00.123456Z"}),
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {}, "revision": 3, "data": {"spec": {"$patch": "replace", "x": null}}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {}, "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true, "additionalProperties": false, "default": {"a": [1]}, "minimum": 1.5,
            "properties": {"a": {"type": "array", "items": {"type": "string"}}, "b": {"additionalProperties": {"type": "integer"}}}, "$ref": "#/x"}}}]}}),
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {"verb": "get"}}}),
        json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": 404, "details": {"causes": [{"field": "x"}]}}),
        json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}),
        json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "window": "15s", "timestamp": "2026-11-21T05:00:00Z", "containers": [{"name": "c", "usage": {"cpu": "1m"}}]}),
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "a"}}]}),
    ];
    for document in documents {
        let bytes = encode(&document).unwrap();
        let again = decode(&bytes, None).unwrap();
        // Structs that Go always writes appear; what the document had must be unchanged.
        assert!(contains(&again, &document), "{document}\n{again}");
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, part)| whole.get(name).is_some_and(|whole| contains(whole, part))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole
                    .iter()
                    .zip(part)
                    .all(|(whole, part)| contains(whole, part))
        }
        _ => whole == part,
    }
}

#[test]
fn only_built_in_kinds_are_known() {
    for (api_version, kind) in [
        ("v1", "Pod"),
        ("apps/v1", "DeploymentList"),
        ("rbac.authorization.k8s.io/v1", "Role"),
        ("apiregistration.k8s.io/v1", "APIService"),
        ("meta.k8s.io/v1", "PartialObjectMetadataList"),
        ("batch/v1", "DeleteOptions"),
    ] {
        assert!(is_known(api_version, kind), "{api_version} {kind}");
    }
    for (api_version, kind) in [
        ("apps.example.com/v1", "Deployment"),
        ("v1", "Nope"),
        ("meta.k8s.io/v1", "Table"),
    ] {
        assert!(!is_known(api_version, kind), "{api_version} {kind}");
    }
}

#[test]
fn watch_frames_carry_their_length_and_an_enveloped_object() {
    let frame = watch_event("ADDED", &json!({"apiVersion": "v1", "kind": "Pod"})).unwrap();
    assert_eq!(
        u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize,
        frame.len() - 4
    );
    assert_eq!(&frame[4..13], b"\x0a\x05ADDED\x12\x17");
    assert!(frame.windows(4).any(|window| window == MAGIC));
}

#[test]
fn wrong_types_are_not_encoded() {
    let wrong = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": "x"}});
    assert_eq!(
        encode(&wrong).unwrap_err().to_string(),
        "cannot encode field replicas"
    );
    assert!(matches!(
        encode(&json!({})),
        Err(ProtobufError::UnknownKind { .. })
    ));
}

/// Every stable kind of upstream's test data, where it lies beside the project.
#[test]
fn upstreams_vectors_decode_and_survive() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../shared/api/testdata", "../../shared/api/testdata"];
    let Some(folder) = folders
        .iter()
        .map(|folder| root.join(folder))
        .find(|folder| folder.exists())
    else {
        return;
    };
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "pb")
            || ["alpha", "beta", "admission.k8s.io", "after_roundtrip"]
                .iter()
                .any(|word| name.contains(word))
        {
            continue;
        }
        let expected: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let text = |field: &str| expected[field].as_str().unwrap_or_default();
        if !is_known(text("apiVersion"), text("kind")) {
            println!("not served in protobuf: {name}");
            continue;
        }
        let decoded = decode(&fs::read(&path).unwrap(), None)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(decoded, expected, "{name}");
        let again = decode(&encode(&decoded).unwrap(), None).unwrap();
        assert_eq!(again, expected, "{name} after encoding");
        checked += 1;
    }
    assert!(checked >= 80, "{checked}");
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new(13);
    let kinds = [
        ("v1", "Pod"),
        ("v1", "Event"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("apps/v1", "ControllerRevision"),
    ];
    let valid = encode(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}], "volumes": [{"name": "v", "emptyDir": {}}]}}),
    );
    let valid = valid.unwrap();
    for _ in 0..20_000 {
        let (api_version, kind) = kinds[random.below(kinds.len())];
        let mut body = MAGIC.to_vec();
        body.push(0x12);
        let raw: Vec<u8> = (0..random.below(60))
            .map(|_| random.next() as u8 % 64)
            .collect();
        body.push(raw.len() as u8);
        body.extend(raw);
        let _ = decode(&body, Some((api_version, kind)));
        let mut broken = valid.clone();
        let at = random.below(broken.len());
        broken[at] = random.next() as u8;
        let _ = decode(&broken, None);
    }
    // Schemas within schemas, deeper than anyone allows.
    let mut nested = Vec::new();
    for _ in 0..500 {
        let mut outer = wire::Writer::default();
        outer.bytes(28, &nested);
        nested = outer.0;
    }
    let mut envelope = wire::Writer(MAGIC.to_vec());
    let mut body = nested;
    for number in [1, 4, 7, 2] {
        let mut outer = wire::Writer::default();
        outer.bytes(number, &body);
        body = outer.0;
    }
    envelope.bytes(2, &body);
    let deep = decode(
        &envelope.0,
        Some(("apiextensions.k8s.io/v1", "CustomResourceDefinition")),
    );
    assert_eq!(deep, Err(ProtobufError::Malformed("nested too deeply")));
}
