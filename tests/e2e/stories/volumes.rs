//! Volumes of every kind, and what persistent ones go through from claim to reuse.

use crate::{
    Story,
    cluster::{Place, shared},
    images::load_busybox,
};
use std::{fs, os::unix::net::UnixListener, path::Path};

pub const STORIES: &[Story] = &[
    (
        "volumes::every_kind_is_mounted_and_follows_its_objects",
        every_kind_is_mounted_and_follows_its_objects,
    ),
    (
        "volumes::host_paths_of_every_type",
        host_paths_of_every_type,
    ),
    (
        "volumes::what_cannot_be_mounted_is_told",
        what_cannot_be_mounted_is_told,
    ),
    (
        "volumes::volumes_are_bound_kept_recycled_and_deleted",
        volumes_are_bound_kept_recycled_and_deleted,
    ),
    (
        "volumes::claims_wait_grow_and_are_protected",
        claims_wait_grow_and_are_protected,
    ),
    (
        "volumes::local_volumes_and_late_default_classes",
        local_volumes_and_late_default_classes,
    ),
    (
        "volumes::ephemeral_claims_belong_to_their_pod",
        ephemeral_claims_belong_to_their_pod,
    ),
    (
        "volumes::claims_of_a_stateful_set_are_attached_again",
        claims_of_a_stateful_set_are_attached_again,
    ),
];

/// A namespace, removed in the background when the story is over.
struct Space<'a> {
    place: &'a Place,
    name: &'static str,
}

impl<'a> Space<'a> {
    fn new(place: &'a Place, name: &'static str) -> Space<'a> {
        load_busybox(place);
        place.kubectl(&["create", "namespace", name]);
        Space { place, name }
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", self.name];
        all.extend(arguments);
        self.place.kubectl(&all)
    }

    fn apply(&self, manifest: &str) {
        let path = self.place.home.path().join(format!("{}.yaml", self.name));
        fs::write(&path, manifest).unwrap();
        self.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    }

    fn sh(&self, pod: &str, script: &str) -> String {
        let text = self.kubectl(&["exec", pod, "-c", "c", "--", "sh", "-c", script]);
        text.trim_end().to_owned()
    }

    fn ready(&self, pod: &str) {
        let pod = format!("pod/{pod}");
        self.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=60s"]);
    }

    fn field(&self, what: &str, path: &str) -> String {
        let output = format!("jsonpath={{{path}}}");
        self.kubectl(&["get", what, "-o", &output])
    }

    /// Waits until a field reads like this.
    fn until(&self, what: &str, path: &str, wanted: &str) {
        self.place.eventually(&format!("{wanted} of {what}"), || {
            (self.field(what, path) == wanted).then_some(())
        });
    }

    /// Waits for an event about an object whose text contains some words.
    fn told(&self, object: &str, reason: &str, words: &str) {
        let field = format!("--field-selector=involvedObject.name={object},reason={reason}");
        let arguments = [
            "get",
            "events",
            "-A",
            &field,
            "-o",
            "jsonpath={.items[*].message}",
        ];
        self.place
            .eventually(&format!("{reason} of {object}: {words}"), || {
                let text = self.place.kubectl(&arguments);
                text.contains(words).then_some(())
            });
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        let mut delete =
            self.place
                .kubectl_command(&["delete", "namespace", self.name, "--wait=false"]);
        let _ = delete.output();
    }
}

const KINDS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, greeting: 안녕}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: all, labels: {tier: front}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 2000}
  containers:
  - name: c
    image: busybox:1.36
    command: [sh, -c, "trap exit TERM; while true; do sleep 1; done"]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    volumeMounts:
    - {name: disk, mountPath: /disk}
    - {name: memory, mountPath: /memory}
    - {name: config, mountPath: /config}
    - {name: chosen, mountPath: /chosen}
    - {name: secret, mountPath: /secret}
    - {name: down, mountPath: /down}
    - {name: projected, mountPath: /projected}
    - {name: none, mountPath: /none}
    - {name: config, mountPath: /sub/color, subPath: color}
    - {name: disk, mountPath: /mine, subPathExpr: logs/$(POD)}
    - {name: disk, mountPath: /closed, readOnly: true, recursiveReadOnly: Enabled}
    - {name: image, mountPath: /image}
    - {name: image, mountPath: /applets, subPath: bin}
  - name: other
    image: busybox:1.36
    command: [sh, -c, "trap exit TERM; while true; do sleep 1; done"]
    volumeMounts: [{name: disk, mountPath: /shared}]
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 4Mi}}
  - {name: config, configMap: {name: settings}}
  - {name: chosen, configMap: {name: settings, defaultMode: 0440, items: [{key: color, path: a/b, mode: 0400}, {key: greeting, path: c}]}}
  - {name: secret, secret: {secretName: key, defaultMode: 0400}}
  - {name: down, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: cpu, resourceFieldRef: {containerName: c, resource: limits.cpu, divisor: 1m}}]}}
  - name: projected
    projected:
      sources:
      - {configMap: {name: settings, items: [{key: color, path: one/color}]}}
      - {secret: {name: key, items: [{key: password, path: two/password}]}}
      - {downwardAPI: {items: [{path: three/name, fieldRef: {fieldPath: metadata.name}}]}}
      - {serviceAccountToken: {path: token, audience: vault, expirationSeconds: 600}}
  - {name: none, configMap: {name: absent, optional: true}}
  - {name: image, image: {reference: "busybox:1.36", pullPolicy: IfNotPresent}}
"#;

fn every_kind_is_mounted_and_follows_its_objects() {
    let place = shared();
    let space = Space::new(&place, "volume-kinds");
    space.apply(KINDS);
    space.ready("all");
    let script = "
        stat -c '%a %g' /disk; echo hi > /disk/file; df -k /memory | tail -1 | awk '{print $1, $2}'
        cat /config/color /config/greeting; echo; readlink /config/color; readlink /config/..data | cut -c1-4
        stat -L -c %a /chosen/a/b /chosen/c; stat -L -c %a /secret/password; cat /secret/password; echo
        cat /down/labels /down/cpu; echo; cat /projected/one/color /projected/two/password /projected/three/name; echo
        test -s /projected/token && echo token; ls /none | wc -l; cat /sub/color; echo
        echo log > /mine/log; cat /disk/logs/all/log; cat /closed/file
        (echo no > /closed/no) 2>/dev/null || echo closed
        grep ' /image ' /proc/mounts | grep -o noexec; test -L /image/bin/sh && echo tree
        (touch /image/no) 2>/dev/null || echo unwritable; test -L /applets/sh && echo applets
        (touch /config/no /secret/no /down/no /projected/no) 2>&1 | grep -c 'Read-only'; stat -c '%a %g' /mine";
    let found = space.sh("all", script);
    let expected = "2777 2000\ntmpfs 4096\nblue안녕\n..data/color\n..20\n440\n440\n440\ns3cret\ntier=\"front\"500\nblues3cretall\ntoken\n0\nblue\nlog\nhi\nclosed\nnoexec\ntree\nunwritable\napplets\n4\n2777 2000";
    assert_eq!(found, expected);
    let shared = space.kubectl(&["exec", "all", "-c", "other", "--", "cat", "/shared/file"]);
    assert_eq!(shared, "hi\n");
    // What changes is seen at once and all together; what was picked by sub path stays.
    space.kubectl(&[
        "patch",
        "configmap",
        "settings",
        "-p",
        r#"{"data":{"color":"red","new":"1"}}"#,
    ]);
    space.kubectl(&["label", "pod", "all", "tier=back", "--overwrite"]);
    place.eventually("new content", || {
        let text = space.sh(
            "all",
            "cat /config/color /config/new /projected/one/color /down/labels /sub/color",
        );
        (text == "red1redtier=\"back\"blue").then_some(())
    });
    starts_anew(&space);
    let status = space.field(
        "pod/all",
        ".status.containerStatuses[0].volumeMounts[?(@.mountPath==\"/closed\")].recursiveReadOnly",
    );
    assert_eq!(status, "Enabled");
    space.kubectl(&[
        "patch",
        "configmap",
        "settings",
        "-p",
        r#"{"immutable":true}"#,
    ]);
    let mut refused = place.kubectl_command(&[
        "patch",
        "configmap",
        "settings",
        "-n",
        "volume-kinds",
        "-p",
        r#"{"data":{"color":"green"}}"#,
    ]);
    let refused = String::from_utf8(refused.output().unwrap().stderr).unwrap();
    assert!(
        refused.contains("field is immutable when `immutable` is set"),
        "{refused}"
    );
    // An image that a volume shows cannot be taken away.
    let refused = place
        .kubik(&["image", "rm", "busybox:1.36"])
        .output()
        .unwrap();
    assert!(!refused.status.success());
}

/// What was picked by a sub path is picked again when a container starts again.
fn starts_anew(space: &Space<'_>) {
    space.kubectl(&["exec", "all", "-c", "c", "--", "kill", "1"]);
    space.place.eventually("the new content by sub path", || {
        let words = [
            "-n",
            space.name,
            "exec",
            "all",
            "-c",
            "c",
            "--",
            "cat",
            "/sub/color",
        ];
        let read = space.place.kubectl_command(&words).output().unwrap();
        (read.stdout == b"red").then_some(())
    });
}

/// A device file of the machine, if it has one of this kind.
fn device(is_block: bool) -> Option<String> {
    use std::os::unix::fs::FileTypeExt;
    let entries = fs::read_dir("/dev").unwrap().flatten();
    let mut devices = entries.filter(|entry| {
        let kind = entry.file_type().unwrap();
        if is_block {
            kind.is_block_device()
        } else {
            kind.is_char_device()
        }
    });
    devices
        .next()
        .map(|entry| entry.path().display().to_string())
}

fn host_paths_of_every_type() {
    let place = shared();
    let space = Space::new(&place, "volume-host");
    let root = place.home.path().join("host");
    fs::create_dir(&root).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    fs::write(root.join("file"), "text\n").unwrap();
    let at = |name: &str| root.join(name).display().to_string();
    let mut rows = vec![
        ("directory", "Directory", root.display().to_string()),
        ("made", "DirectoryOrCreate", at("new/deep")),
        ("file", "File", at("file")),
        ("created", "FileOrCreate", at("created")),
        ("socket", "Socket", at("socket")),
        ("char", "CharDevice", "/dev/null".to_owned()),
        ("any", "", at("any")),
    ];
    rows.extend(device(true).map(|path| ("block", "BlockDevice", path)));
    let volumes: Vec<String> = rows
        .iter()
        .map(|(name, kind, path)| {
            format!("{{name: {name}, hostPath: {{path: {path}, type: \"{kind}\"}}}}")
        })
        .collect();
    let mounts: Vec<String> = rows
        .iter()
        .map(|(name, ..)| format!("{{name: {name}, mountPath: /m/{name}}}"))
        .collect();
    let pod = |name: &str, volumes: &str, mounts: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers: [{{name: c, image: 'busybox:1.36', command: [sleep, '1000'], volumeMounts: [{mounts}]}}]\n  volumes: [{volumes}]\n---\n"
        )
    };
    let mut manifest = pod("right", &volumes.join(", "), &mounts.join(", "));
    // Each type with something that is not it, and upstream's word for what is missing.
    let wrong = [
        ("directory", "Directory", at("file"), "directory"),
        ("made", "DirectoryOrCreate", at("file"), "directory"),
        ("file", "File", root.display().to_string(), "file"),
        ("socket", "Socket", at("file"), "socket file"),
        ("char", "CharDevice", at("file"), "character device"),
        ("block", "BlockDevice", at("file"), "block device"),
    ];
    for (name, kind, path, _) in &wrong {
        let volume = format!("{{name: v, hostPath: {{path: {path}, type: {kind}}}}}");
        manifest += &pod(
            &format!("wrong-{name}"),
            &volume,
            "{name: v, mountPath: /v}",
        );
    }
    space.apply(&manifest);
    space.ready("right");
    let script = "cat /m/file; echo x > /m/created; test -d /m/made && test -d /m/any && test -S /m/socket && test -c /m/char && echo all";
    assert_eq!(space.sh("right", script), "text\nall");
    assert_eq!(fs::read_to_string(root.join("created")).unwrap(), "x\n");
    assert!(root.join("new/deep").is_dir());
    for (name, _, path, what) in &wrong {
        let words = format!(
            "MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: {path} is not a {what}"
        );
        space.told(&format!("wrong-{name}"), "FailedMount", &words);
    }
    let phase = space.field(
        "pod/wrong-file",
        ".status.containerStatuses[0].state.waiting.reason",
    );
    assert_eq!(phase, "ContainerCreating");
}

fn what_cannot_be_mounted_is_told() {
    let place = shared();
    let space = Space::new(&place, "volume-wrong");
    let rows = [
        (
            "nfs",
            "nfs: {server: 127.0.0.1, path: /export}",
            "volume \"v\" : mount NFS share 127.0.0.1:/export: ",
        ),
        (
            "csi",
            "csi: {driver: disk.example}",
            "volume \"v\" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name disk.example not found in the list of registered CSI drivers",
        ),
        (
            "map",
            "configMap: {name: absent}",
            "volume \"v\" : configmap \"absent\" not found",
        ),
        (
            "secret",
            "secret: {secretName: absent}",
            "volume \"v\" : secret \"absent\" not found",
        ),
        (
            "item",
            "configMap: {name: kube-root-ca.crt, items: [{key: nope, path: x}]}",
            "volume \"v\" : configmap references non-existent config key: nope",
        ),
        (
            "image",
            "image: {reference: 'absent:1', pullPolicy: Never}",
            "",
        ),
        (
            "local",
            "persistentVolumeClaim: {claimName: nowhere}",
            "MountVolume.NewMounter initialization failed for volume \"volume-nowhere\" : path \"/nowhere/at/all\" does not exist",
        ),
    ];
    let node = place.field(&["nodes"], ".items[0].metadata.name");
    let mut manifest = format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: volume-nowhere}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: volume-nowhere
  local: {{path: /nowhere/at/all}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{node}]}}]}}]}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: nowhere}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: volume-nowhere, resources: {{requests: {{storage: 1Gi}}}}}}
---
"
    );
    for (name, source, _) in &rows {
        manifest += &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers: [{{name: c, image: 'busybox:1.36', command: [sleep, '1000'], volumeMounts: [{{name: v, mountPath: /v}}]}}]\n  volumes: [{{name: v, {source}}}]\n---\n"
        );
    }
    space.apply(&manifest);
    for (name, _, words) in rows.iter().filter(|(_, _, words)| !words.is_empty()) {
        space.told(name, "FailedMount", words);
    }
    // The image of a volume is told of as the container's own.
    let words = "Container image \"absent:1\" is not present with pull policy of Never";
    space.told("image", "ErrImageNeverPull", words);
    let reason = ".status.containerStatuses[0].state.waiting.reason";
    space.until("pod/image", reason, "ErrImageNeverPull");
    // What was missing comes, and the pod goes on by itself.
    space.kubectl(&["create", "configmap", "absent"]);
    space.ready("map");
    space.kubectl(&["delete", "pod", "--all", "--grace-period=0", "--force"]);
    place.kubectl(&["delete", "pv", "volume-nowhere", "--wait=false"]);
}

fn persistent(
    name: &str,
    path: &Path,
    class: &str,
    size: &str,
    policy: &str,
    more: &str,
) -> String {
    let path = path.display();
    format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}, labels: {{disk: {name}}}}}
spec:
  capacity: {{storage: {size}}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: {policy}
  storageClassName: {class}
  hostPath: {{path: {path}, type: DirectoryOrCreate}}
{more}---
"
    )
}

fn claim(name: &str, class: &str, size: &str, more: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: {class}
  resources: {{requests: {{storage: {size}}}}}
{more}---
"
    )
}

fn user(name: &str, claim: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: c, image: 'busybox:1.36', command: [sleep, '1000'], volumeMounts: [{{name: v, mountPath: /data}}]}}]
  volumes: [{{name: v, persistentVolumeClaim: {{claimName: {claim}}}}}]
---
"
    )
}

fn volumes_are_bound_kept_recycled_and_deleted() {
    let place = shared();
    let space = Space::new(&place, "volume-life");
    let temporary = tempfile::Builder::new()
        .prefix("kubik-e2e-")
        .tempdir_in("/tmp")
        .unwrap();
    bind(&space, temporary.path());
    reclaim(&space, temporary.path());
}

/// Claims find what suits them, each in its own way.
fn bind(space: &Space<'_>, root: &Path) {
    let place = space.place;
    let at = |name: &str| root.join(name);
    let manifest = [
        persistent("vl-small", &at("small"), "vl", "1Gi", "Retain", ""),
        persistent("vl-big", &at("big"), "vl", "5Gi", "Recycle", ""),
        persistent("vl-other", &at("other"), "vl", "2Gi", "Delete", ""),
        persistent(
            "vl-taken",
            &at("taken"),
            "vl",
            "9Gi",
            "Retain",
            "  claimRef: {namespace: volume-life, name: reserved}\n",
        ),
    ]
    .concat();
    space.apply(&manifest);
    let claims = [
        claim("by-size", "vl", "3Gi", ""),
        claim(
            "by-label",
            "vl",
            "1Gi",
            "  selector: {matchLabels: {disk: vl-other}}\n",
        ),
        claim("by-name", "vl", "1Gi", "  volumeName: vl-small\n"),
        claim("reserved", "vl", "1Gi", ""),
        claim("modes", "vl", "1Gi", "").replace("ReadWriteOnce", "ReadWriteMany"),
        claim("none", "''", "1Gi", ""),
        claim("unknown", "vl-unknown", "1Gi", ""),
    ]
    .concat();
    space.apply(&claims);
    for (name, volume) in [
        ("by-size", "vl-big"),
        ("by-label", "vl-other"),
        ("by-name", "vl-small"),
        ("reserved", "vl-taken"),
    ] {
        space.until(&format!("pvc/{name}"), ".status.phase", "Bound");
        assert_eq!(
            space.field(&format!("pvc/{name}"), ".spec.volumeName"),
            volume
        );
    }
    space.told(
        "none",
        "FailedBinding",
        "no persistent volumes available for this claim and no storage class is set",
    );
    space.told(
        "unknown",
        "ProvisioningFailed",
        "storageclass.storage.k8s.io \"vl-unknown\" not found",
    );
    assert_eq!(space.field("pvc/modes", ".status.phase"), "Pending");
    let table = place.kubectl(&["get", "pv", "vl-big", "vl-taken"]);
    let words: Vec<&str> = table.split_whitespace().collect();
    assert!(
        words
            .join(" ")
            .contains("vl-big 5Gi RWO Recycle Bound volume-life/by-size vl <unset>"),
        "{table}"
    );
    let described = space.kubectl(&["describe", "pvc", "by-size"]);
    for part in [
        "Status:        Bound",
        "Volume:        vl-big",
        "Capacity:      5Gi",
        "Access Modes:  RWO",
        "pv.kubernetes.io/bind-completed: yes",
    ] {
        assert!(described.contains(part), "{part}: {described}");
    }
}

fn reclaim(space: &Space<'_>, root: &Path) {
    let place = space.place;
    let at = |name: &str| root.join(name);
    // Data is written through each, then the claims go.
    space.apply(
        &[
            user("one", "by-size"),
            user("two", "by-label"),
            user("three", "by-name"),
        ]
        .concat(),
    );
    for pod in ["one", "two", "three"] {
        space.ready(pod);
        space.sh(
            pod,
            "mkdir /data/d; echo x > /data/d/file; echo y > /data/.hidden",
        );
    }
    space.kubectl(&["delete", "pod", "one", "two", "three"]);
    space.kubectl(&["delete", "pvc", "by-size", "by-label", "by-name"]);
    // Retain: the data stays, and the volume until somebody frees it.
    space.until("pv/vl-small", ".status.phase", "Released");
    assert_eq!(fs::read_to_string(at("small/d/file")).unwrap(), "x\n");
    place.kubectl(&[
        "patch",
        "pv",
        "vl-small",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/spec/claimRef"}]"#,
    ]);
    space.until("pv/vl-small", ".status.phase", "Available");
    // Recycle: scrubbed by a pod and free again.
    space.told("vl-big", "VolumeRecycled", "Volume recycled");
    space.until("pv/vl-big", ".status.phase", "Available");
    assert_eq!(fs::read_dir(at("big")).unwrap().count(), 0);
    // Delete: object and data go.
    place.eventually("the deleted volume", || {
        let gone = place
            .kubectl(&["get", "pv", "--ignore-not-found", "vl-other"])
            .is_empty();
        (gone && !at("other").exists()).then_some(())
    });
    place.kubectl(&["delete", "pv", "vl-small", "vl-big"]);
    space.kubectl(&["delete", "pvc", "--all"]);
    place.kubectl(&["delete", "pv", "vl-taken"]);
}

const CLASSES: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: vw-wait}
provisioner: kubik.io/hostpath
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: vw-foreign}
provisioner: disk.example
---
";

fn claims_wait_grow_and_are_protected() {
    let place = shared();
    let space = Space::new(&place, "volume-wait");
    let claims = [
        claim("data", "vw-wait", "1Gi", ""),
        claim("foreign", "vw-foreign", "1Gi", ""),
    ]
    .concat();
    space.apply(&format!("{CLASSES}{claims}"));
    space.told(
        "data",
        "WaitForFirstConsumer",
        "waiting for first consumer to be created before binding",
    );
    space.told("foreign", "ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner 'disk.example' or manually by the system administrator.");
    space.apply(&user("first", "data"));
    space.ready("first");
    let node = place.field(&["pod", "first", "-n", "volume-wait"], ".spec.nodeName");
    let selected = space.field(
        "pvc/data",
        ".metadata.annotations.volume\\.kubernetes\\.io/selected-node",
    );
    assert_eq!(selected, node);
    space.told(
        "data",
        "ProvisioningSucceeded",
        "Successfully provisioned volume pvc-",
    );
    // It grows while it is used, and does not shrink.
    let size =
        |size: &str| format!(r#"{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#);
    space.kubectl(&["patch", "pvc", "data", "-p", &size("2Gi")]);
    space.until("pvc/data", ".status.capacity.storage", "2Gi");
    space.told("data", "VolumeResizeSuccessful", "Resize volume succeeded");
    let refused = place.kubectl_fails(&[
        "patch",
        "pvc",
        "data",
        "-n",
        "volume-wait",
        "-p",
        &size("1Gi"),
    ]);
    assert!(
        refused.contains("field can not be less than status.capacity"),
        "{refused}"
    );
    // Deleted while a pod uses it: it stays until the pod is gone, and so does the data.
    space.sh("first", "echo kept > /data/file");
    space.kubectl(&["delete", "pvc", "data", "--wait=false"]);
    let table = space.kubectl(&["get", "pvc", "data"]);
    assert!(table.contains("Terminating"), "{table}");
    let finalizers = space.field("pvc/data", ".metadata.finalizers[*]");
    assert_eq!(finalizers, "kubernetes.io/pvc-protection");
    let volume = space.field("pvc/data", ".spec.volumeName");
    place.kubectl(&["delete", "pv", &volume, "--wait=false"]);
    let table = place.kubectl(&["get", "pv", &volume]);
    assert!(table.contains("Terminating"), "{table}");
    assert_eq!(space.sh("first", "cat /data/file"), "kept");
    space.kubectl(&["delete", "pod", "first"]);
    for what in ["pvc/data".to_owned(), format!("pv/{volume}")] {
        space.kubectl(&["wait", "--for=delete", &what, "--timeout=60s"]);
    }
    let data = place
        .home
        .path()
        .join("state")
        .join(&place.profile)
        .join("volumes")
        .join(&volume);
    place.eventually("the data's end", || (!data.exists()).then_some(()));
    // A claim for one pod only is for one pod only.
    let alone = claim("alone", "standard", "1Gi", "").replace("ReadWriteOnce", "ReadWriteOncePod");
    space.apply(&[alone, user("holder", "alone")].concat());
    space.ready("holder");
    space.apply(&user("second", "alone"));
    let words =
        "PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
    space.told("second", "FailedScheduling", words);
    space.kubectl(&["delete", "pod", "holder", "--grace-period=1"]);
    space.ready("second");
    space.kubectl(&["delete", "pod", "second", "--grace-period=1"]);
    place.kubectl(&["delete", "storageclass", "vw-wait", "vw-foreign"]);
}

fn local_volumes_and_late_default_classes() {
    let place = shared();
    let space = Space::new(&place, "volume-local");
    let disk = place.home.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let node = place.field(&["nodes"], ".items[0].metadata.name");
    let volume = |name: &str, node: &str| {
        let path = disk.display();
        format!(
            "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: vlocal
  local: {{path: {path}}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{node}]}}]}}]}}}}
---
"
        )
    };
    let class = "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: vlocal}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
";
    let manifest = [
        class.to_owned(),
        volume("vlocal-elsewhere", "another-node"),
        claim("data", "vlocal", "1Gi", ""),
        user("one", "data"),
    ];
    space.apply(&manifest.concat());
    let words = "node(s) didn't find available persistent volumes to bind";
    space.told("one", "FailedScheduling", words);
    space.apply(&volume("vlocal-here", &node));
    space.ready("one");
    assert_eq!(space.field("pvc/data", ".spec.volumeName"), "vlocal-here");
    space.sh("one", "echo x > /data/file");
    assert!(disk.join("file").exists());
    disks_are_devices(&space, &node);
    // A claim from a time without a default class gets one as soon as there is one.
    let mark = |value: &str| {
        let text = format!("storageclass.kubernetes.io/is-default-class={value}");
        place.kubectl(&["annotate", "storageclass", "standard", "--overwrite", &text]);
    };
    mark("false");
    let late = claim("late", "x", "1Gi", "").replace("  storageClassName: x\n", "");
    space.apply(&late);
    space.told("late", "FailedBinding", "no storage class is set");
    mark("true");
    space.until("pvc/late", ".status.phase", "Bound");
    assert_eq!(
        space.field("pvc/late", ".spec.storageClassName"),
        "standard"
    );
    space.kubectl(&["delete", "pod", "one", "--grace-period=1"]);
    space.kubectl(&["delete", "pvc", "--all"]);
    place.kubectl(&[
        "delete",
        "pv",
        "vlocal-here",
        "vlocal-elsewhere",
        "vlocal-disk",
        "--ignore-not-found",
    ]);
    place.kubectl(&["delete", "storageclass", "vlocal"]);
}

/// `volumeMode: Block`: a disk of the node as it is, and nothing that only looks like one.
fn disks_are_devices(space: &Space<'_>, node: &str) {
    let raw = |name: &str, class: &str| claim(name, class, "1Gi", "  volumeMode: Block\n");
    let pod = |name: &str, claim: &str, field: &str, place: &str| {
        user(name, claim).replace(
            "volumeMounts: [{name: v, mountPath: /data}]",
            &format!("{field}: [{{name: v, {place}: /dev/disk}}]"),
        )
    };
    let Some(disk) = device(true) else { return };
    let volume = format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: vlocal-disk}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: vlocal
  volumeMode: Block
  local: {{path: {disk}}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{node}]}}]}}]}}}}
---
"
    );
    let manifest = [
        volume,
        raw("disk", "vlocal"),
        raw("none", "standard"),
        pod("disk", "disk", "volumeDevices", "devicePath"),
        pod("mounted", "disk", "volumeMounts", "mountPath"),
        pod("no-disk", "data", "volumeDevices", "devicePath"),
    ];
    space.apply(&manifest.concat());
    space.ready("disk");
    let number = |path: &str| format!("stat -c %t:%T {path}");
    let of_host = crate::cluster::run("sh", &["-c", &number(&disk)]);
    let script = format!("test -b /dev/disk && {}", number("/dev/disk"));
    assert_eq!(space.sh("disk", &script), of_host.trim());
    let words = "failed to process volumes=[v]: volume v has volumeMode";
    space.told(
        "mounted",
        "FailedMount",
        &format!("{words} Block, but is specified in volumeMounts"),
    );
    space.told(
        "no-disk",
        "FailedMount",
        &format!("{words} Filesystem, but is specified in volumeDevices"),
    );
    space.told(
        "none",
        "ProvisioningFailed",
        "kubik.io/hostpath does not support block volume provisioning",
    );
    space.kubectl(&[
        "delete",
        "pod",
        "disk",
        "mounted",
        "no-disk",
        "--grace-period=1",
    ]);
}

fn ephemeral_claims_belong_to_their_pod() {
    let place = shared();
    let space = Space::new(&place, "volume-ephemeral");
    let pod = |name: &str| {
        format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: c, image: 'busybox:1.36', command: [sleep, '1000'], volumeMounts: [{{name: scratch, mountPath: /data}}]}}]
  volumes: [{{name: scratch, ephemeral: {{volumeClaimTemplate: {{metadata: {{labels: {{for: scratch}}}}, spec: {{accessModes: [ReadWriteOnce], storageClassName: standard, resources: {{requests: {{storage: 1Gi}}}}}}}}}}}}]
---
"
        )
    };
    space.apply(&[pod("mine"), claim("other-scratch", "standard", "1Gi", "")].concat());
    space.ready("mine");
    space.sh("mine", "echo x > /data/file");
    let owner = space.field("pvc/mine-scratch", ".metadata.ownerReferences[0].name");
    let label = space.field("pvc/mine-scratch", ".metadata.labels.for");
    assert_eq!((owner.as_str(), label.as_str()), ("mine", "scratch"));
    // Somebody else's claim of that name is not taken.
    space.apply(&pod("other"));
    space.told("other", "FailedBinding", "ephemeral volume scratch: PVC volume-ephemeral/other-scratch was not created for pod volume-ephemeral/other (pod is not owner)");
    space.kubectl(&["delete", "pod", "mine"]);
    space.kubectl(&["wait", "--for=delete", "pvc/mine-scratch", "--timeout=60s"]);
    space.kubectl(&["delete", "pod", "other", "--grace-period=0", "--force"]);
}

fn claims_of_a_stateful_set_are_attached_again() {
    let place = shared();
    let space = Space::new(&place, "volume-set");
    space.apply(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: 'busybox:1.36', command: [sleep, '1000'], volumeMounts: [{name: data, mountPath: /data}]}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
",
    );
    space.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"]);
    for pod in ["db-0", "db-1"] {
        space.sh(pod, "hostname > /data/who");
    }
    space.kubectl(&["scale", "statefulset/db", "--replicas=0"]);
    space.kubectl(&[
        "wait",
        "--for=delete",
        "pod/db-0",
        "pod/db-1",
        "--timeout=60s",
    ]);
    let claims = space.kubectl(&["get", "pvc", "-o", "name"]);
    assert_eq!(
        claims,
        "persistentvolumeclaim/data-db-0\npersistentvolumeclaim/data-db-1\n"
    );
    space.kubectl(&["scale", "statefulset/db", "--replicas=2"]);
    space.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"]);
    for pod in ["db-0", "db-1"] {
        assert_eq!(space.sh(pod, "cat /data/who"), pod);
    }
}
