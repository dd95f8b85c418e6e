//! Ownership, told in small stories.

use super::*;
use serde_json::json;

const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const SERVICE: &str = "io.k8s.api.core.v1.Service";

fn by<'a>(name: &'a str, version: &'a str) -> Manager<'a> {
    Manager {
        name,
        subresource: None,
        api_version: version,
        now: "2026-01-01T00:00:00Z",
    }
}

fn deployment(replicas: Value, containers: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"template": {"spec": {"containers": containers}}},
    });
    if !replicas.is_null() {
        object["spec"]["replicas"] = replicas;
    }
    object
}

fn owned_by<'a>(object: &'a Value, manager: &str) -> &'a Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == manager);
    &entry.unwrap_or_else(|| panic!("{manager} owns nothing in {object}"))["fieldsV1"]
}

#[test]
fn a_first_apply_owns_what_it_says() {
    let config = deployment(
        json!(3),
        &json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]),
    );
    let made = apply(None, &config, DEPLOYMENT, &by("me", "apps/v1"), false).unwrap();
    assert_eq!(
        made["metadata"]["managedFields"],
        json!([{
            "manager": "me", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {
                "f:replicas": {},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                    ".": {}, "f:image": {}, "f:name": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }}}},
            }},
        }])
    );
    let again = apply(
        Some(&made),
        &config,
        DEPLOYMENT,
        &Manager {
            now: "later",
            ..by("me", "apps/v1")
        },
        false,
    );
    assert_eq!(again.unwrap(), made, "nothing changes");
}

#[test]
fn conflicts_name_manager_and_field() {
    let config = deployment(json!(3), &json!([{"name": "a", "image": "x"}]));
    let live = track_update(None, &config, DEPLOYMENT, &by("kubectl-create", "apps/v1"));
    let wanted = deployment(json!(5), &json!([{"name": "a", "image": "x"}]));
    let error = apply(
        Some(&live),
        &wanted,
        DEPLOYMENT,
        &by("me", "apps/v1"),
        false,
    )
    .unwrap_err();
    let error = ApiError::from(error);
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: .spec.replicas"
    );
    assert_eq!((error.code, error.reason), (409, "Conflict"));
    let cause = &error.details.unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.field.as_str()),
        ("FieldManagerConflict", ".spec.replicas")
    );
    let wanted = deployment(json!(5), &json!([{"name": "a", "image": "y"}]));
    let error = apply(
        Some(&live),
        &wanted,
        DEPLOYMENT,
        &by("me", "apps/v1"),
        false,
    )
    .unwrap_err();
    assert_eq!(
        ApiError::from(error).message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using apps/v1:\n- .spec.replicas\n- \
         .spec.template.spec.containers[name=\"a\"].image"
    );
    let forced = apply(Some(&live), &wanted, DEPLOYMENT, &by("me", "apps/v1"), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    let others = owned_by(&forced, "kubectl-create");
    assert_eq!(
        others["f:spec"]["f:replicas"],
        Value::Null,
        "it lost the field"
    );
    assert_eq!(owned_by(&forced, "me")["f:spec"]["f:replicas"], json!({}));
}

#[test]
fn equal_values_are_shared() {
    let config = json!({"metadata": {"name": "c"}, "data": {"a": "1"}});
    let one = apply(None, &config, CONFIG_MAP, &by("one", "v1"), false).unwrap();
    let two = apply(Some(&one), &config, CONFIG_MAP, &by("two", "v1"), false).unwrap();
    assert_eq!(owned_by(&two, "one"), owned_by(&two, "two"));
    let less = json!({"metadata": {"name": "c"}, "data": {}});
    let kept = apply(Some(&two), &less, CONFIG_MAP, &by("one", "v1"), false).unwrap();
    assert_eq!(kept["data"], json!({"a": "1"}), "the other still wants it");
    let none = json!({"metadata": {"name": "c"}});
    let gone = apply(Some(&kept), &none, CONFIG_MAP, &by("two", "v1"), false).unwrap();
    assert_eq!(gone["data"], json!({}), "the first owns the empty map");
}

#[test]
fn what_is_no_longer_applied_goes() {
    let config = deployment(
        json!(3),
        &json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]),
    );
    let mut live = apply(None, &config, DEPLOYMENT, &by("me", "apps/v1"), false).unwrap();
    // Defaults belong to nobody.
    live["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = json!("Always");
    let less = deployment(Value::Null, &json!([{"name": "a", "image": "x"}]));
    let now = apply(Some(&live), &less, DEPLOYMENT, &by("me", "apps/v1"), false).unwrap();
    assert_eq!(now["spec"]["replicas"], Value::Null);
    assert_eq!(
        now["spec"]["template"]["spec"]["containers"],
        json!([{"name": "a", "image": "x"}])
    );
}

#[test]
fn list_items_of_others_keep_their_place() {
    let port = |number: i64| json!({"name": format!("p{number}"), "port": number});
    let live = json!({"metadata": {"name": "s"}, "spec": {"ports": [port(1), port(2), port(3)]}});
    let config = json!({"metadata": {"name": "s"}, "spec": {"ports": [port(3), port(4), port(1)]}});
    let now = apply(Some(&live), &config, SERVICE, &by("me", "v1"), true).unwrap();
    let numbers: Vec<&Value> = now["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| &port["port"])
        .collect();
    assert_eq!(numbers, [3, 4, 1, 2]);
    assert!(owned_by(&now, "before-first-apply")["f:spec"].is_object());
}

#[test]
fn updates_take_what_they_change() {
    let config = deployment(json!(3), &json!([{"name": "a", "image": "x"}]));
    let live = apply(None, &config, DEPLOYMENT, &by("me", "apps/v1"), false).unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(7);
    let later = Manager {
        now: "2026-01-02T00:00:00Z",
        ..by("scaler", "apps/v1")
    };
    let now = track_update(Some(&live), &scaled, DEPLOYMENT, &later);
    assert_eq!(
        owned_by(&now, "scaler"),
        &json!({"f:spec": {"f:replicas": {}}})
    );
    assert_eq!(owned_by(&now, "me")["f:spec"]["f:replicas"], Value::Null);
    let same = track_update(
        Some(&now),
        &now,
        DEPLOYMENT,
        &Manager {
            now: "x",
            ..by("other", "apps/v1")
        },
    );
    assert_eq!(same, now, "who changes nothing owns nothing");
    let mut reset = now.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    let reset = track_update(Some(&now), &reset, DEPLOYMENT, &later);
    assert_eq!(reset["metadata"]["managedFields"], Value::Null);
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut config = deployment(json!(3), &json!([{"name": "a", "image": "x"}]));
    config["metadata"]["annotations"] = json!({annotation: config.to_string()});
    let live = track_update(
        None,
        &config,
        DEPLOYMENT,
        &by("kubectl-client-side-apply", "apps/v1"),
    );
    let wanted = deployment(json!(5), &json!([{"name": "a", "image": "x"}]));
    assert!(
        apply(
            Some(&live),
            &wanted,
            DEPLOYMENT,
            &by("other", "apps/v1"),
            false
        )
        .is_err()
    );
    let now = apply(
        Some(&live),
        &wanted,
        DEPLOYMENT,
        &by("kubectl", "apps/v1"),
        false,
    )
    .unwrap();
    assert_eq!(now["spec"]["replicas"], 5);
    let kept: Value =
        serde_json::from_str(now["metadata"]["annotations"][annotation].as_str().unwrap()).unwrap();
    assert_eq!(kept["spec"]["replicas"], 5);
}

#[test]
fn configurations_must_fit_the_schema() {
    let mut config = deployment(json!(3), &json!([{"name": "a"}, {"name": "a"}]));
    let text = |config: &Value| match apply(None, config, DEPLOYMENT, &by("me", "apps/v1"), false) {
        Err(ApplyError::Untyped(text)) => text,
        other => panic!("{other:?}"),
    };
    let start = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): ";
    let expected = ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]";
    assert_eq!(text(&config), format!("{start}{expected}"));
    config = deployment(json!(3), &json!([{"name": "a"}]));
    config["spec"]["foo"] = json!(1);
    assert_eq!(
        text(&config),
        format!("{start}.spec.foo: field not declared in schema")
    );
}

#[test]
fn documents_without_a_schema_are_owned_by_key() {
    let config = json!({"metadata": {"name": "c"}, "spec": {"a": {"b": 1}, "list": [1, 2]}});
    let made = apply(
        None,
        &config,
        "example.com.v1.Thing",
        &by("me", "example.com/v1"),
        false,
    )
    .unwrap();
    assert_eq!(
        owned_by(&made, "me"),
        &json!({"f:spec": {".": {}, "f:a": {".": {}, "f:b": {}}, "f:list": {}}})
    );
}

#[test]
fn many_updaters_become_one() {
    let mut live = json!({"metadata": {"name": "c"}, "data": {"k0": "0"}});
    live = track_update(None, &live, CONFIG_MAP, &by("m0", "v1"));
    for number in 1..15 {
        let mut new = live.clone();
        new["data"][format!("k{number}")] = json!("x");
        let (name, now) = (
            format!("m{number}"),
            format!("2026-01-01T00:00:{number:02}Z"),
        );
        live = track_update(
            Some(&live),
            &new,
            CONFIG_MAP,
            &Manager {
                now: &now,
                ..by(&name, "v1")
            },
        );
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert!(owned_by(&live, "ancient-changes")["f:data"]["f:k1"].is_object());
}
