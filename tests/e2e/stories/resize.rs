//! Resources of a running pod, changed through its `resize` subresource and read back from the cgroup.

use super::settings::{MEMORY, QUOTA, cgroup, pod};
use crate::{
    Story,
    cluster::{Place, shared},
    images::load_busybox,
};

pub const STORIES: &[Story] = &[(
    "resize::resources_change_while_a_pod_runs",
    resources_change_while_a_pod_runs,
)];

const SIZED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: sized, namespace: sizes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox:1.36
    command: [sleep, '1000']
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
    resources: {limits: {cpu: 250m, memory: 64Mi}, requests: {cpu: 100m, memory: 32Mi}}
";

/// The pod whose resources change.
struct Sized<'a>(&'a Place);

impl Sized<'_> {
    fn field(&self, path: &str) -> String {
        self.0.field(&["pod", "-n", "sizes", "sized"], path)
    }

    fn status(&self, path: &str) -> String {
        self.field(&format!(".status.containerStatuses[0].{path}"))
    }

    /// Of the condition that tells why a wish was not granted.
    fn pending(&self, field: &str) -> String {
        let path = format!(".status.conditions[?(@.type==\"PodResizePending\")].{field}");
        self.field(&path)
    }

    fn command(&self, resources: &str) -> Vec<String> {
        let container = format!("{{\"name\":\"a\",\"resources\":{resources}}}");
        let patch = format!("{{\"spec\":{{\"containers\":[{container}]}}}}");
        let words = "patch pod -n sizes sized --subresource resize -p".split(' ');
        words.map(str::to_owned).chain([patch]).collect()
    }

    fn resize(&self, resources: &str) {
        let words = self.command(resources);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.0.kubectl(&words);
    }

    fn until_status(&self, path: &str, expected: &str) {
        let what = format!("{path} {expected}");
        let is_so = || (self.status(path) == expected).then_some(());
        self.0.eventually(&what, is_so);
    }

    fn until_pending(&self, reason: &str) {
        let what = format!("a resize that is pending for {reason:?}");
        let is_so = || (self.pending("reason") == reason).then_some(());
        self.0.eventually(&what, is_so);
    }

    fn limit(&self, files: [&str; 2]) -> String {
        cgroup(self.0, "sizes", "sized", files)
    }
}

fn resources_change_while_a_pod_runs() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "sizes"]);
    place.apply(SIZED);
    place.until_ready("sizes", &["sized"]);
    let pod = Sized(&place);
    assert!(pod.limit(QUOTA).starts_with("25000"));
    let id = pod.status("containerID");
    pod.resize(r#"{"requests":{"cpu":"200m"},"limits":{"cpu":"500m"}}"#);
    pod.until_status("resources.limits.cpu", "500m");
    assert!(pod.limit(QUOTA).starts_with("50000"));
    assert_eq!(pod.status("allocatedResources.cpu"), "200m");
    assert_eq!(pod.status("restartCount"), "0");
    assert_eq!(pod.status("containerID"), id);
    // Memory asks for a new start.
    pod.resize(r#"{"limits":{"memory":"96Mi"}}"#);
    pod.until_status("restartCount", "1");
    pod.until_status("resources.limits.memory", "96Mi");
    place.until_ready("sizes", &["sized"]);
    assert_eq!(pod.limit(MEMORY), (96 << 20).to_string());
    assert_ne!(pod.status("containerID"), id);
    let class = pod.command(r#"{"requests":{"cpu":"500m","memory":"96Mi"}}"#);
    let class: Vec<&str> = class.iter().map(String::as_str).collect();
    let told = place.kubectl_fails(&class);
    let expected =
        "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing";
    assert!(told.contains(expected), "{told}");
    what_is_not_granted_waits(&pod);
    a_whole_pod_is_resized(&place);
    let columns = "custom-columns=R:.reason";
    let events = place.kubectl(&["get", "events", "-n", "sizes", "-o", columns]);
    for reason in ["Started", "Completed", "Infeasible", "Deferred"] {
        assert!(
            events.contains(&format!("Resize{reason}")),
            "{reason}:\n{events}"
        );
    }
    place.kubectl(&["delete", "namespace", "sizes", "--wait=false"]);
}

/// More than the node has, and more than it has left.
fn what_is_not_granted_waits(sized: &Sized<'_>) {
    let place = sized.0;
    sized.resize(r#"{"requests":{"cpu":"1k"},"limits":{"cpu":"1k"}}"#);
    sized.until_pending("Infeasible");
    let message = sized.pending("message");
    let expected = "Node didn't have enough capacity: cpu, requested: 1000000, capacity: ";
    assert!(message.starts_with(expected), "{message}");
    assert_eq!(
        sized.status("resources.limits.cpu"),
        "500m",
        "what was granted stays"
    );

    let cpus = place.field(&["node", &place.profile], ".status.allocatable.cpu");
    let most = cpus.parse::<i64>().unwrap() * 1000 - 900;
    let rest = pod("rest", &format!("nodeName: {}", place.profile)).replace(
        "'1000']",
        &format!("'1000'], resources: {{requests: {{cpu: {most}m}}}}"),
    );
    place.apply(&rest.replace("NAMESPACE", "sizes"));
    place.until_ready("sizes", &["rest"]);
    sized.resize(r#"{"requests":{"cpu":"950m"},"limits":{"cpu":"950m"}}"#);
    sized.until_pending("Deferred");
    let message = sized.pending("message");
    let expected = "Node didn't have enough resource: cpu, requested: 950, used: ";
    assert!(message.starts_with(expected), "{message}");
    place.kubectl(&["delete", "pod", "-n", "sizes", "rest", "--grace-period=1"]);
    sized.until_status("resources.limits.cpu", "950m");
    assert!(sized.limit(QUOTA).starts_with("95000"));
    sized.until_pending("");
}

const WHOLE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: whole, namespace: sizes}
spec:
  terminationGracePeriodSeconds: 0
  resources: {limits: {cpu: 200m, memory: 64Mi}, requests: {cpu: 100m, memory: 32Mi}}
  containers:
  - {name: a, image: 'busybox:1.36', command: [sleep, '1000']}
";

/// Its own limits hold for containers that have none.
fn a_whole_pod_is_resized(place: &Place) {
    place.apply(WHOLE);
    place.until_ready("sizes", &["whole"]);
    let limit = |files| cgroup(place, "sizes", "whole", files);
    assert_eq!(limit(MEMORY), (64 << 20).to_string());
    let wish = r#"{"spec":{"resources":{"limits":{"cpu":"300m","memory":"96Mi"}}}}"#;
    let words = "patch pod -n sizes whole --subresource resize -p".split(' ');
    let words: Vec<&str> = words.chain([wish]).collect();
    place.kubectl(&words);
    let field = |path: &str| place.field(&["pod", "-n", "sizes", "whole"], path);
    place.eventually("the pod's new resources", || {
        (field(".status.resources.limits.memory") == "96Mi").then_some(())
    });
    assert_eq!(limit(MEMORY), (96 << 20).to_string());
    assert!(limit(QUOTA).starts_with("30000"));
    assert_eq!(field(".status.allocatedResources.cpu"), "100m");
    assert_eq!(field(".status.containerStatuses[0].restartCount"), "0");
}
