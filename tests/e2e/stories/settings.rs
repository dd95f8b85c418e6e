//! What a pod's spec says of its environment, and what a process inside finds of it.

use crate::{
    Story,
    cluster::{Place, shared},
    images::load_busybox,
};
use std::fs;

pub const STORIES: &[Story] = &[
    (
        "settings::variables_from_everywhere",
        variables_from_everywhere,
    ),
    ("settings::names_and_name_servers", names_and_name_servers),
    ("settings::users_rights_and_limits", users_rights_and_limits),
    (
        "settings::namespaces_shared_with_pod_and_host",
        namespaces_shared_with_pod_and_host,
    ),
];

fn exec(place: &Place, namespace: &str, pod: &str, script: &str) -> String {
    let (name, container) = pod.split_once('/').unwrap_or((pod, "a"));
    place.kubectl(&[
        "exec", "-n", namespace, name, "-c", container, "--", "sh", "-c", script,
    ])
}

const VARIABLES: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting, namespace: variables}
data: {STUDENT_NAME: 홍은표, MESSAGE: 안녕하세요, 'dotted.key-1': also a name}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: variables}
stringData: {password: '비밀 번호'}
---
apiVersion: v1
kind: Service
metadata: {name: order-api, namespace: variables}
spec: {clusterIP: 10.96.77.7, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reader, namespace: variables, labels: {app: 주문}, annotations: {note: '메모'}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
  - name: writer
    image: busybox:1.36
    command: [sh, -c, \"printf \\\"# made here\\\\nADDRESS='서울 1'\\\\nMANY='two\\\\nlines'\\\\n\\\" > /v/config.env\"]
    volumeMounts: [{name: v, mountPath: /v}]
  containers:
  - name: a
    image: busybox:1.36
    workingDir: /tmp
    command: [sh, -c, 'echo $0 $1; sleep 1000', '$(STUDENT_NAME)']
    args: ['$$(STUDENT_NAME) $(NOBODY)']
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 1500m, memory: 32Mi}}
    envFrom:
    - {configMapRef: {name: greeting}}
    - {secretRef: {name: login}, prefix: LOGIN_}
    - {configMapRef: {name: nosuch, optional: true}}
    env:
    - {name: GREETING, value: '$(MESSAGE)! $(STUDENT_NAME) $(LATER) $$(MESSAGE)'}
    - {name: LATER, value: later}
    - {name: MESSAGE, value: 'own value wins'}
    - {name: KEY, valueFrom: {configMapKeyRef: {name: greeting, key: MESSAGE}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
    - {name: NONE, valueFrom: {secretKeyRef: {name: login, key: nosuch, optional: true}}}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['note']\"}}}
    - {name: CORES, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: MILLIS, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: MEBIBYTES, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}
    - {name: ADDRESS, valueFrom: {fileKeyRef: {volumeName: v, path: config.env, key: ADDRESS}}}
    - {name: LINES, valueFrom: {fileKeyRef: {volumeName: v, path: config.env, key: MANY}}}
    - {name: NO_KEY, valueFrom: {fileKeyRef: {volumeName: v, path: config.env, key: NOSUCH, optional: true}}}
";

fn variables_from_everywhere() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "variables"]);
    let labeled = VARIABLES.replace("labels: {app: 주문}", "labels: {app: orders}");
    let refused = place.home.path().join("korean-label.yaml");
    fs::write(&refused, VARIABLES.split("---").last().unwrap()).unwrap();
    let told = place.kubectl_fails(&["apply", "-f", refused.to_str().unwrap()]);
    assert!(
        told.contains("metadata.labels: Invalid value: \"주문\""),
        "{told}"
    );
    place.apply(&labeled);
    place.until_ready("variables", &["reader"]);
    let what = ["pod", "-n", "variables", "reader"];
    // Not through a shell, which passes on only names that it could have written itself.
    let env = [
        "exec",
        "-n",
        "variables",
        "reader",
        "-c",
        "a",
        "--",
        "env",
        "-0",
    ];
    let env = place.kubectl(&env);
    let value = |name: &str| {
        let prefix = format!("{name}=");
        env.split('\0').find_map(|line| line.strip_prefix(&prefix))
    };
    let (uid, ip) = (
        place.field(&what, ".metadata.uid"),
        place.field(&what, ".status.podIP"),
    );
    let host = place.field(&what, ".status.hostIP");
    #[rustfmt::skip]
    let expected = [
        ("STUDENT_NAME", Some("홍은표")), ("MESSAGE", Some("own value wins")),
        ("GREETING", Some("안녕하세요! 홍은표 $(LATER) $(MESSAGE)")), ("KEY", Some("안녕하세요")),
        ("dotted.key-1", Some("also a name")), ("LOGIN_password", Some("비밀 번호")), ("PASSWORD", Some("비밀 번호")),
        ("NONE", None), ("POD_NAME", Some("reader")), ("POD_NAMESPACE", Some("variables")),
        ("POD_UID", Some(uid.as_str())), ("POD_IP", Some(ip.as_str())), ("HOST_IP", Some(host.as_str())),
        ("NODE", Some(place.profile.as_str())), ("ACCOUNT", Some("default")), ("LABEL", Some("orders")),
        ("NOTE", Some("메모")), ("CORES", Some("2")), ("MILLIS", Some("1500")), ("MEBIBYTES", Some("16")),
        ("ADDRESS", Some("서울 1")), ("LINES", Some("two\nlines")), ("NO_KEY", None), ("HOSTNAME", Some("reader")),
        ("ORDER_API_SERVICE_HOST", Some("10.96.77.7")), ("ORDER_API_SERVICE_PORT_HTTP", Some("80")),
        ("ORDER_API_PORT_80_TCP", Some("tcp://10.96.77.7:80")), ("KUBERNETES_SERVICE_PORT", Some("443")),
    ];
    for (name, expected) in expected {
        assert_eq!(value(name), expected, "{name}:\n{env}");
    }
    let log = place.kubectl(&["logs", "-n", "variables", "reader", "-c", "a"]);
    assert_eq!(log, "홍은표 $(STUDENT_NAME) $(NOBODY)\n");
    assert_eq!(exec(&place, "variables", "reader", "pwd"), "/tmp\n");
    place.kubectl(&["delete", "namespace", "variables", "--wait=false"]);
}

/// A pod that sleeps; `NAMESPACE` is still to be named.
pub fn pod(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: NAMESPACE}}\n\
         spec: {{terminationGracePeriodSeconds: 1, {more}, containers: [{{name: a, image: 'busybox:1.36', command: [sleep, '1000']}}]}}\n"
    )
}

fn names_and_name_servers() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "names"]);
    let all = [
        ("first", "dnsPolicy: ClusterFirst"),
        ("as-host", "dnsPolicy: Default"),
        ("host-first", "hostNetwork: true, dnsPolicy: ClusterFirst"),
        (
            "host-cluster",
            "hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet",
        ),
        (
            "own",
            "dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.1, 192.0.2.2], searches: [a.test, b.test], options: [{name: ndots, value: '2'}, {name: edns0}]}",
        ),
        (
            "mixed",
            "dnsConfig: {nameservers: [192.0.2.1], searches: [a.test], options: [{name: ndots, value: '1'}]}",
        ),
        (
            "named",
            "hostname: custom, subdomain: sub, hostAliases: [{ip: 8.8.8.8, hostnames: [google-dns, google-public-dns]}]",
        ),
        (
            "long",
            "hostname: custom, subdomain: sub, setHostnameAsFQDN: true",
        ),
    ];
    let manifest: String = all.iter().map(|(name, more)| pod(name, more)).collect();
    place.apply(&manifest.replace("NAMESPACE", "names"));
    place.until_ready("names", &all.map(|(name, _)| name));
    let run = |pod: &str, script: &str| exec(&place, "names", pod, script);
    let resolver = |pod: &str| run(pod, "cat /etc/resolv.conf");
    // The host's own, whose search list the cluster's comes before.
    let host = fs::read_to_string("/etc/resolv.conf").unwrap();
    let words = |keyword: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.strip_prefix(keyword));
        lines
            .flat_map(|line| line.split_whitespace().map(str::to_owned))
            .collect()
    };
    let mut search = vec![
        "names.svc.cluster.local".to_owned(),
        "svc.cluster.local".into(),
        "cluster.local".into(),
    ];
    search.extend(words("search "));
    let search = search.join(" ");
    let dns = place.field(
        &["service", "-n", "kube-system", "kube-dns"],
        ".spec.clusterIP",
    );
    let cluster = format!("search {search}\nnameserver {dns}\noptions ndots:5\n");
    assert_eq!(resolver("first"), cluster);
    assert_eq!(resolver("host-cluster"), cluster);
    for pod in ["as-host", "host-first"] {
        for server in words("nameserver ") {
            assert!(
                resolver(pod).contains(&format!("nameserver {server}\n")),
                "{pod}"
            );
        }
        assert!(!resolver(pod).contains(&dns), "{pod}");
    }
    assert_eq!(
        resolver("own"),
        "search a.test b.test\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2 edns0\n"
    );
    let mixed = format!(
        "search {search} a.test\nnameserver {dns}\nnameserver 192.0.2.1\noptions ndots:1\n"
    );
    assert_eq!(resolver("mixed"), mixed);

    names_of_a_pod(&place);
    place.kubectl(&["delete", "namespace", "names", "--wait=false"]);
}

fn names_of_a_pod(place: &Place) {
    let run = |pod: &str, script: &str| exec(place, "names", pod, script);
    let address = place.field(&["pod", "-n", "names", "named"], ".status.podIP");
    let hosts = run("named", "cat /etc/hosts");
    for text in [
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n".to_owned(),
        format!("\n{address}\tcustom.sub.names.svc.cluster.local\tcustom\n"),
        "\n# Entries added by HostAliases.\n8.8.8.8\tgoogle-dns\tgoogle-public-dns\n".to_owned(),
    ] {
        assert!(hosts.contains(&text), "{text}:\n{hosts}");
    }
    assert_eq!(
        run("named", "hostname; hostname -f"),
        "custom\ncustom.sub.names.svc.cluster.local\n"
    );
    assert_eq!(
        run("long", "hostname"),
        "custom.sub.names.svc.cluster.local\n"
    );
    assert!(
        run("host-first", "cat /etc/hosts")
            .starts_with("# Kubernetes-managed hosts file (host network).\n")
    );
}

const RIGHTS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: strict, namespace: rights}
spec:
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsUser: 1000
    runAsGroup: 3000
    fsGroup: 2000
    supplementalGroups: [4000]
    sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: '80'}, {name: kernel.shm_rmid_forced, value: '1'}]
    seccompProfile: {type: RuntimeDefault}
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: a
    image: busybox:1.36
    command: [sleep, '1000']
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}
    volumeMounts: [{name: v, mountPath: /v}]
  - name: b
    image: busybox:1.36
    command: [sleep, '1000']
    securityContext: {runAsUser: 0, privileged: true}
---
apiVersion: v1
kind: Pod
metadata: {name: root, namespace: rights}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: a, image: 'busybox:1.36', command: [sleep, '1000'], securityContext: {runAsNonRoot: true}}
---
apiVersion: v1
kind: Pod
metadata: {name: guaranteed, namespace: rights}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: 'busybox:1.36', command: [sleep, '1000'], resources: {limits: {cpu: 100m, memory: 32Mi}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: burstable, namespace: rights}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: 'busybox:1.36', command: [sleep, '1000'], resources: {requests: {cpu: 200m, memory: 64Mi}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: besteffort, namespace: rights}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: 'busybox:1.36', command: [sleep, '1000']}]
";

/// The first of these files of a container's cgroup that is there: cgroup v1 and v2 have their own names.
pub fn cgroup(place: &Place, namespace: &str, pod: &str, files: [&str; 2]) -> String {
    let script = format!(
        "cd /sys/fs/cgroup; cat {} {} 2>/dev/null",
        files[0], files[1]
    );
    exec(place, namespace, pod, &format!("{script} || true"))
        .trim()
        .to_owned()
}

pub const MEMORY: [&str; 2] = ["memory/memory.limit_in_bytes", "memory.max"];
pub const QUOTA: [&str; 2] = ["cpu/cpu.cfs_quota_us", "cpu.max"];
const SHARES: [&str; 2] = ["cpu/cpu.shares", "cpu.weight"];

fn users_rights_and_limits() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "rights"]);
    place.apply(RIGHTS);
    place.until_ready(
        "rights",
        &["strict", "guaranteed", "burstable", "besteffort"],
    );
    let run = |pod: &str, script: &str| exec(&place, "rights", pod, script);
    assert_eq!(
        run("strict", "id"),
        "uid=1000 gid=3000 groups=2000,3000,4000\n"
    );
    let status = run("strict", "cat /proc/1/status");
    for line in [
        "CapBnd:\t0000000000000400",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}:\n{status}");
    }
    assert_eq!(
        run("strict", "touch /x 2>&1 || true"),
        "touch: /x: Read-only file system\n"
    );
    assert_eq!(
        run("strict", "touch /v/f; stat -c '%a %u %g' /v /v/f"),
        "2777 0 2000\n644 1000 2000\n"
    );
    assert_eq!(
        run(
            "strict",
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"
        ),
        "80\n1\n"
    );
    assert_eq!(
        run("strict/b", "grep Seccomp: /proc/1/status; id -u"),
        "Seccomp:\t0\n0\n"
    );
    assert!(
        run("strict/b", "ls /dev | wc -l")
            .trim()
            .parse::<u32>()
            .unwrap()
            > 20,
        "all devices"
    );
    let told = place.field(
        &["pod", "-n", "rights", "root"],
        ".status.containerStatuses[0].state.waiting.message",
    );
    assert!(
        told.starts_with(
            "container has runAsNonRoot and image will run as root (pod: \"root_rights("
        ),
        "{told}"
    );

    classes_of_service(&place);
    place.kubectl(&["delete", "namespace", "rights", "--wait=false"]);
}

fn classes_of_service(place: &Place) {
    let run = |pod: &str, script: &str| exec(place, "rights", pod, script);
    let class = |pod: &str| place.field(&["pod", "-n", "rights", pod], ".status.qosClass");
    let score = |pod: &str| {
        run(pod, "cat /proc/1/oom_score_adj")
            .trim()
            .parse::<i32>()
            .unwrap()
    };
    assert_eq!(
        (
            class("guaranteed").as_str(),
            class("burstable").as_str(),
            class("besteffort").as_str()
        ),
        ("Guaranteed", "Burstable", "BestEffort")
    );
    assert_eq!(score("besteffort"), 1000);
    assert!(
        (3..1000).contains(&score("burstable")),
        "less likely than the rest: {}",
        score("burstable")
    );
    // Where the machine lets nobody lower a score, a container keeps its shim's.
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let can_lower = fs::write("/proc/self/oom_score_adj", "-997").is_ok();
    let _ = fs::write("/proc/self/oom_score_adj", own.trim());
    if can_lower {
        assert_eq!(score("guaranteed"), -997);
    }
    assert_eq!(cgroup(place, "rights", "guaranteed", MEMORY), "33554432");
    assert!(cgroup(place, "rights", "guaranteed", QUOTA).starts_with("10000"));
    let shares = cgroup(place, "rights", "burstable", SHARES);
    assert!(
        ["204", "29"].contains(&shares.as_str()),
        "v1 shares or v2 weight: {shares}"
    );
    for (pod, folder) in [
        ("guaranteed", ""),
        ("burstable", "/burstable"),
        ("besteffort", "/besteffort"),
    ] {
        let uid = place.field(&["pod", "-n", "rights", pod], ".metadata.uid");
        let tail = format!("/kubepods{folder}/pod{uid}");
        let roots = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
        let (group, node) = (place.cgroup(), &place.profile);
        let found = roots
            .iter()
            .any(|root| fs::metadata(format!("{root}/{group}/{node}{tail}")).is_ok());
        assert!(found, "the cgroup of {pod}: {tail}");
    }
    // A class weighs what its pods request; best-effort pods get what is left over.
    let node = &place.profile;
    let weight = |class: &str| {
        let group = format!("{}/{node}/kubepods/{class}", place.cgroup());
        let files = [
            format!("/sys/fs/cgroup/cpu/{group}/cpu.shares"),
            format!("/sys/fs/cgroup/{group}/cpu.weight"),
        ];
        let read = files.iter().find_map(|file| fs::read_to_string(file).ok());
        read.unwrap().trim().parse::<u32>().unwrap()
    };
    assert!(
        [1, 2].contains(&weight("besteffort")),
        "{}",
        weight("besteffort")
    );
    let least = if fs::exists("/sys/fs/cgroup/cpu").unwrap() {
        204
    } else {
        8
    };
    place.eventually("the weight of burstable pods", || {
        (weight("burstable") >= least).then_some(())
    });
}

fn namespaces_shared_with_pod_and_host() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "sharing"]);
    let two = pod("together", "shareProcessNamespace: true").replace(
        "containers: [",
        "containers: [{name: b, image: 'busybox:1.36', command: [sleep, '2000']}, ",
    );
    let manifest = [
        pod("own", "hostNetwork: false"),
        pod("network", "hostNetwork: true"),
        pod("processes", "hostPID: true"),
        pod("ipc", "hostIPC: true"),
        two,
    ];
    place.apply(&manifest.concat().replace("NAMESPACE", "sharing"));
    place.until_ready(
        "sharing",
        &["own", "network", "processes", "ipc", "together"],
    );
    let run = |pod: &str, script: &str| exec(&place, "sharing", pod, script);
    // The node is this very machine, in the network the tests have made for themselves.
    let same = |pod: &str, name: &str| {
        let inside = run(pod, &format!("readlink /proc/self/ns/{name}"));
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        inside.trim() == host.to_str().unwrap()
    };
    for (pod, shared) in [
        ("own", ""),
        ("network", "net uts"),
        ("processes", "pid"),
        ("ipc", "ipc"),
    ] {
        for name in ["net", "uts", "pid", "ipc", "mnt"] {
            assert_eq!(same(pod, name), shared.contains(name), "{pod} {name}");
        }
    }
    let node_ip = place.field(&["pod", "-n", "sharing", "network"], ".status.hostIP");
    let pod_ip = place.field(&["pod", "-n", "sharing", "network"], ".status.podIP");
    assert_eq!(pod_ip, node_ip);
    let processes = run("together", "ps");
    for text in ["sleep 1000", "sleep 2000", "pause"] {
        assert!(processes.contains(text), "{text}:\n{processes}");
    }
    assert!(!run("own", "ps").contains("pause"));
    // One network for both containers of a pod, one host name, one /dev/shm.
    run("together", "echo shared > /dev/shm/f");
    assert_eq!(
        run("together/b", "cat /dev/shm/f; hostname"),
        "shared\ntogether\n"
    );
    place.kubectl(&["delete", "namespace", "sharing", "--wait=false"]);
}
