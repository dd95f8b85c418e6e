//! What happens when disk or memory run short: pods that take too much, pods that are in the way, unused images.

use crate::{
    Story,
    cluster::{Place, shared, stderr},
    images::{Image, load, load_busybox},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub const STORIES: &[Story] = &[
    (
        "eviction::pods_that_take_too_much_disk_go",
        pods_that_take_too_much_disk_go,
    ),
    (
        "eviction::pressure_evicts_in_order_and_data_stays",
        pressure_evicts_in_order_and_data_stays,
    ),
];

const GREEDY: &str = "
apiVersion: v1
kind: Pod
metadata: {name: volume}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: 'busybox:1.36', command: [sh, -c, 'dd if=/dev/zero of=/v/f bs=1M count=3; sleep 1000'], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]
---
apiVersion: v1
kind: Pod
metadata: {name: container}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: 'busybox:1.36', command: [sh, -c, 'dd if=/dev/zero of=/tmp/f bs=1M count=4; sleep 1000'], resources: {limits: {ephemeral-storage: 2Mi}}}
  - {name: d, image: 'busybox:1.36', command: [sleep, '1000'], resources: {limits: {ephemeral-storage: 50Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: whole}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: 'busybox:1.36', command: [sh, -c, 'dd if=/dev/zero of=/v/f bs=1M count=4; sleep 1000'], resources: {limits: {ephemeral-storage: 2Mi}}, volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: modest}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: 'busybox:1.36', command: [sh, -c, 'dd if=/dev/zero of=/v/f bs=1M count=4; sleep 1000'], resources: {limits: {ephemeral-storage: 20Mi}}, volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, emptyDir: {sizeLimit: 10Mi}}]
";

fn status(place: &Place, namespace: &str, pod: &str, field: &str) -> String {
    let path = format!(".status.{field}");
    place.field(&["pod", pod, "-n", namespace], &path)
}

/// Waits until a pod has been evicted; the message.
fn evicted(place: &Place, namespace: &str, pod: &str) -> String {
    place.eventually(&format!("the eviction of {pod}"), || {
        (status(place, namespace, pod, "reason") == "Evicted").then_some(())
    });
    assert_eq!(status(place, namespace, pod, "phase"), "Failed");
    let path = "conditions[?(@.type==\"DisruptionTarget\")].reason";
    assert_eq!(status(place, namespace, pod, path), "TerminationByKubelet");
    status(place, namespace, pod, "message")
}

fn events(place: &Place, object: &str, reason: &str) -> String {
    let field = format!("--field-selector=involvedObject.name={object},reason={reason}");
    let output = "jsonpath={.items[*].message}";
    place.kubectl(&["get", "events", "-A", &field, "-o", output])
}

fn pods_that_take_too_much_disk_go() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "greedy"]);
    let path = place.home.path().join("greedy.yaml");
    std::fs::write(&path, GREEDY).unwrap();
    place.kubectl(&["apply", "-n", "greedy", "-f", path.to_str().unwrap()]);
    let rows = [
        (
            "volume",
            "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ",
        ),
        (
            "container",
            "Container c exceeded its local ephemeral storage limit \"2Mi\". ",
        ),
        (
            "whole",
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        ),
    ];
    for (pod, message) in rows {
        assert_eq!(evicted(&place, "greedy", pod), message);
        place.eventually("the event", || {
            (events(&place, pod, "Evicted") == message).then_some(())
        });
    }
    assert_eq!(status(&place, "greedy", "modest", "phase"), "Running");
    let described = place.kubectl(&["describe", "pod", "volume", "-n", "greedy"]);
    let words: Vec<&str> = described.split_whitespace().collect();
    let words = words.join(" ");
    assert!(
        words.contains("Status: Failed Reason: Evicted Message: Usage of EmptyDir volume"),
        "{described}"
    );
    place.kubectl(&["delete", "namespace", "greedy", "--wait=false"]);
}

const PODS: &str = "
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: weighty}
value: 1000
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: heavy}
spec:
  terminationGracePeriodSeconds: 1
  priorityClassName: weighty
  containers: [{name: c, image: 'busybox:1.36', command: [sleep, '1000'], resources: {requests: {cpu: 1m}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: light}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: 'busybox:1.36', command: [sleep, '1000'], resources: {requests: {cpu: 1m}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  terminationGracePeriodSeconds: 1
  priorityClassName: system-node-critical
  containers: [{name: c, image: 'busybox:1.36', command: [sleep, '1000'], volumeMounts: [{name: v, mountPath: /data}]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]
";

fn pressure_evicts_in_order_and_data_stays() {
    let place = Place::new();
    place.must(&[
        "start",
        "--extra-config=kubelet.image-gc-high-threshold=1",
        "--extra-config=kubelet.image-gc-low-threshold=0",
        "--extra-config=kubelet.minimum-image-ttl-duration=0s",
    ]);
    load_busybox(&place);
    load(&place, &Image::new("unused:1"), "unused");
    place.apply(PODS);
    for pod in ["heavy", "light", "keeper"] {
        let pod = format!("pod/{pod}");
        place.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=60s"]);
    }
    images_are_collected(&place);
    place.kubectl(&["exec", "keeper", "--", "sh", "-c", "echo kept > /data/file"]);
    place.must(&["stop"]);
    let mut wrong = place.kubik(&["start", "--extra-config=kubelet.eviction-hard=memory<1"]);
    let refused = stderr(&wrong.output().unwrap());
    assert!(
        refused.contains("\"memory\" is no eviction signal"),
        "{refused}"
    );
    // From now on there is never enough memory.
    place.must(&[
        "start",
        "--extra-config=kubelet.eviction-hard=memory.available<100%",
    ]);
    order_of_eviction(&place);
    let kept = || {
        place.kubectl(&[
            "wait",
            "--for=condition=Ready",
            "pod/keeper",
            "--timeout=60s",
        ]);
        place.kubectl(&["exec", "keeper", "--", "cat", "/data/file"])
    };
    assert_eq!(kept(), "kept\n");
    kill(Pid::from_raw(place.daemon_pid()), Signal::SIGKILL).unwrap();
    place.must(&["start"]);
    assert_eq!(kept(), "kept\n");
}

/// The disk is over its mark whatever is on it: what no pod uses goes, and more cannot be had.
fn images_are_collected(place: &Place) {
    place.eventually("the unused image's end", || {
        (!place.must(&["image", "ls"]).contains("unused")).then_some(())
    });
    assert!(place.must(&["image", "ls"]).contains("busybox"));
    place.eventually("the event about it", || {
        let text = events(place, &place.profile, "FreeDiskSpaceFailed");
        text.contains("Failed to garbage collect required amount of images. Attempted to free ")
            .then_some(())
    });
}

fn order_of_eviction(place: &Place) {
    let node = place.profile.as_str();
    let condition = "--for=condition=MemoryPressure";
    place.kubectl(&["wait", condition, &format!("node/{node}"), "--timeout=60s"]);
    let path = ".status.conditions[?(@.type==\"MemoryPressure\")].reason";
    let reason = place.field(&["node", node], path);
    assert_eq!(reason, "KubeletHasInsufficientMemory");
    place.eventually("the taint", || {
        let taints = place.field(&["node", node], ".spec.taints[*].key");
        taints
            .contains("node.kubernetes.io/memory-pressure")
            .then_some(())
    });
    // Who asks for nothing is not let in any more.
    place.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: late}}\nspec: {{nodeName: {node}, containers: [{{name: c, image: 'busybox:1.36'}}]}}"
    ));
    place.eventually("the refusal", || {
        (status(place, "default", "late", "reason") == "Evicted").then_some(())
    });
    let message = status(place, "default", "late", "message");
    assert_eq!(
        message,
        "Pod was rejected: The node had condition: [MemoryPressure]. "
    );
    // The light pod goes before the heavy one; the critical one stays.
    let light = evicted(place, "default", "light");
    assert!(
        light.starts_with("The node was low on resource: memory. Threshold quantity: "),
        "{light}"
    );
    let heavy = evicted(place, "default", "heavy");
    assert!(
        heavy.contains(", request is 0, has larger consumption of memory. "),
        "{heavy}"
    );
    let ended = |pod: &str| {
        status(
            place,
            "default",
            pod,
            "conditions[?(@.type==\"DisruptionTarget\")].lastTransitionTime",
        )
    };
    assert!(
        ended("light") < ended("heavy"),
        "{} {}",
        ended("light"),
        ended("heavy")
    );
    assert_eq!(status(place, "default", "keeper", "phase"), "Running");
    let events = events(place, node, "EvictionThresholdMet");
    assert!(events.contains("Attempting to reclaim memory"), "{events}");
}
