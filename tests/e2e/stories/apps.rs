//! Real programs from Debian packages as applications: nginx behind a Service, redis with its data, images pulled
//! from a real registry.

use crate::{
    Story, census,
    cluster::{Place, end_shared, run, shared, stderr},
    images::{Image, load, load_curl, nginx},
    registry::start_registry,
};

pub const STORIES: &[Story] = &[
    (
        "apps::nginx_rolls_out_and_back_behind_its_service",
        nginx_rolls_out_and_back_behind_its_service,
    ),
    (
        "apps::redis_keeps_its_data_across_pods",
        redis_keeps_its_data_across_pods,
    ),
    (
        "apps::images_are_pulled_from_a_private_registry",
        images_are_pulled_from_a_private_registry,
    ),
    ("apps::the_demo_runs", the_demo_runs),
];

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: apps}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: nginx
        image: nginx:1.17
        ports: [{containerPort: 80}]
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: apps}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, nodePort: 30123}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: apps}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: curl, image: 'curl:test'}]
";

fn nginx_rolls_out_and_back_behind_its_service() {
    let place = shared();
    load(&place, &nginx("nginx:1.17"), "nginx-1.17");
    load(&place, &nginx("nginx:1.18"), "nginx-1.18");
    load_curl(&place);
    place.kubectl(&["create", "namespace", "apps"]);
    place.apply(WEB);
    let rollout = |words: &[&str]| place.kubectl(&[&["rollout", "-n", "apps"], words].concat());
    rollout(&["status", "deployment/web", "--timeout=60s"]);
    place.kubectl(&[
        "wait",
        "-n",
        "apps",
        "--for=condition=Ready",
        "pod/client",
        "--timeout=60s",
    ]);

    let from_pod = |url: &str| {
        place.kubectl(&[
            "exec", "-n", "apps", "client", "--", "curl", "-sS", "-m", "5", url,
        ])
    };
    for url in [
        "http://web",
        "http://web.apps",
        "http://web.apps.svc.cluster.local",
    ] {
        assert_eq!(from_pod(url), "served by nginx:1.17\n", "{url}");
    }
    let ip = place.field(&["service", "web", "-n", "apps"], ".spec.clusterIP");
    let node = place.must(&["ip"]);
    for url in [
        format!("http://{ip}"),
        format!("http://{}:30123", node.trim()),
        "http://127.0.0.1:30123".into(),
    ] {
        assert_eq!(
            run("curl", &["-sS", "-m", "5", &url]),
            "served by nginx:1.17\n",
            "{url}"
        );
    }

    place.kubectl(&[
        "set",
        "image",
        "-n",
        "apps",
        "deployment/web",
        "nginx=nginx:1.18",
    ]);
    rollout(&["status", "deployment/web", "--timeout=60s"]);
    assert_eq!(from_pod("http://web"), "served by nginx:1.18\n");
    assert!(rollout(&["history", "deployment/web"]).contains('2'));
    rollout(&["undo", "deployment/web"]);
    rollout(&["status", "deployment/web", "--timeout=60s"]);
    assert_eq!(from_pod("http://web"), "served by nginx:1.17\n");
    place.kubectl(&["scale", "-n", "apps", "deployment/web", "--replicas=1"]);
    rollout(&["status", "deployment/web", "--timeout=60s"]);
    place.kubectl(&["delete", "namespace", "apps", "--timeout=60s"]);
}

const REDIS: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: redis}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 10Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: redis, labels: {app: redis}}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: redis
    image: redis:7
    args: ['--appendonly', 'yes', '--dir', '/data']
    readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: redis}}]
";

fn redis_keeps_its_data_across_pods() {
    let place = shared();
    let image = Image::new("redis:7")
        .program("/usr/bin/redis-server")
        .program("/usr/bin/redis-cli")
        .entrypoint(&["/usr/bin/redis-server", "--protected-mode", "no"]);
    load(&place, &image, "redis");
    let cli =
        |words: &[&str]| place.kubectl(&[&["exec", "redis", "--", "redis-cli"], words].concat());
    let up = || {
        place.apply(REDIS);
        place.kubectl(&[
            "wait",
            "--for=condition=Ready",
            "pod/redis",
            "--timeout=60s",
        ]);
    };
    up();
    assert_eq!(cli(&["set", "인사", "안녕하세요"]).trim(), "OK");
    place.kubectl(&["delete", "pod", "redis"]);
    up();
    assert_eq!(cli(&["get", "인사"]).trim(), "안녕하세요");
    place.kubectl(&["delete", "pod,pvc", "redis"]);
}

fn images_are_pulled_from_a_private_registry() {
    let place = shared();
    let registry = start_registry(&place);
    let private = Image::new("private:1").cmd(&["sh", "-c", "echo pulled; sleep 100000"]);
    let image = registry.push(&private, "team/private:1");

    place.kubectl(&["run", "refused", &format!("--image={image}")]);
    let reason = place.eventually("a refused pull", || {
        let reason = place.field(
            &["pod", "refused"],
            ".status.containerStatuses[0].state.waiting.reason",
        );
        ["ErrImagePull", "ImagePullBackOff"]
            .contains(&reason.as_str())
            .then_some(reason)
    });
    assert!(!reason.is_empty());
    place.kubectl(&["delete", "pod", "refused", "--grace-period=0", "--force"]);

    let server = format!("--docker-server={}", registry.host());
    place.kubectl(&[
        "create",
        "secret",
        "docker-registry",
        "pull",
        &server,
        "--docker-username=jane",
        "--docker-password=secret",
    ]);
    let overrides =
        r#"{"spec":{"imagePullSecrets":[{"name":"pull"}],"terminationGracePeriodSeconds":0}}"#;
    place.kubectl(&[
        "run",
        "allowed",
        &format!("--image={image}"),
        &format!("--overrides={overrides}"),
    ]);
    place.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod/allowed",
        "--timeout=60s",
    ]);
    assert_eq!(place.kubectl(&["logs", "allowed"]), "pulled\n");
    place.kubectl(&["delete", "pod", "allowed"]);
}

fn the_demo_runs() {
    // Its links would come and go during the census.
    end_shared();
    let place = Place::new();
    let before = census::take(place.home.path());
    let output = place.script("demo.sh", &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", stderr(&output));
    assert_eq!(text.matches("Hello from kubik").count(), 2, "{text}");
    let cleaned = place.script("demo.sh", &["clean"]).output().unwrap();
    assert!(cleaned.status.success(), "{}", stderr(&cleaned));
    census::assert_same(&before, &census::take(place.home.path()));
}
