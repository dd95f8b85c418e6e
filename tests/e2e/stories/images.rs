//! Images on their way: pushed into the cluster, pulled from a private registry, carried as archives.

use crate::{
    Story,
    cluster::{Place, run, shared, stderr},
    images::Image,
    registry::{PASSWORD, Registry, USER, free_port, start_registry_at},
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

pub const STORIES: &[Story] = &[
    (
        "images::what_is_pushed_to_localhost_runs_at_once",
        what_is_pushed_to_localhost_runs_at_once,
    ),
    (
        "images::the_registry_keeps_to_the_specification",
        the_registry_keeps_to_the_specification,
    ),
    (
        "images::the_notes_flow_from_a_private_registry",
        the_notes_flow_from_a_private_registry,
    ),
    ("images::archives_go_in_and_out", archives_go_in_and_out),
    (
        "images::images_of_a_local_engine_are_loaded_by_name",
        images_of_a_local_engine_are_loaded_by_name,
    ),
];

fn speaker(tag: &str, words: &str) -> Image {
    let script = format!("echo {words}; sleep 100000");
    Image::new(tag).cmd(&["sh", "-c", &script])
}

/// Where the cluster's own registry listens: from the ConfigMap, as tools find it.
fn own_registry(place: &Place) -> String {
    let map = ["configmap", "-n", "kube-public", "local-registry-hosting"];
    let text = place.field(&map, r".data.localRegistryHosting\.v1");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().trim_matches('"').to_owned()
}

/// Runs skopeo, which knows nothing of kubik.
fn skopeo(words: &[&str]) -> String {
    run("skopeo", words)
}

/// Pushes as people do; answers the manifest's digest.
fn push(place: &Place, image: &Image, target: &str) -> String {
    let archive = place.home.path().join("push.tar");
    image.save(&archive);
    let digest = place.home.path().join("digest");
    let source = format!("docker-archive:{}", archive.display());
    let target = format!("docker://{target}");
    let file = digest.to_str().unwrap();
    skopeo(&[
        "copy",
        "--quiet",
        "--dest-tls-verify=false",
        "--digestfile",
        file,
        &source,
        &target,
    ]);
    std::fs::read_to_string(digest).unwrap()
}

fn pod(place: &Place, name: &str, image: &str, policy: &str, secret: Option<&str>) {
    let secrets = secret.map_or(String::new(), |name| {
        format!("  imagePullSecrets: [{{name: {name}}}]\n")
    });
    place.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n{secrets}  \
         containers: [{{name: main, image: '{image}', imagePullPolicy: {policy}}}]\n"
    ));
}

fn says(place: &Place, name: &str) -> String {
    let pod = format!("pod/{name}");
    place.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=60s"]);
    place.kubectl(&["logs", name]).trim().to_owned()
}

fn waiting_message(place: &Place, name: &str, reason: &str) -> String {
    place.eventually(reason, || {
        let state = ".status.containerStatuses[0].state.waiting";
        let found = place.field(&["pod", name], &format!("{state}.reason"));
        (found == reason).then(|| place.field(&["pod", name], &format!("{state}.message")))
    })
}

fn what_is_pushed_to_localhost_runs_at_once() {
    let place = shared();
    let host = own_registry(&place);
    let name = format!("{host}/team/app");
    let digest = push(&place, &speaker("app:1", "first"), &format!("{name}:1"));
    // It is an image of the cluster already: nothing is pulled.
    assert!(
        place
            .must(&["image", "ls", "-o", "short"])
            .contains(&format!("{name}:1"))
    );
    pod(&place, "pushed", &format!("{name}:1"), "Never", None);
    assert_eq!(says(&place, "pushed"), "first");
    // By digest, and by the policy that asks the registry each time.
    pod(
        &place,
        "exact",
        &format!("{name}@{digest}"),
        "IfNotPresent",
        None,
    );
    assert_eq!(says(&place, "exact"), "first");
    push(&place, &speaker("app:1", "second"), &format!("{name}:1"));
    pod(&place, "always", &format!("{name}:1"), "Always", None);
    assert_eq!(says(&place, "always"), "second");
    let found = place.field(&["pod", "always"], ".status.containerStatuses[0].imageID");
    assert!(found.contains(&format!("{name}@sha256:")), "{found}");

    // Off: nobody listens, nothing is announced; on again: everything is still there.
    place.must(&["addons", "disable", "registry"]);
    assert!(TcpStream::connect(&host).is_err());
    place.kubectl_fails(&[
        "get",
        "configmap",
        "-n",
        "kube-public",
        "local-registry-hosting",
    ]);
    assert!(
        place
            .must(&["addons", "list"])
            .lines()
            .any(|line| { line.starts_with("registry") && line.contains("disabled") })
    );
    place.must(&["addons", "enable", "registry"]);
    assert_eq!(own_registry(&place), host);
    let tags = skopeo(&[
        "list-tags",
        "--tls-verify=false",
        &format!("docker://{name}"),
    ]);
    assert!(tags.contains("\"1\""), "{tags}");
    place.kubectl(&["delete", "pod", "pushed", "exact", "always", "--wait=false"]);
}

/// Status, headers and body of a request by curl.
fn curl(words: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sS", "-i"])
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    // curl shows `100 Continue` as well.
    let text = text
        .trim_start_matches("HTTP/1.1 100 Continue\n\n")
        .to_owned();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text)
}

fn header(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then(|| value.to_owned())
    });
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn the_registry_keeps_to_the_specification() {
    let place = shared();
    let host = own_registry(&place);
    let base = format!("http://{host}");
    let url = |path: &str| format!("{base}/v2/{path}");
    assert_eq!(curl(&[&url("")]).0, 200);
    // "hello" in two chunks; one that does not fit is refused and says where to go on.
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let (status, text) = curl(&["-X", "POST", &url("spec/a/blobs/uploads/")]);
    assert_eq!(status, 202, "{text}");
    let place_of = |text: &str| format!("{base}{}", header(text, "location"));
    let chunk = |to: &str, range: &str, bytes: &str| {
        let range = format!("content-range: {range}");
        curl(&["-X", "PATCH", "-H", &range, "--data-binary", bytes, to])
    };
    let (status, text) = chunk(&place_of(&text), "0-2", "hel");
    assert_eq!((status, header(&text, "range").as_str()), (202, "0-2"));
    let to = place_of(&text);
    let (status, refused) = chunk(&to, "7-8", "lo");
    assert_eq!((status, header(&refused, "range").as_str()), (416, "0-2"));
    assert_eq!(chunk(&to, "3-4", "lo").0, 202);
    let wrong = format!("{to}?digest=sha256:{}", "0".repeat(64));
    let (status, text) = curl(&["-X", "PUT", &wrong]);
    assert!(status == 400 && text.contains("DIGEST_INVALID"), "{text}");
    // In one request, then mounted elsewhere, in part, and gone.
    let whole = url(&format!("spec/a/blobs/uploads/?digest={digest}"));
    assert_eq!(
        curl(&["-X", "POST", "--data-binary", "hello", &whole]).0,
        201
    );
    let mount = url(&format!("spec/b/blobs/uploads/?mount={digest}&from=spec/a"));
    assert_eq!(curl(&["-X", "POST", &mount]).0, 201);
    let blob = url(&format!("spec/b/blobs/{digest}"));
    let (status, text) = curl(&["-r", "1-3", &blob]);
    assert!(status == 206 && text.ends_with("ell"), "{text}");
    assert_eq!(header(&text, "content-range"), "bytes 1-3/5");
    assert_eq!(curl(&["-X", "DELETE", &blob]).0, 202);
    let (status, text) = curl(&[&blob]);
    assert!(status == 404 && text.contains("BLOB_UNKNOWN"), "{text}");
    assert_eq!(
        curl(&["-I", &url(&format!("spec/a/blobs/{digest}"))]).0,
        200
    );
    // A manifest needs its blobs; a page of the web has no business here.
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}"}},"layers":[]}}"#);
    let put = |name: &str| curl(&["-X", "PUT", "--data-binary", &manifest, &url(name)]);
    assert!(
        put("spec/b/manifests/1")
            .1
            .contains("MANIFEST_BLOB_UNKNOWN")
    );
    assert_eq!(put("spec/a/manifests/1").0, 201);
    assert_eq!(curl(&["-H", "Host: evil.example", &url("_catalog")]).0, 421);
    let (_, text) = curl(&[&url("_catalog?n=1000")]);
    assert!(
        text.contains("\"spec/a\"") && !text.contains("\"spec/b\""),
        "{text}"
    );
    a_round_trip(&place, &host);
    a_chart(&place, &host);
}

/// Out again with the bytes that went in; deleted by its digest.
fn a_round_trip(place: &Place, host: &str) {
    let name = format!("docker://{host}/spec/image:1");
    let digest = push(
        place,
        &speaker("image:1", "x"),
        &format!("{host}/spec/image:1"),
    );
    let copy = format!("dir:{}", place.home.path().join("out").display());
    skopeo(&[
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--preserve-digests",
        &name,
        &copy,
    ]);
    let inspected = skopeo(&["inspect", "--format", "{{.Digest}}", &copy]);
    assert_eq!(inspected.trim(), digest);
    skopeo(&["delete", "--tls-verify=false", &name]);
    let gone = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", &name])
        .output()
        .unwrap();
    assert!(
        stderr(&gone).contains("manifest unknown"),
        "{}",
        stderr(&gone)
    );
}

/// Not an image, yet a registry keeps it: helm pushes and pulls its charts.
fn a_chart(place: &Place, host: &str) {
    let helm = crate::cluster::project().join("target/tools/helm");
    let home = place.home.path();
    let helm = |words: &[&str]| {
        let output = Command::new(&helm)
            .args(words)
            .current_dir(home)
            .env("HOME", home)
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    };
    helm(&["create", "sample"]);
    helm(&["package", "sample"]);
    helm(&[
        "push",
        "--plain-http",
        "sample-0.1.0.tgz",
        &format!("oci://{host}/charts"),
    ]);
    std::fs::remove_file(home.join("sample-0.1.0.tgz")).unwrap();
    let chart = format!("oci://{host}/charts/sample");
    helm(&["pull", "--plain-http", "--version", "0.1.0", &chart]);
    assert!(home.join("sample-0.1.0.tgz").exists());
}

/// An address that is not loopback: certificates count there. Only this program's network namespace has it.
const ADDRESS: &str = "10.99.0.1";

fn the_notes_flow_from_a_private_registry() {
    run(
        "ip",
        &["address", "replace", &format!("{ADDRESS}/32"), "dev", "lo"],
    );
    let place = Place::new();
    let registry = start_registry_at(&place, ADDRESS);
    let image = registry.push(&speaker("greeter:1", "hello"), "team/greeter:1");
    let proxy = Proxy::start();
    let start = |words: &[&str]| {
        let output = place
            .kubik(&[&["start"], words].concat())
            .env("HTTPS_PROXY", format!("http://127.0.0.1:{}", proxy.port))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    start(&[]);
    secret(&place, &registry);
    pod(&place, "untrusted", &image, "IfNotPresent", Some("regcred"));
    let why = waiting_message(&place, "untrusted", "ErrImagePull");
    assert!(
        why.contains("x509: certificate signed by unknown authority"),
        "{why}"
    );
    assert!(proxy.tunnels() > 0, "the proxy was not asked");

    place.kubectl(&["delete", "pod", "untrusted"]);
    place.must(&["stop"]);
    start(&["--registry-ca", registry.authority().to_str().unwrap()]);
    // The password is asked for in the notes' words.
    pod(&place, "stranger", &image, "IfNotPresent", None);
    let why = waiting_message(&place, "stranger", "ErrImagePull");
    assert!(why.contains("pull access denied"), "{why}");
    let digest = skopeo(&[
        "inspect",
        "--tls-verify=false",
        "--creds",
        &format!("{USER}:{PASSWORD}"),
        "--format",
        "{{.Digest}}",
        &format!("docker://{image}"),
    ]);
    let exact = format!("{}@{}", image.rsplit_once(':').unwrap().0, digest.trim());
    pod(&place, "never", &image, "Never", Some("regcred"));
    waiting_message(&place, "never", "ErrImageNeverPull");
    for (name, image, policy) in [
        ("tagged", &image, "IfNotPresent"),
        ("exact", &exact, "Always"),
    ] {
        pod(&place, name, image, policy, Some("regcred"));
        assert_eq!(says(&place, name), "hello", "{name}");
    }
    let pulled = place.kubectl(&[
        "get",
        "events",
        "--field-selector=reason=Pulled",
        "-o",
        "jsonpath={.items[*].message}",
    ]);
    assert!(
        pulled.contains(&format!("Successfully pulled image \"{image}\"")),
        "{pulled}"
    );
    // That it is here now helps nobody who may not have it.
    pod(&place, "late-stranger", &image, "IfNotPresent", None);
    let why = waiting_message(&place, "late-stranger", "ErrImagePull");
    assert!(why.contains("pull access denied"), "{why}");
    pod(&place, "late-never", &image, "Never", None);
    waiting_message(&place, "late-never", "ErrImageNeverPull");
    // The policy that never asks finds it.
    place.eventually("ErrImageNeverPull to end", || {
        let ready = place.field(&["pod", "never"], ".status.containerStatuses[0].ready");
        (ready == "true").then_some(())
    });
}

fn secret(place: &Place, registry: &Registry) {
    place.kubectl(&[
        "create",
        "secret",
        "docker-registry",
        "regcred",
        &format!("--docker-server={}", registry.host()),
        &format!("--docker-username={USER}"),
        &format!("--docker-password={PASSWORD}"),
    ]);
}

/// A proxy as companies have them: CONNECT, then bytes both ways.
struct Proxy {
    port: u16,
    tunnels: Arc<AtomicUsize>,
}

impl Proxy {
    fn start() -> Proxy {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let tunnels = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tunnels);
        // Lives as long as this program.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || drop(tunnel(client, &count)));
            }
        });
        Proxy { port, tunnels }
    }

    fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}

fn tunnel(mut client: TcpStream, count: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0u8];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    assert!(head.starts_with("CONNECT "), "{head}");
    let mut server = TcpStream::connect(target)?;
    count.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    std::io::copy(&mut server, &mut client).map(drop)
}

/// Answers as the engines of Docker and Podman do when asked for an image, of which this one has `name`.
fn engine(socket: &Path, name: &str, archive: Vec<u8>) {
    let listener = UnixListener::bind(socket).unwrap();
    let wanted = format!("GET /images/{name}/get ");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let (status, body) = match line.starts_with(&wanted) {
                true => ("200 OK", archive.as_slice()),
                false => ("404 Not Found", &b"{\"message\":\"image not known\"}"[..]),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body);
        }
    });
}

fn images_of_a_local_engine_are_loaded_by_name() {
    let place = shared();
    let archive = place.home.path().join("engine.tar");
    // What Podman calls an image that was built without a registry's name.
    speaker("localhost/engine-app:1", "made here").save(&archive);
    let socket = place.home.path().join("engine.sock");
    engine(&socket, "engine-app:1", std::fs::read(&archive).unwrap());
    let load = |name: &str| {
        let host = format!("unix://{}", socket.display());
        let mut command = place.kubik(&["image", "load", name]);
        command.env("DOCKER_HOST", host).output().unwrap()
    };
    let loaded = load("engine-app:1");
    assert!(loaded.status.success(), "{}", stderr(&loaded));
    // Pods may say the name that was said here.
    let words = [
        "run",
        "engine-app",
        "--image=engine-app:1",
        "--image-pull-policy=Never",
    ];
    place.kubectl(&words);
    place.until_ready("default", &["engine-app"]);
    assert_eq!(place.kubectl(&["logs", "engine-app"]), "made here\n");
    place.kubectl(&["delete", "pod", "engine-app", "--now", "--wait=false"]);
    let refused = load("absent:1");
    assert_eq!(refused.status.code(), Some(95));
    let said = stderr(&refused);
    assert!(
        said.contains("podman save absent:1 | kubik image load"),
        "{said}"
    );
}

fn archives_go_in_and_out() {
    let place = shared();
    let home = place.home.path();
    let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let archive = path("carried.tar");
    speaker("carried:1", "carried").save(home.join("carried.tar").as_path());
    let layout = path("layout");
    let source = format!("docker-archive:{archive}");
    skopeo(&[
        "copy",
        "--quiet",
        &source,
        &format!("oci:{layout}:carried:layout"),
    ]);
    skopeo(&[
        "copy",
        "--quiet",
        &source,
        &format!("oci-archive:{}:carried:packed", path("packed.tar")),
    ]);
    place.must(&["image", "load", &archive, &layout, &path("packed.tar")]);
    place.must(&["image", "tag", "carried:1", "localhost/renamed:2"]);
    let names = place.must(&["image", "ls", "-o", "short"]);
    for name in [
        "docker.io/library/carried:1",
        "docker.io/library/carried:layout",
        "docker.io/library/carried:packed",
        "localhost/renamed:2",
    ] {
        assert!(names.lines().any(|line| line == name), "{name}: {names}");
    }
    // Out and, from standard input, in again.
    place.must(&["image", "save", "localhost/renamed:2", &path("saved.tar")]);
    for name in [
        "carried:1",
        "carried:layout",
        "carried:packed",
        "localhost/renamed:2",
    ] {
        place.must(&["image", "rm", name]);
    }
    let left = place.must(&["image", "ls"]);
    assert!(
        !left.contains("carried") && !left.contains("renamed"),
        "{left}"
    );
    let saved = std::fs::File::open(home.join("saved.tar")).unwrap();
    let loaded = place
        .kubik(&["image", "load", "-"])
        .stdin(Stdio::from(saved))
        .output()
        .unwrap();
    assert!(loaded.status.success(), "{}", stderr(&loaded));
    pod(&place, "carried", "localhost/renamed:2", "Never", None);
    assert_eq!(says(&place, "carried"), "carried");
    let list: serde_json::Value =
        serde_json::from_str(&place.must(&["image", "ls", "-o", "json"])).unwrap();
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .any(|image| image["tags"][0] == "localhost/renamed:2")
    );
    // To standard output, for a pipe.
    let piped = place
        .kubik(&["image", "save", "localhost/renamed:2", "-"])
        .output()
        .unwrap();
    assert!(
        piped.status.success()
            && piped
                .stdout
                .windows(13)
                .any(|part| part == b"manifest.json")
    );
    refusals(&place);
    place.kubectl(&["delete", "pod", "carried", "--wait=false"]);
}

/// What cannot be done says so.
fn refusals(place: &Place) {
    for (words, code, expected) in [
        (vec!["image", "rm", "absent:1"], 90, "absent:1"),
        (
            vec!["image", "load", "/nonexistent.tar"],
            90,
            "/nonexistent.tar",
        ),
        (vec!["image", "pull", "UPPER"], 90, "must be lowercase"),
        (vec!["image", "build", "-t", "x", "."], 16, "docker build"),
    ] {
        let output = place.kubik(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
