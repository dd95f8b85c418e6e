//! Controllers of pods beyond what the notes' own commands show: adoption and release, progress, partitions, order,
//! nodes that are chosen.

use crate::{
    Story,
    cluster::{Place, shared},
    images::load_busybox,
};

pub const STORIES: &[Story] = &[
    (
        "workloads::replica_sets_adopt_let_go_and_leave_behind",
        replica_sets_adopt_let_go_and_leave_behind,
    ),
    (
        "workloads::deployments_remember_reuse_and_give_up",
        deployments_remember_reuse_and_give_up,
    ),
    (
        "workloads::stateful_sets_number_part_and_keep",
        stateful_sets_number_part_and_keep,
    ),
    (
        "workloads::daemon_sets_choose_nodes_and_surge",
        daemon_sets_choose_nodes_and_surge,
    ),
];

/// A namespace of one story.
pub struct Corner<'a> {
    pub place: &'a Place,
    namespace: &'static str,
}

impl<'a> Corner<'a> {
    pub fn new(place: &'a Place, namespace: &'static str) -> Corner<'a> {
        load_busybox(place);
        place.kubectl(&["create", "namespace", namespace]);
        Corner { place, namespace }
    }

    /// A line of kubectl's words, which have no blanks in them.
    pub fn k(&self, line: &str) -> String {
        self.words(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn words(&self, words: &[&str]) -> String {
        let mut all = vec!["-n", self.namespace];
        all.extend(words);
        self.place.kubectl(&all)
    }

    pub fn apply(&self, manifest: &str) {
        let path = self
            .place
            .home
            .path()
            .join(format!("{}.yaml", self.namespace));
        std::fs::write(&path, manifest).unwrap();
        self.words(&["apply", "-f", path.to_str().unwrap()]);
    }

    pub fn field(&self, what: &str, path: &str) -> String {
        let mut words: Vec<&str> = what.split_whitespace().collect();
        words.extend(["-n", self.namespace]);
        self.place.field(&words, path)
    }

    /// Until the field reads so.
    pub fn until(&self, what: &str, path: &str, expected: &str) {
        let wanted = format!("{what} {path} to be {expected}");
        self.place.eventually(&wanted, || {
            (self.field(what, path) == expected).then_some(())
        });
    }

    pub fn events(&self, of: &str) -> Vec<String> {
        let selector = format!("--field-selector=involvedObject.name={of}");
        let path = "-o=jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}";
        let text = self.words(&["get", "events", &selector, path]);
        text.lines().map(str::to_owned).collect()
    }

    pub fn has_event(&self, of: &str, expected: &str) {
        self.place.eventually(&format!("the event {expected}"), || {
            self.events(of)
                .iter()
                .any(|event| event == expected)
                .then_some(())
        });
    }

    /// Not waited for.
    pub fn end(self) {
        self.place
            .kubectl(&["delete", "namespace", self.namespace, "--wait=false"]);
    }
}

/// A template of pods that sleep, with these labels.
pub fn sleeper(labels: &str) -> String {
    format!(
        "{{metadata: {{labels: {labels}}}, spec: {{terminationGracePeriodSeconds: 0, containers: \
         [{{name: main, image: 'busybox:1.36', command: [sleep, '100000']}}]}}}}"
    )
}

const OWNER: &str = ".metadata.ownerReferences[0].name";

fn replica_sets_adopt_let_go_and_leave_behind() {
    let place = shared();
    let corner = Corner::new(&place, "wl-sets");
    corner.k("run early --image=busybox:1.36 --labels=app=web,ver=v1 --command -- sleep 100000");
    corner.apply(&format!(
        "{{apiVersion: apps/v1, kind: ReplicaSet, metadata: {{name: web}}, spec: {{replicas: 3, selector: \
         {{matchLabels: {{app: web}}, matchExpressions: [{{key: ver, operator: In, values: [v1, v2]}}, \
         {{key: old, operator: DoesNotExist}}]}}, template: {}}}}}",
        sleeper("{app: web, ver: v2}")
    ));
    corner.until("rs web", ".status.readyReplicas", "3");
    assert_eq!(corner.field("pod early", OWNER), "web");
    let made = || corner.k("get pods -l ver=v2 -o name").lines().count();
    assert_eq!(made(), 2, "the pod that was there counts");

    corner.k("label pod early app=to-be-fixed --overwrite");
    corner.until("pod early", OWNER, "");
    corner.until("rs web", ".status.readyReplicas", "3");
    assert_eq!(made(), 3, "another pod takes its place");

    corner.k("delete rs web --cascade=orphan");
    let names = corner.k("get pods -l ver=v2 -o name");
    assert_eq!(names.lines().count(), 3);
    let first = names.lines().next().unwrap().to_owned();
    corner.until(&first, OWNER, "");

    // A ReplicationController takes the orphans over.
    corner.apply(&format!(
        "{{apiVersion: v1, kind: ReplicationController, metadata: {{name: elder}}, spec: {{replicas: 2, selector: \
         {{app: web}}, template: {}}}}}",
        sleeper("{app: web, ver: v3}")
    ));
    corner.until("rc elder", ".status.readyReplicas", "2");
    corner.place.eventually("the surplus to go", || {
        let names = corner.k("get pods -l app=web -o name");
        (names.lines().count() == 2).then_some(())
    });
    assert_eq!(
        corner.field(
            "pods -l app=web",
            ".items[*].metadata.ownerReferences[0].name"
        ),
        "elder elder"
    );
    corner.k("scale rc elder --replicas=3");
    corner.until("rc elder", ".status.readyReplicas", "3");
    let row = corner.k("get rc elder --no-headers");
    assert!(
        row.split_whitespace().take(4).eq(["elder", "3", "3", "3"]),
        "{row}"
    );
    corner.end();
}

fn deployments_remember_reuse_and_give_up() {
    let place = shared();
    let corner = Corner::new(&place, "wl-rollouts");
    corner.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, annotations: {{kubernetes.io/change-cause: first}}}}, \
         spec: {{replicas: 4, minReadySeconds: 1, progressDeadlineSeconds: 3, strategy: {{rollingUpdate: {{maxSurge: 50%, \
         maxUnavailable: 25%}}}}, selector: {{matchLabels: {{app: web}}}}, template: {}}}}}",
        sleeper("{app: web}")
    ));
    let settled = || corner.k("rollout status deployment/web --timeout=60s");
    settled();
    let hash = corner.field(
        "rs -l app=web",
        ".items[0].metadata.labels.pod-template-hash",
    );
    corner.k("set env deployment/web COLOR=green");
    corner.k("annotate deployment/web kubernetes.io/change-cause=second --overwrite");
    settled();
    // Two at once, one less than wanted at least.
    corner.has_event(
        "web",
        &format!("ScalingReplicaSet Scaled down replica set web-{hash} from 4 to 3"),
    );
    let history = corner.k("rollout history deployment/web");
    let rows: Vec<Vec<&str>> = history
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(
        rows.contains(&vec!["1", "first"]) && rows.contains(&vec!["2", "second"]),
        "{history}"
    );

    // The same template finds its old ReplicaSet, which becomes the newest revision.
    corner.k("set env deployment/web COLOR-");
    settled();
    assert_eq!(corner.k("get rs -l app=web -o name").lines().count(), 2);
    let revision = r".metadata.annotations.deployment\.kubernetes\.io/revision";
    assert_eq!(corner.field(&format!("rs web-{hash}"), revision), "3");
    corner.k("rollout undo deployment/web --to-revision=2");
    settled();
    let env = ".spec.template.spec.containers[0].env[0].value";
    assert_eq!(corner.field("deployment web", env), "green");

    // A rollout that does not get on is given up, and says so.
    let broken = r#"{"spec":{"template":{"spec":{"containers":[{"name":"main","readinessProbe":{"exec":{"command":["false"]},"periodSeconds":1}}]}}}}"#;
    corner.words(&["patch", "deployment", "web", "-p", broken]);
    let output = corner.place.kubectl_fails(&[
        "rollout",
        "status",
        "-n",
        "wl-rollouts",
        "deployment/web",
        "--timeout=60s",
    ]);
    assert!(
        output.contains("deployment \"web\" exceeded its progress deadline"),
        "{output}"
    );
    let path = ".status.conditions[?(@.type==\"Progressing\")].reason";
    assert_eq!(
        corner.field("deployment web", path),
        "ProgressDeadlineExceeded"
    );
    assert_eq!(
        corner.field("deployment web", ".status.availableReplicas"),
        "3"
    );
    corner.k("rollout undo deployment/web");
    // Until its pods say otherwise, a deployment stays given up; `rollout status` would end at once.
    corner.until("deployment web", path, "NewReplicaSetAvailable");
    corner.end();
}

fn stateful_sets_number_part_and_keep() {
    let place = shared();
    let corner = Corner::new(&place, "wl-stateful");
    corner.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: db}}\nspec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 80}}]}}\n---\n\
         {{apiVersion: apps/v1, kind: StatefulSet, metadata: {{name: db}}, spec: {{serviceName: db, replicas: 3, ordinals: {{start: 1}}, \
         podManagementPolicy: Parallel, persistentVolumeClaimRetentionPolicy: {{whenScaled: Delete, whenDeleted: Retain}}, \
         selector: {{matchLabels: {{app: db}}}}, template: {}, volumeClaimTemplates: [{{metadata: {{name: data}}, spec: \
         {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}}}]}}}}",
        sleeper("{app: db}").replace("name: main,", "name: main, volumeMounts: [{name: data, mountPath: /data}],")
    ));
    corner.k("rollout status sts/db --timeout=60s");
    let names = corner.field("pods -l app=db", ".items[*].metadata.name");
    assert_eq!(names, "db-1 db-2 db-3");
    corner.has_event(
        "db",
        "SuccessfulCreate create Pod db-1 in StatefulSet db successful",
    );
    corner.has_event(
        "db",
        "SuccessfulCreate create Claim data-db-1 Pod db-1 in StatefulSet db success",
    );
    let address = corner.field("pod db-2", ".status.podIP");
    corner.place.eventually("the name of a pod", || {
        let mut command = corner.place.kubectl_command(&[
            "exec",
            "-n",
            "wl-stateful",
            "db-1",
            "--",
            "nslookup",
            "db-2.db.wl-stateful.svc.cluster.local",
        ]);
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout)
            .contains(&address)
            .then_some(())
    });

    // Only from the partition on, which counts from the first ordinal.
    let patch =
        r#"{"spec":{"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}}}"#;
    corner.words(&["patch", "sts", "db", "-p", patch]);
    corner.words(&["exec", "db-3", "--", "sh", "-c", "echo kept > /data/note"]);
    corner.k("set env sts/db COLOR=green");
    corner.until("sts db", ".status.updatedReplicas", "1");
    corner.k("rollout status sts/db --timeout=60s");
    let colors = ".items[*].spec.containers[0].env[0].value";
    assert_eq!(corner.field("pods -l app=db", colors), "green");
    let revision = corner.field("sts db", ".status.updateRevision");
    assert_eq!(
        corner.field("pod db-3", r".metadata.labels.controller-revision-hash"),
        revision
    );
    assert_eq!(
        corner.words(&["exec", "db-3", "--", "cat", "/data/note"]),
        "kept\n"
    );

    // OnDelete waits for a person.
    let patch = r#"{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}"#;
    corner.words(&["patch", "sts", "db", "-p", patch]);
    corner.k("delete pod db-1");
    corner.until(
        "pod db-1 --ignore-not-found",
        ".spec.containers[0].env[0].value",
        "green",
    );
    assert_eq!(corner.field("pod db-2", ".spec.containers[0].env"), "");

    claims_follow(&corner);
    corner.end();
}

fn claims_follow(corner: &Corner<'_>) {
    // A claim that goes with its pod does not hold up the next pod, which gets another one.
    let claim = corner.field("pvc data-db-2", ".metadata.uid");
    corner.k("delete pvc data-db-2 --wait=false");
    corner.k("delete pod db-2");
    corner.until("pod db-2 --ignore-not-found", ".status.phase", "Running");
    assert_ne!(corner.field("pvc data-db-2", ".metadata.uid"), claim);

    // Claims of pods scaled away go, those of a deleted set stay: a change of the policy reaches both.
    let owner =
        |claim: &str| corner.field(&format!("pvc {claim}"), ".metadata.ownerReferences[0].kind");
    let tied = |deleted: &str| {
        let policy = format!(
            r#"{{"spec":{{"persistentVolumeClaimRetentionPolicy":{{"whenDeleted":"{deleted}"}}}}}}"#
        );
        corner.words(&["patch", "sts", "db", "-p", &policy]);
        let kind = if deleted == "Delete" {
            "StatefulSet"
        } else {
            ""
        };
        corner
            .place
            .eventually("claims that follow the policy", || {
                (owner("data-db-1") == kind && owner("data-db-3") == kind).then_some(())
            });
    };
    tied("Delete");
    tied("Retain");
    corner.k("wait --for=condition=Ready pod/db-1 --timeout=60s");
    corner.k("scale sts db --replicas=2");
    corner.k("wait --for=delete pvc/data-db-3 --timeout=60s");
    corner.k("delete sts db");
    let claims = corner.field("pvc", ".items[*].metadata.name");
    assert_eq!(claims, "data-db-1 data-db-2");
}

fn daemon_sets_choose_nodes_and_surge() {
    let place = shared();
    let corner = Corner::new(&place, "wl-daemons");
    corner.apply(&format!(
        "{{apiVersion: apps/v1, kind: DaemonSet, metadata: {{name: agent}}, spec: {{updateStrategy: {{rollingUpdate: \
         {{maxSurge: 1, maxUnavailable: 0}}}}, selector: {{matchLabels: {{app: agent}}}}, template: {}}}}}",
        sleeper("{app: agent}").replace("spec: {", "spec: {nodeSelector: {disk: ssd}, ")
    ));
    let node = place.field(&["nodes"], ".items[0].metadata.name");
    corner.until("ds agent", ".status.observedGeneration", "1");
    assert_eq!(
        corner.field("ds agent", ".status.desiredNumberScheduled"),
        "0"
    );
    place.kubectl(&["label", "node", &node, "disk=ssd"]);
    corner.until("ds agent", ".status.numberAvailable", "1");
    let old = corner.field("pods -l app=agent", ".items[0].metadata.name");
    corner.k("set env ds/agent COLOR=green");
    corner.k("rollout status ds/agent --timeout=60s");
    corner.k(&format!("wait --for=delete pod/{old} --timeout=60s"));
    let names = corner.field("pods -l app=agent", ".items[*].metadata.name");
    assert!(!names.contains(&old), "{names}");
    // The old one went when the new one was there.
    let events = corner.events("agent");
    let at = |text: &str| events.iter().position(|event| event.starts_with(text));
    let (deleted, made) = (
        format!("SuccessfulDelete Deleted pod: {old}"),
        format!("SuccessfulCreate Created pod: {names}"),
    );
    assert!(at(&made) < at(&deleted), "{events:?}");
    place.kubectl(&["label", "node", &node, "disk-"]);
    corner.until("ds agent", ".status.currentNumberScheduled", "0");
    corner.end();
}
