//! Documents have what clients look for.

use super::*;

const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const SOME: &[&str] = &["get", "patch", "update"];

fn resource(
    group: &'static str,
    names: [&'static str; 2],
    definition: &'static str,
    subresources: &[(&'static str, [&'static str; 3], &'static [&'static str])],
) -> Resource<'static> {
    let sub = |(name, [group, version, kind], verbs): &(
        &'static str,
        [&'static str; 3],
        &'static [&'static str],
    )| Subresource {
        name: (*name).into(),
        group: (*group).into(),
        version: (*version).into(),
        kind: (*kind).into(),
        verbs,
    };
    let [kind, plural] = names;
    Resource {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        plural: plural.into(),
        is_namespaced: true,
        verbs: ALL,
        definition: definition.into(),
        is_custom: false,
        subresources: subresources.iter().map(sub).collect(),
    }
}

fn deployments() -> Resource<'static> {
    resource(
        "apps",
        ["Deployment", "deployments"],
        "io.k8s.api.apps.v1.Deployment",
        &[
            ("status", ["apps", "v1", "Deployment"], SOME),
            ("scale", ["autoscaling", "v1", "Scale"], SOME),
        ],
    )
}

fn dangling(document: &Value, home: &str) -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(
                    object
                        .get("$ref")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(document, &mut found);
    found.retain(|reference| match reference.strip_prefix("#/") {
        Some(path) => document.pointer(&format!("/{path}")).is_none() || !path.starts_with(home),
        None => true,
    });
    found
}

#[test]
fn kubectl_finds_field_validation_and_patch_types() {
    let document = v3_document(&[deployments()], &Map::new(), "v1.36.2");
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    let names: Vec<_> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["dryRun", "fieldManager", "fieldValidation", "force"]
    );
    let types: Vec<_> = patch["requestBody"]["content"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert!(types.contains(&&"application/strategic-merge-patch+json".to_owned()));
    let scale =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["operationId"], "readAppsV1NamespacedDeploymentScale");
    assert_eq!(
        scale["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/io.k8s.api.autoscaling.v1.Scale"
    );
    let everywhere = &document["paths"]["/apis/apps/v1/deployments"]["get"]["operationId"];
    assert_eq!(everywhere, "listAppsV1DeploymentForAllNamespaces");
    assert_eq!(
        document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["delete"]["operationId"],
        "deleteAppsV1CollectionNamespacedDeployment"
    );
}

/// The schema without its text.
fn silent(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        members.remove("description");
    }
    schema
}

#[test]
fn schemas_carry_strategies_and_refer_to_what_is_there() {
    let document = v3_document(&[deployments()], &Map::new(), "v1.36.2");
    let schemas = &document["components"]["schemas"];
    let spec = &schemas["io.k8s.api.core.v1.PodSpec"];
    let text = &spec["properties"]["containers"]["description"];
    assert!(text.is_string(), "{text}");
    assert_eq!(
        silent(&spec["properties"]["containers"]),
        json!({
            "type": "array", "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge",
        })
    );
    assert_eq!(spec["required"], json!(["containers"]));
    assert_eq!(
        schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    assert_eq!(
        silent(&schemas["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"]),
        json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}], "default": {}})
    );
    assert!(schemas.get("io.k8s.api.core.v1.Node").is_none());
    assert_eq!(
        dangling(&document, "components/schemas"),
        Vec::<String>::new()
    );
}

#[test]
fn version_two_has_its_own_forms() {
    let pods = resource(
        "",
        ["Pod", "pods"],
        "io.k8s.api.core.v1.Pod",
        &[
            ("exec", ["", "v1", "PodExecOptions"], &["create", "get"]),
            ("log", ["", "v1", "Pod"], &["get"]),
            ("eviction", ["policy", "v1", "Eviction"], &["create"]),
            (
                "proxy",
                ["", "v1", "PodProxyOptions"],
                &["create", "delete", "get", "patch", "update"],
            ),
        ],
    );
    let document = v2_document(&[pods, deployments()], &Map::new(), "v1.36.2");
    assert_eq!(document["swagger"], "2.0");
    let paths = &document["paths"];
    let create = &paths["/api/v1/namespaces/{namespace}/pods"]["post"];
    let body = create["parameters"].as_array().unwrap().last().unwrap();
    assert_eq!(
        body["schema"]["$ref"],
        "#/definitions/io.k8s.api.core.v1.Pod"
    );
    assert_eq!(create["tags"], json!(["core_v1"]));
    let exec = &paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"];
    assert_eq!(
        exec["get"]["operationId"],
        "connectCoreV1GetNamespacedPodExec"
    );
    let eviction = &paths["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"];
    assert_eq!(eviction["operationId"], "createCoreV1NamespacedPodEviction");
    assert!(
        paths
            .get("/api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}")
            .is_some()
    );
    assert_eq!(
        document["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"],
        json!({"type": "string", "format": "int-or-string"})
    );
    assert_eq!(dangling(&document, "definitions"), Vec::<String>::new());
}

#[test]
fn custom_resources_are_published_without_strategic_patch() {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "nullable": true, "properties": {"port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
    }});
    let extra: Map<String, Value> = custom_definitions(
        "stable.example.com",
        "v1",
        "CronTab",
        "CronTabList",
        Some(&schema),
    )
    .into_iter()
    .collect();
    let mut crontabs = resource(
        "stable.example.com",
        ["CronTab", "crontabs"],
        "com.example.stable.v1.CronTab",
        &[],
    );
    crontabs.is_custom = true;
    crontabs.subresources.push(Subresource {
        name: "status".into(),
        group: "stable.example.com".into(),
        version: "v1".into(),
        kind: "CronTab".into(),
        verbs: SOME,
    });
    let document = v3_document(&[crontabs.clone()], &extra, "v1.36.2");
    let patch = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}/status"]
        ["patch"];
    let types: Vec<_> = patch["requestBody"]["content"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(
        types,
        [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json"
        ]
    );
    assert_eq!(
        dangling(&document, "components/schemas"),
        Vec::<String>::new()
    );
    let own = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert!(
        own["properties"]["metadata"]["allOf"][0]["$ref"]
            .as_str()
            .unwrap()
            .ends_with("ObjectMeta")
    );

    let document = v2_document(&[crontabs], &extra, "v1.36.2");
    let own = &document["definitions"]["com.example.stable.v1.CronTab"];
    assert_eq!(
        own["properties"]["spec"],
        json!({"type": "object", "properties": {"port": {"x-kubernetes-int-or-string": true}}})
    );
    assert!(own["properties"]["free"].get("properties").is_none());
    assert_eq!(dangling(&document, "definitions"), Vec::<String>::new());
}

#[test]
fn the_index_names_each_document() {
    let index = v3_index([("api/v1", "A"), ("apis/apps/v1", "B")]);
    assert_eq!(
        index["paths"]["apis/apps/v1"]["serverRelativeURL"],
        "/openapi/v3/apis/apps/v1?hash=B"
    );
    assert_eq!(
        (path_of("", "v1"), path_of("apps", "v1")),
        ("api/v1".to_owned(), "apis/apps/v1".to_owned())
    );
}
