//! Decisions as tables: a few nodes, some pods on them, one that wants a place.

use super::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn merged(mut base: Value, more: &Value) -> Value {
    for (field, value) in more.as_object().into_iter().flatten() {
        base[field] = value.clone();
    }
    base
}

/// 4 CPUs, 8 GiB, 10 pods; a host and a zone label.
fn node(name: &str, zone: &str, spec: &Value) -> NodeInfo {
    let node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": zone}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", "example.com/gpu": "1"}},
    });
    NodeInfo::new(Arc::new(serde_json::from_value(node).unwrap()))
}

fn pod(name: &str, cpu: &str, more: &Value) -> PodInfo {
    let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
    let spec = merged(json!({"containers": [container]}), more);
    let pod = json!({
        "metadata": {"namespace": "default", "name": name, "uid": name, "labels": {"app": "web"}},
        "spec": spec,
    });
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

/// Nodes `a` in zone 1, `b` in zone 2, with pods on them.
fn world(pods: Vec<(&str, PodInfo)>) -> World {
    let mut world = World::default();
    for (name, zone) in [("a", "1"), ("b", "2")] {
        world
            .nodes
            .insert(name.to_owned(), node(name, zone, &json!({})));
    }
    for (node, pod) in pods {
        world.place(node, Arc::new(pod));
    }
    world
}

/// The node, or the message.
fn decided(pod: &PodInfo, world: &World) -> String {
    match decide(pod, world, 0) {
        Outcome::Place { node, .. } => node,
        Outcome::Refused(refusal) => refusal.message,
    }
}

fn spread(when: &str, key: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "web"}}}]})
}

fn near(kind: &str, key: &str) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}}]}}})
}

/// Pods that are there, by node.
type Present = Vec<(&'static str, PodInfo)>;

/// What the case shows, the pod, those that are there, its node.
fn check(cases: Vec<(&str, PodInfo, Present, &str)>) {
    for (name, wanted, present, expected) in cases {
        assert_eq!(decided(&wanted, &world(present)), expected, "{name}");
    }
}

#[test]
fn pods_go_where_they_fit_best() {
    let none = &json!({});
    let port =
        &json!({"containers": [{"name": "c", "ports": [{"hostPort": 80, "containerPort": 80}]}]});
    let prefers = |zone: &str| {
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}}]}}})
    };
    check(vec![
        (
            "the emptier node",
            pod("p", "1", none),
            vec![("a", pod("x", "2", none))],
            "b",
        ),
        (
            "where there is room",
            pod("p", "3", none),
            vec![("b", pod("x", "2", none))],
            "a",
        ),
        (
            "the selector",
            pod("p", "1", &json!({"nodeSelector": {"zone": "2"}})),
            vec![],
            "b",
        ),
        ("a preference", pod("p", "1", &prefers("2")), vec![], "b"),
        (
            "a free port",
            pod("p", "1", port),
            vec![("a", pod("x", "1", port))],
            "b",
        ),
        (
            "a name",
            pod(
                "p",
                "1",
                &json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]}}}}),
            ),
            vec![],
            "b",
        ),
    ]);
}

#[test]
fn pods_mind_their_neighbors() {
    let none = &json!({});
    check(vec![
        (
            "spread",
            pod("p", "1", &spread("DoNotSchedule", "zone")),
            vec![("a", pod("x", "0", none))],
            "b",
        ),
        (
            "soft spread",
            pod("p", "0", &spread("ScheduleAnyway", "zone")),
            vec![("a", pod("x", "0", none))],
            "b",
        ),
        (
            "near its like",
            pod("p", "1", &near("podAffinity", "zone")),
            vec![("b", pod("x", "2", none))],
            "b",
        ),
        (
            "the first of a group",
            pod("p", "1", &near("podAffinity", "zone")),
            vec![],
            "a",
        ),
        (
            "far from its like",
            pod("p", "1", &near("podAntiAffinity", "zone")),
            vec![("a", pod("x", "0", none))],
            "b",
        ),
        (
            "unwelcome",
            pod("p", "1", none),
            vec![("a", pod("x", "0", &near("podAntiAffinity", "zone")))],
            "b",
        ),
        (
            "side containers count, init containers only if larger",
            pod(
                "p",
                "1",
                &json!({"initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                {"name": "i", "resources": {"requests": {"cpu": "2500m"}}}]}),
            ),
            vec![("a", pod("x", "600m", none)), ("b", pod("y", "500m", none))],
            "b",
        ),
    ]);
}

#[test]
fn refusals_are_worded_as_upstreams() {
    let none = &json!({});
    let useless =
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    let nobody =
        "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
    let full = || vec![("a", pod("x", "3", none)), ("b", pod("y", "3", none))];
    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let gpu = json!({"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "2", "cpu": "2"}}}]});
    let cases: Vec<(PodInfo, Present, String)> = vec![
        (pod("p", "2", none), full(), format!("0/2 nodes are available: 2 Insufficient cpu. {nobody}")),
        (pod("p", "9", none), vec![], format!("0/2 nodes are available: 2 Insufficient cpu. {useless}")),
        (
            pod("p", "1", &gpu),
            full(),
            format!("0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient example.com/gpu. {useless}"),
        ),
        (
            pod("p", "1", &json!({"nodeSelector": {"zone": "3"}})),
            vec![],
            format!("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. {useless}"),
        ),
        (
            pod("p", "1", &claim),
            vec![],
            format!("0/2 nodes are available: persistentvolumeclaim \"data\" not found. {useless}"),
        ),
        (
            pod("p", "2", &json!({"preemptionPolicy": "Never", "priority": 5})),
            full(),
            "0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.".to_owned(),
        ),
        (
            pod("p", "1", &near("podAntiAffinity", "zone")),
            full(),
            format!("0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. {nobody}"),
        ),
    ];
    for (wanted, present, expected) in cases {
        assert_eq!(decided(&wanted, &world(present)), expected);
    }
    let no_nodes = decided(&pod("p", "1", none), &World::default());
    assert_eq!(no_nodes, "no nodes available to schedule pods");
}

#[test]
fn taints_keep_out_who_does_not_tolerate_them() {
    let mut world = world(Vec::new());
    let tainted = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
    let closed = json!({"unschedulable": true});
    world.nodes.insert("a".to_owned(), node("a", "1", &tainted));
    world.nodes.insert("b".to_owned(), node("b", "2", &closed));
    assert_eq!(
        decided(&pod("p", "1", &json!({})), &world),
        "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. \
         preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    let tolerant = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
    assert_eq!(decided(&pod("p", "1", &tolerant), &world), "a");
}

/// Node and victims.
fn preempted(wanted: &PodInfo, world: &World) -> (String, Vec<String>) {
    let Outcome::Refused(refusal) = decide(wanted, world, 0) else {
        panic!("it fits");
    };
    let preemption = refusal.preemption.expect(&refusal.message);
    let victims = preemption.victims.iter();
    (
        preemption.node,
        victims.map(|pod| pod.key.name.clone()).collect(),
    )
}

#[test]
fn the_least_harm_is_done() {
    let of = |name: &str, cpu: &str, priority: i32| pod(name, cpu, &json!({"priority": priority}));
    let wanted = of("p", "2", 100);
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    // The less important node's pods go; who can stay, stays.
    let some = world(vec![
        ("a", of("a1", "2", 50)),
        ("a", of("a2", "2", 1)),
        ("b", of("b1", "4", 60)),
    ]);
    assert_eq!(preempted(&wanted, &some), ("a".to_owned(), names(&["a2"])));
    // Fewer victims.
    let some = world(vec![
        ("a", of("a1", "2", 5)),
        ("a", of("a2", "2", 5)),
        ("b", of("b1", "1500m", 5)),
        ("b", of("b2", "1500m", 5)),
    ]);
    assert_eq!(preempted(&wanted, &some).1.len(), 1);
    // Equals are never victims.
    let some = world(vec![("a", of("a1", "4", 100)), ("b", of("b1", "4", 7))]);
    assert_eq!(preempted(&wanted, &some), ("b".to_owned(), names(&["b1"])));
}

#[test]
fn budgets_are_kept_when_another_node_will_do() {
    let of = |name: &str, more: Value| pod(name, "4", &more);
    let mut world = world(vec![
        ("a", of("a1", json!({"priority": 1}))),
        ("b", of("b1", json!({"priority": 50}))),
    ]);
    let mut guarded = world
        .remove(&crate::api::name::Key::new("default", "a1"))
        .unwrap();
    let info = Arc::make_mut(&mut guarded);
    let labels = Arc::make_mut(&mut info.pod)
        .metadata
        .labels
        .get_or_insert_default();
    labels.insert("app".to_owned(), "guarded".to_owned());
    world.place("a", guarded);
    let budget = json!({"metadata": {"namespace": "default", "name": "b"},
        "spec": {"selector": {"matchLabels": {"app": "guarded"}}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    world.budgets = [serde_json::from_value(budget).unwrap()]
        .into_iter()
        .collect();
    let wanted = pod("p", "2", &json!({"priority": 100}));
    assert_eq!(preempted(&wanted, &world).0, "b");
}

#[test]
fn room_that_was_freed_for_one_is_not_taken_by_a_lesser() {
    let mut world = world(vec![("a", pod("x", "4", &json!({})))]);
    let nominated = pod("big", "4", &json!({"priority": 100}));
    world.nominated.insert(
        nominated.key.clone(),
        ("b".to_owned(), Arc::new(nominated.clone())),
    );
    assert!(decided(&pod("p", "1", &json!({})), &world).starts_with("0/2 nodes"));
    let greater = pod("p", "1", &json!({"priority": 200}));
    assert_eq!(decided(&greater, &world), "b");
    assert_eq!(decided(&nominated, &world), "b");
}

fn storage(world: &mut World, mode: &str, claim: &Value, volumes: &[Value]) {
    let class = json!({"metadata": {"name": "fast"}, "provisioner": "example.com/x", "volumeBindingMode": mode});
    world.classes = [serde_json::from_value(class).unwrap()]
        .into_iter()
        .collect();
    let base = json!({"metadata": {"namespace": "default", "name": "data", "uid": "u"}});
    let claim = merged(base, claim);
    world.claims = [serde_json::from_value(claim).unwrap()]
        .into_iter()
        .collect();
    let volumes = volumes.iter().cloned();
    world.volumes = volumes
        .map(|volume| serde_json::from_value(volume).unwrap())
        .collect();
}

fn volume(name: &str, size: &str, zone: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "zone", "operator": "In", "values": [zone]}]}]}}}})
}

#[test]
fn claims_decide_where_a_pod_can_go() {
    let wish = json!({"spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let bound = json!({"spec": {"storageClassName": "fast", "volumeName": "v"}, "status": {"phase": "Bound"}});
    let wanted = pod(
        "p",
        "1",
        &json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}),
    );
    let mut world = world(Vec::new());
    let key = crate::api::name::Key::new("default", "data");

    storage(&mut world, "Immediate", &wish, &[]);
    let message = decided(&wanted, &world);
    assert!(
        message.contains("pod has unbound immediate PersistentVolumeClaims."),
        "{message}"
    );

    storage(
        &mut world,
        "WaitForFirstConsumer",
        &bound,
        &[volume("v", "1Gi", "2")],
    );
    assert_eq!(decided(&wanted, &world), "b");

    storage(&mut world, "WaitForFirstConsumer", &bound, &[]);
    let message = decided(&wanted, &world);
    assert!(
        message.contains(
            "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
        ),
        "{message}"
    );

    storage(&mut world, "WaitForFirstConsumer", &wish, &[]);
    let Outcome::Place { volumes, .. } = decide(&wanted, &world, 0) else {
        panic!("a volume can be made");
    };
    assert!(volumes.provision.contains(&key));

    let all = [
        volume("large", "5Gi", "1"),
        volume("fits", "1Gi", "1"),
        volume("small", "1Mi", "1"),
    ];
    storage(&mut world, "WaitForFirstConsumer", &wish, &all);
    let Outcome::Place { node, volumes } = decide(&wanted, &world, 0) else {
        panic!("volumes exist");
    };
    assert_eq!((node.as_str(), volumes.bind[&key].as_str()), ("a", "fits"));
}

#[test]
fn a_node_takes_as_many_volumes_of_a_driver_as_it_says() {
    let using = |name: &str, claim: &str| {
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
        pod(name, "1", &json!({"volumes": volumes}))
    };
    let mut world = world(vec![
        ("a", using("old", "first")),
        ("b", using("older", "second")),
    ]);
    let claims = ["first", "second", "third"].map(|name| {
        serde_json::from_value(json!({"metadata": {"namespace": "default", "name": name},
            "spec": {"volumeName": name}, "status": {"phase": "Bound"}}))
        .unwrap()
    });
    world.claims = claims.into_iter().collect();
    let volumes = ["first", "second", "third"].map(|name| {
        serde_json::from_value(json!({"metadata": {"name": name},
            "spec": {"csi": {"driver": "disk.example", "volumeHandle": name}}}))
        .unwrap()
    });
    world.volumes = volumes.into_iter().collect();
    assert_ne!(decided(&using("new", "third"), &world), "");
    let limited = |name: &str, count: i32| {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"drivers": [
            {"name": "disk.example", "nodeID": name, "allocatable": {"count": count}}]}}))
        .unwrap()
    };
    world.drivers = [limited("a", 1), limited("b", 2)].into_iter().collect();
    assert_eq!(decided(&using("new", "third"), &world), "b");
    // A volume that is there already takes no further place.
    let shared = merged(json!({"nodeSelector": {"zone": "1"}}), &json!({}));
    let mut again = using("new", "first").pod.as_ref().clone();
    again.spec.as_mut().unwrap().node_selector =
        serde_json::from_value(shared["nodeSelector"].clone()).unwrap();
    assert_eq!(decided(&PodInfo::new(Arc::new(again)), &world), "a");
    world.drivers = [limited("a", 1), limited("b", 1)].into_iter().collect();
    assert_eq!(
        decided(&using("new", "third"), &world),
        "0/2 nodes are available: 2 node(s) exceed max volume count. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
    );
}

#[test]
fn a_node_that_has_a_large_image_is_preferred() {
    let mut world = world(Vec::new());
    let images = json!([{"names": ["docker.io/library/big:1"], "sizeBytes": 900 << 20}]);
    let mut node = world.nodes["b"].node.as_ref().clone();
    node.status.as_mut().unwrap().images = serde_json::from_value(images).unwrap();
    world
        .nodes
        .insert("b".to_owned(), NodeInfo::new(Arc::new(node)));
    for turn in 0..4 {
        let wanted = pod(
            "p",
            "1",
            &json!({"containers": [{"name": "c", "image": "big:1"}]}),
        );
        let Outcome::Place { node, .. } = decide(&wanted, &world, turn) else {
            panic!("no place")
        };
        assert_eq!(node, "b");
    }
}

#[test]
fn pods_of_one_controller_are_spread_although_they_do_not_ask() {
    let owned = |name: &str, cpu: &str, owner: &str| {
        let mut pod = pod(name, cpu, &json!({})).pod.as_ref().clone();
        let owners = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]);
        pod.metadata.owner_references = serde_json::from_value(owners).unwrap();
        PodInfo::new(Arc::new(pod))
    };
    let mut stranger = pod("stranger", "1", &json!({})).pod.as_ref().clone();
    stranger.metadata.labels = None;
    let stranger = PodInfo::new(Arc::new(stranger));
    let mut world = world(vec![("a", owned("one", "100m", "web")), ("b", stranger)]);
    let set = json!({"metadata": {"namespace": "default", "name": "web", "uid": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}}});
    world.sets = [serde_json::from_value(set).unwrap()].into_iter().collect();
    for turn in 0..4 {
        for (owner, expected) in [("web", "b"), ("other", "a")] {
            let Outcome::Place { node, .. } = decide(&owned("two", "100m", owner), &world, turn)
            else {
                panic!("no place")
            };
            assert_eq!(node, expected, "{owner}");
        }
    }
}

#[test]
fn room_that_is_kept_for_the_more_important_is_nobodys() {
    let important = |name: &str, cpu: &str, priority: i32, node: &str| {
        pod(
            name,
            cpu,
            &json!({"priority": priority, "nodeSelector": {"kubernetes.io/hostname": node}}),
        )
    };
    let mut world = world(vec![("a", important("small", "1", 0, "a"))]);
    let waiting = important("waiting", "3", 9, "a");
    let place = ("a".to_owned(), Arc::new(waiting.clone()));
    world.nominated.insert(waiting.key.clone(), place);
    let Outcome::Refused(refusal) = decide(&important("new", "2", 5, "a"), &world, 0) else {
        panic!("there is no room")
    };
    assert!(refusal.preemption.is_none(), "{:?}", refusal.preemption);
    assert_eq!(
        refusal.message,
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are available: 1 Insufficient cpu, 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_place_is_kept_only_while_there_is_hope() {
    let wanted = |more: &Value| {
        let more = merged(json!({"priority": 9, "nodeSelector": {"zone": "1"}}), more);
        pod("wanted", "3", &more)
    };
    let lesser = || vec![("a", pod("lesser", "3", &json!({"priority": 1})))];
    let equal = || vec![("a", pod("equal", "3", &json!({"priority": 9})))];
    let never = json!({"preemptionPolicy": "Never"});
    for (more, present, hopeless) in [
        (json!({}), lesser(), false),
        (json!({}), equal(), true),
        (never, lesser(), false),
    ] {
        let Outcome::Refused(refusal) = decide(&wanted(&more), &world(present), 0) else {
            panic!("there is no room")
        };
        assert_eq!(refusal.is_hopeless, hopeless, "{}", refusal.message);
    }
}
