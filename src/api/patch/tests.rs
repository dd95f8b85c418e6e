//! The three kinds of patches against tables of cases and random input.

use super::*;
use crate::api::random::Random;
use serde_json::{Value, json};

const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const POD: &str = "io.k8s.api.core.v1.Pod";

#[test]
fn json_patches_apply() {
    let cases = [
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b", "value": 2}]),
            json!({"a": 1, "b": 2}),
        ),
        (
            json!({"a": [1, 3]}),
            json!([{"op": "add", "path": "/a/1", "value": 2}]),
            json!({"a": [1, 2, 3]}),
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "add", "path": "/a/-", "value": 2}]),
            json!({"a": [1, 2]}),
        ),
        (
            json!({"a": [1, 2]}),
            json!([{"op": "remove", "path": "/a/-1"}]),
            json!({"a": [1]}),
        ),
        (
            json!({"a": [1, 2]}),
            json!([{"op": "add", "path": "/a/-1", "value": 3}]),
            json!({"a": [1, 2, 3]}),
        ),
        (
            json!({"a/b": {"c~d": 1}}),
            json!([{"op": "replace", "path": "/a~1b/c~0d", "value": 2}]),
            json!({"a/b": {"c~d": 2}}),
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "move", "from": "/a/b", "path": "/c"}]),
            json!({"a": {}, "c": 1}),
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "copy", "from": "/a/0", "path": "/a/0"}]),
            json!({"a": [1, 1]}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/a"}]),
            json!({}),
        ),
        (
            json!({}),
            json!([{"op": "test", "path": "/a", "value": null}]),
            json!({}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "replace", "path": "", "value": {"b": 2}}]),
            json!({"b": 2}),
        ),
    ];
    for (document, patch, expected) in cases {
        assert_eq!(
            super::json(&document, patch.to_string().as_bytes()),
            Ok(expected),
            "{patch}"
        );
    }
}

#[test]
fn json_patches_fail_as_a_whole() {
    let rejected = [
        json!([{"op": "remove", "path": "/x"}]),
        json!([{"op": "replace", "path": "/x", "value": 1}]),
        json!([{"op": "add", "path": "/x/y", "value": 1}]),
        json!([{"op": "add", "path": "/l/5", "value": 1}]),
        json!([{"op": "add", "path": "/l/-9", "value": 1}]),
        json!([{"op": "test", "path": "/a", "value": 2}]),
        json!([{"op": "move", "from": "/o", "path": "/o/x"}]),
        json!([{"op": "frobnicate", "path": "/a"}]),
        json!([{"op": "remove"}]),
    ];
    let document = json!({"a": 1, "l": [], "o": {}});
    for patch in rejected {
        let error = super::json(&document, patch.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, PatchError::Rejected(_)), "{patch}");
        assert_eq!(ApiError::from(error).code, 422);
    }
    let malformed = super::json(&document, b"{}").unwrap_err();
    assert_eq!(
        malformed.to_string(),
        "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
    );
    assert_eq!(ApiError::from(malformed).code, 400);
}

#[test]
fn json_patches_are_bounded() {
    let many = vec![json!({"op": "test", "path": "/a", "value": 1}); OPERATIONS_MAX + 1];
    let error =
        super::json(&json!({"a": 1}), Value::from(many).to_string().as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    // Each copy doubles the document.
    let doubling = vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 64];
    let error = super::json(
        &json!({"a": ["x"]}),
        Value::from(doubling).to_string().as_bytes(),
    );
    assert!(matches!(error, Err(PatchError::TooLarge(_))));
    assert_eq!(
        json_unknown_fields(br#"[{"op":"test","path":"/a","foo":1}]"#),
        ["json patch unknown field \"[0].foo\""]
    );
}

#[test]
fn merge_patches_apply() {
    let cases = [
        (
            json!({"a": 1}),
            json!({"a": null, "b": {"c": null, "d": 1}}),
            json!({"b": {"d": 1}}),
        ),
        (
            json!({"a": [1]}),
            json!({"a": [null, 2]}),
            json!({"a": [null, 2]}),
        ),
        (json!({"a": {"b": 1}}), json!({"a": 2}), json!({"a": 2})),
        (
            json!({"a": 2}),
            json!({"a": {"b": {"c": 1}}}),
            json!({"a": {"b": {"c": 1}}}),
        ),
        (json!(1), json!({"a": 1}), json!({"a": 1})),
        (json!({"a": 1}), json!(5), json!(5)),
    ];
    for (mut document, patch, expected) in cases {
        merge(&mut document, &patch);
        assert_eq!(document, expected, "{patch}");
    }
}

fn pod_spec(spec: &Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

#[test]
fn strategic_lists_merge_by_key() {
    let cases = [
        // Live containers, patch, result.
        (
            json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
                "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}]}),
            json!({"containers": [{"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}]}]}),
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "c", "image": null, "ports": [{"containerPort": 1}]}]}),
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 1}]}, {"name": "a"}, {"name": "b"}]}),
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "containers": [{"name": "c"}]}),
            json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        ),
        (
            json!({"containers": [{"name": "a", "image": "1"}]}),
            json!({"containers": [{"$patch": "replace"}, {"name": "b"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            json!({"tolerations": [{"key": "a"}], "nodeSelector": {"a": "1", "b": "2"}}),
            json!({"tolerations": [{"key": "b"}], "nodeSelector": {"a": null, "c": "3"}}),
            json!({"tolerations": [{"key": "b"}], "nodeSelector": {"b": "2", "c": "3"}}),
        ),
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "x"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "x", "protocol": "UDP"}]}]}),
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}),
            json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
        ),
        (
            json!({"containers": [{"name": "s1"}, {"name": "a"}, {"name": "s2"}, {"name": "b"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "s1"}, {"name": "s2"}, {"name": "b"}, {"name": "a"}]}),
        ),
    ];
    for (live, patch, expected) in cases {
        let mut document = pod_spec(&live);
        strategic(&mut document, &pod_spec(&patch), DEPLOYMENT).unwrap();
        assert_eq!(document, pod_spec(&expected), "{patch}");
    }
}

#[test]
fn strategic_directives_in_objects() {
    let cases = [
        (
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        ),
        (
            json!({"metadata": {"finalizers": ["x", "y"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z", "y"]}}),
            json!({"metadata": {"finalizers": ["z", "y"]}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}, "annotations": {"b": "2"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}, "annotations": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {"c": "3"}, "annotations": {}}}),
        ),
        (
            json!({"spec": {"template": {"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "a"}]}}}}),
            json!({"spec": {"template": {"$patch": "replace", "spec": {"containers": [{"name": "b"}]}}}}),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "b"}]}}}}),
        ),
        (
            json!({}),
            json!({"metadata": {"labels": {"a": "1", "b": null}, "finalizers": ["x"], "$setElementOrder/finalizers": ["x"]}}),
            json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x"]}}),
        ),
    ];
    for (mut document, patch, expected) in cases {
        strategic(&mut document, &patch, DEPLOYMENT).unwrap();
        assert_eq!(document, expected, "{patch}");
    }
}

#[test]
fn strategic_errors() {
    let live = json!({"spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]}});
    let cases = [
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"$patch": "explode"}),
            500,
            "unknown patch type: explode in map: map[$patch:explode]",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": "a"}}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"spec": {"$deleteFromPrimitiveList": ["a"]}}),
            400,
            "invalid patch format of primitive list",
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "secret": {}}]}}),
            422,
            "invalid patch format of retainKeys",
        ),
        (
            json!({"spec": {"containers": [[]]}}),
            422,
            "lists of lists are not supported",
        ),
        (
            json!({"spec": {"containers": [{"name": "b"}], "$setElementOrder/containers": [{"name": "a"}]}}),
            500,
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        (json!([]), 400, "invalid JSON document"),
    ];
    for (patch, code, text) in cases {
        let error = strategic(&mut live.clone(), &patch, POD).unwrap_err();
        assert_eq!(error.to_string(), text, "{patch}");
        assert_eq!(ApiError::from(error).code, code, "{patch}");
    }
}

fn random_value(random: &mut Random, depth: usize) -> Value {
    const NAMES: &[&str] = &[
        "spec",
        "containers",
        "name",
        "ports",
        "containerPort",
        "volumes",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "metadata",
        "finalizers",
        "labels",
    ];
    const TEXTS: &[&str] = &["a", "b", "replace", "delete", "merge", "name", "x"];
    match random.below(if depth == 0 { 3 } else { 6 }) {
        0 => Value::Null,
        1 => random.below(3).into(),
        2 => TEXTS[random.below(TEXTS.len())].into(),
        3 => (0..random.below(4))
            .map(|_| random_value(random, depth - 1))
            .collect(),
        _ => {
            let members = (0..random.below(5)).map(|_| {
                let name = NAMES[random.below(NAMES.len())].to_owned();
                (name, random_value(random, depth - 1))
            });
            Value::Object(members.collect())
        }
    }
}

#[test]
fn random_patches_never_panic() {
    let mut random = Random::new(5);
    for _ in 0..20_000 {
        let document = random_value(&mut random, 5);
        let patch = random_value(&mut random, 5);
        let _ = strategic(&mut document.clone(), &patch, POD);
        merge(&mut document.clone(), &patch);
        let pointer = random.text("/0-~1ab", 6);
        let operation = ["add", "remove", "replace", "move", "copy", "test"][random.below(6)];
        let patch = json!([{"op": operation, "path": pointer, "from": random.text("/0-1ab", 4), "value": patch}]);
        let _ = super::json(&document, patch.to_string().as_bytes());
    }
}
