//! Services, pods, and what stands in slices and Endpoints.

use super::{elder::Elder, mirror::Mirror, slice::Slices};
use crate::{
    api::{name::Key, object::Object},
    controllers::framework::{Controller, testing::Stage},
};
use k8s_openapi::api::{
    core::v1::{EndpointSubset, Endpoints, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use serde_json::{Value, json};

fn service<C: Controller>(stage: &mut Stage<C>, spec: &Value) {
    stage.put::<Service>(json!({"metadata": {"namespace": "a", "name": "web", "labels": {"tier": "x"}}, "spec": spec}));
}

fn plain() -> Value {
    json!({"clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]})
}

fn pod<C: Controller>(stage: &mut Stage<C>, name: &str, ip: &str, port: i32, is_ready: bool) {
    stage.put::<Pod>(json!({"metadata": {"namespace": "a", "name": name, "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": if is_ready {"True"} else {"False"}}]}}));
}

/// Ports and addresses with their conditions (r, s, t) of every slice.
fn shown<C: Controller>(stage: &Stage<C>) -> Vec<String> {
    let show = |slice: &EndpointSlice| {
        let ports: Vec<_> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| port.port)
            .collect();
        let endpoints: Vec<String> = slice
            .endpoints
            .iter()
            .flatten()
            .map(|one| {
                let c = one.conditions.as_ref().unwrap();
                let flags = [(c.ready, 'r'), (c.serving, 's'), (c.terminating, 't')];
                let flags: String = flags
                    .iter()
                    .filter(|(set, _)| *set == Some(true))
                    .map(|(_, letter)| letter)
                    .collect();
                format!("{} {flags}", one.addresses[0])
            })
            .collect();
        format!("{ports:?} {endpoints:?}")
    };
    stage.all::<EndpointSlice>().iter().map(show).collect()
}

#[test]
fn a_slice_tells_what_is_ready_serving_and_terminating() {
    let mut stage = Stage::new(Slices);
    service(&mut stage, &plain());
    stage.settle();
    assert_eq!(shown(&stage), ["[] []"]);
    pod(&mut stage, "p1", "10.0.0.1", 8080, true);
    pod(&mut stage, "p2", "10.0.0.2", 8080, false);
    pod(&mut stage, "p3", "10.0.0.3", 8080, true);
    stage.delete::<Pod>("a", "p3");
    stage.settle();
    assert_eq!(
        shown(&stage),
        [r#"[8080] ["10.0.0.1 rs", "10.0.0.2 ", "10.0.0.3 st"]"#]
    );
    let slice = &stage.all::<EndpointSlice>()[0];
    let labels = slice.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(labels["tier"], "x");
    stage.edit::<Pod>("a", "p1", |pod| pod.metadata.labels = None);
    stage.remove::<Pod>("a", "p3");
    stage.settle();
    assert_eq!(shown(&stage), [r#"[8080] ["10.0.0.2 "]"#]);
}

#[test]
fn pods_with_other_ports_get_their_own_slice() {
    let mut stage = Stage::new(Slices);
    service(&mut stage, &plain());
    pod(&mut stage, "p1", "10.0.0.1", 8080, true);
    pod(&mut stage, "p2", "10.0.0.2", 9090, true);
    stage.settle();
    assert_eq!(
        shown(&stage),
        [r#"[8080] ["10.0.0.1 rs"]"#, r#"[9090] ["10.0.0.2 rs"]"#]
    );
}

#[test]
fn slices_are_full_at_a_hundred_and_keep_their_endpoints() {
    let mut stage = Stage::new(Slices);
    service(&mut stage, &plain());
    for n in 0..150 {
        pod(
            &mut stage,
            &format!("p{n:03}"),
            &format!("10.0.1.{n}"),
            8080,
            true,
        );
    }
    stage.settle();
    let sizes = |stage: &Stage<Slices>| -> Vec<usize> {
        stage
            .all::<EndpointSlice>()
            .iter()
            .map(|slice| slice.endpoints.iter().flatten().count())
            .collect()
    };
    assert_eq!(sizes(&stage), [100, 50]);
    let before = stage.all::<EndpointSlice>();
    stage.remove::<Pod>("a", "p149");
    stage.settle();
    assert_eq!(sizes(&stage), [100, 49]);
    assert_eq!(
        stage.all::<EndpointSlice>()[0].revision(),
        before[0].revision()
    );
}

#[test]
fn a_headless_service_publishes_unready_pods_when_asked() {
    let mut stage = Stage::new(Slices);
    service(
        &mut stage,
        &json!({"clusterIP": "None", "selector": {"app": "web"}, "publishNotReadyAddresses": true}),
    );
    pod(&mut stage, "p1", "10.0.0.1", 8080, false);
    stage.settle();
    assert_eq!(shown(&stage), [r#"[] ["10.0.0.1 r"]"#]);
    let labels = stage.all::<EndpointSlice>()[0]
        .metadata
        .labels
        .clone()
        .unwrap();
    assert_eq!(labels["service.kubernetes.io/headless"], "");
}

#[test]
fn endpoints_are_meant_for_those_near_them_when_asked() {
    let mut stage = Stage::new(Slices);
    stage.put::<Node>(
        json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"}}}),
    );
    let hints = |stage: &mut Stage<Slices>, wish: Value| {
        let mut spec = plain();
        spec["trafficDistribution"] = wish;
        service(stage, &spec);
        pod(stage, "p1", "10.0.0.1", 8080, true);
        stage.settle();
        let slice = &stage.all::<EndpointSlice>()[0];
        let hints = slice.endpoints.as_ref().unwrap()[0].hints.clone();
        serde_json::to_value(hints).unwrap()
    };
    assert_eq!(hints(&mut stage, Value::Null), Value::Null);
    let zone = json!([{"name": "z"}]);
    assert_eq!(
        hints(&mut stage, json!("PreferSameZone")),
        json!({"forZones": zone})
    );
    assert_eq!(
        hints(&mut stage, json!("PreferSameNode")),
        json!({"forNodes": [{"name": "n"}], "forZones": zone})
    );
}

fn subsets<C: Controller>(stage: &Stage<C>) -> Vec<EndpointSubset> {
    stage
        .get::<Endpoints>("a", "web")
        .subsets
        .unwrap_or_default()
}

#[test]
fn endpoints_leave_terminating_pods_out_and_go_with_the_service() {
    let mut stage = Stage::new(Elder);
    service(&mut stage, &plain());
    stage.settle();
    assert!(subsets(&stage).is_empty());
    pod(&mut stage, "p1", "10.0.0.1", 8080, true);
    pod(&mut stage, "p2", "10.0.0.2", 8080, false);
    pod(&mut stage, "p3", "10.0.0.3", 8080, true);
    stage.delete::<Pod>("a", "p3");
    stage.settle();
    let all = subsets(&stage);
    let ips = |list: &Option<Vec<k8s_openapi::api::core::v1::EndpointAddress>>| -> Vec<String> {
        list.iter().flatten().map(|one| one.ip.clone()).collect()
    };
    assert_eq!(
        (
            all.len(),
            ips(&all[0].addresses),
            ips(&all[0].not_ready_addresses)
        ),
        (1, vec!["10.0.0.1".to_owned()], vec!["10.0.0.2".to_owned()])
    );
    stage.remove::<Service>("a", "web");
    stage.pass_over(&[Key::new("a", "web")]);
    assert!(stage.find::<Endpoints>("a", "web").is_none());
}

#[test]
fn hand_made_endpoints_are_mirrored_until_they_go() {
    let mut stage = Stage::new(Mirror);
    service(
        &mut stage,
        &json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}),
    );
    stage.put::<Endpoints>(json!({"metadata": {"namespace": "a", "name": "web"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]}));
    stage.settle();
    assert_eq!(shown(&stage), [r#"[80] ["192.0.2.1 r"]"#]);
    stage.edit::<Endpoints>("a", "web", |one| one.subsets = None);
    stage.settle();
    assert!(shown(&stage).is_empty());
}
