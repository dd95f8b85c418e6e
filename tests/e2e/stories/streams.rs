//! Looking inside pods with stock kubectl: terminals, files, ports, logs as they come, containers for debugging.

use crate::{
    Story,
    cluster::{Place, shared},
    images::load_busybox,
    terminal::Terminal,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

pub const STORIES: &[Story] = &[
    (
        "streams::a_terminal_in_a_container",
        a_terminal_in_a_container,
    ),
    (
        "streams::files_go_in_and_come_out",
        files_go_in_and_come_out,
    ),
    (
        "streams::logs_of_all_and_as_they_come",
        logs_of_all_and_as_they_come,
    ),
    ("streams::ports_are_forwarded", ports_are_forwarded),
    (
        "streams::debugging_pods_and_nodes",
        debugging_pods_and_nodes,
    ),
];

const TALKER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: talk, namespace: NAMESPACE}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox:1.36
    stdin: true
    tty: true
    command: [sh]
  - name: b
    image: busybox:1.36
    stdin: true
    command: [sh, -c, 'echo hello; while read line; do echo got $line; done; echo over; sleep 1000']
  - name: web
    image: busybox:1.36
    ports: [{name: http, containerPort: 8080}]
    command: [sh, -c, 'mkdir /www; echo from the pod > /www/index.html; exec httpd -f -p 8080 -h /www']
";

fn talker(place: &Place, namespace: &str) {
    load_busybox(place);
    place.kubectl(&["create", "namespace", namespace]);
    place.apply(&TALKER.replace("NAMESPACE", namespace));
    place.until_ready(namespace, &["talk"]);
}

/// kubectl with something on its standard input; its output and exit code.
fn kubectl_with(place: &Place, arguments: &[&str], input: &[u8]) -> (String, Option<i32>) {
    let mut child = place
        .kubectl_command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

fn a_terminal_in_a_container() {
    let place = shared();
    talker(&place, "terminals");
    let mut shell = Terminal::kubectl(
        &place,
        &[
            "exec",
            "-it",
            "-n",
            "terminals",
            "talk",
            "-c",
            "b",
            "--",
            "sh",
        ],
    );
    shell.until("/ # ");
    shell.type_line("until stty size | grep -q 33; do :; done; stty size; tty; echo $TERM");
    shell.until("33 77\n/dev/pts/");
    shell.until("\nxterm\n");
    shell.type_line("exit 7");
    assert_eq!(shell.exit_code(), Some(7), "{}", shell.shown());
    assert!(
        !shell.shown().contains("Unknown stream"),
        "{}",
        shell.shown()
    );

    let mut own = Terminal::kubectl(
        &place,
        &["attach", "-it", "-n", "terminals", "talk", "-c", "a"],
    );
    own.until("pressing enter");
    own.type_line("echo $((6 * 7)); tty");
    own.until("42\n");
    drop(own);
    let attach = ["attach", "-i", "-n", "terminals", "talk", "-c", "b"];
    let mut client = place
        .kubectl_command(&attach)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = client.stdin.take().unwrap();
    keys.write_all("한글\n".as_bytes()).unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let found = lines.find(|line| line.as_ref().unwrap() == "got 한글");
    assert!(found.is_some(), "the container answers");
    client.kill().unwrap();
    client.wait().unwrap();

    a_pod_for_one_command(&place);
    let wrong = place.kubectl_fails(&[
        "exec",
        "-n",
        "terminals",
        "talk",
        "-c",
        "nosuch",
        "--",
        "sh",
    ]);
    assert!(
        wrong.contains("container nosuch is not valid for pod talk"),
        "{wrong}"
    );
    let missing = place.kubectl_fails(&["exec", "-n", "terminals", "talk", "--", "/nosuch"]);
    assert!(missing.contains("/nosuch"), "{missing}");
    place.kubectl(&["delete", "namespace", "terminals", "--wait=false"]);
}

fn a_pod_for_one_command(place: &Place) {
    let mut once = Terminal::kubectl(
        place,
        &[
            "run",
            "-it",
            "--rm",
            "-n",
            "terminals",
            "once",
            "--image=busybox:1.36",
            "--restart=Never",
            "--",
            "sh",
        ],
    );
    once.until("/ # ");
    once.type_line("hostname; exit 4");
    once.until("once\n");
    once.until("pod terminals/once terminated (Error)");
    assert_eq!(once.exit_code(), Some(4), "{}", once.shown());
    let gone = place.kubectl_fails(&["get", "pod", "-n", "terminals", "once"]);
    assert!(gone.contains("not found"), "{gone}");
}

fn files_go_in_and_come_out() {
    let place = shared();
    talker(&place, "files");
    let folder = place.home.path().join("files");
    let inner = folder.join("in/한글 폴더");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("f"), "안녕하세요\n").unwrap();
    // More than any buffer on the way holds.
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    fs::write(folder.join("in/large"), &large).unwrap();
    let (source, back) = (folder.join("in"), folder.join("out"));
    let copy = |from: &str, to: &str| place.kubectl(&["cp", "-n", "files", "-c", "b", from, to]);
    copy(source.to_str().unwrap(), "talk:/tmp/there");
    copy("talk:/tmp/there", back.to_str().unwrap());
    assert_eq!(
        fs::read_to_string(back.join("한글 폴더/f")).unwrap(),
        "안녕하세요\n"
    );
    assert!(
        fs::read(back.join("large")).unwrap() == large,
        "3 MB come back as they went"
    );
    let exec = [
        "exec", "-i", "-n", "files", "talk", "-c", "b", "--", "sh", "-c",
    ];
    let (sum, code) = kubectl_with(
        &place,
        &[&exec[..], &["sha256sum; exit 3"]].concat(),
        &large,
    );
    let own = Command::new("sha256sum")
        .arg(source.join("large"))
        .output()
        .unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    let digest = |text: &str| text.split_whitespace().next().map(str::to_owned);
    assert_eq!(digest(&sum), digest(&own));
    assert_eq!(code, Some(3));
    place.kubectl(&["delete", "namespace", "files", "--wait=false"]);
}

fn logs_of_all_and_as_they_come() {
    let place = shared();
    talker(&place, "logs");
    let exec = |script: &str| {
        place.kubectl(&[
            "exec", "-n", "logs", "talk", "-c", "b", "--", "sh", "-c", script,
        ])
    };
    let mut follower = place
        .kubectl_command(&["logs", "-n", "logs", "talk", "-c", "b", "-f"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "hello");
    exec("echo from elsewhere > /proc/1/fd/1; echo to error > /proc/1/fd/2");
    let mut next = vec![
        lines.next().unwrap().unwrap(),
        lines.next().unwrap().unwrap(),
    ];
    next.sort();
    assert_eq!(next, ["from elsewhere", "to error"]);
    let all = place.kubectl(&["logs", "-n", "logs", "talk", "--all-containers", "--prefix"]);
    assert!(all.contains("[pod/talk/b] hello\n"), "{all}");
    let last = place.kubectl(&[
        "logs",
        "-n",
        "logs",
        "talk",
        "-c",
        "b",
        "--tail=1",
        "--timestamps",
    ]);
    let (time, _) = last.split_once(' ').unwrap();
    assert_eq!(last.lines().count(), 1, "{last}");
    assert!(time.starts_with("20") && time.ends_with('Z'), "{last}");
    let few = place.kubectl(&["logs", "-n", "logs", "talk", "-c", "b", "--limit-bytes=3"]);
    assert_eq!(few, "hel");
    let default = place.kubectl(&["logs", "-n", "logs", "talk", "-c", "b", "--since=1h"]);
    assert!(default.starts_with("hello\n"), "{default}");
    // The end of the container ends the following.
    place.kubectl(&["delete", "pod", "-n", "logs", "talk", "--grace-period=1"]);
    assert!(lines.next().is_none());
    assert!(follower.wait().unwrap().success());
    place.kubectl(&["delete", "namespace", "logs", "--wait=false"]);
}

/// A running `kubectl port-forward`, ended with its story.
struct Forward(Child);

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Forwards a free local port to one of `what`; answers the local one.
fn forward(place: &Place, what: &str, port: &str) -> (Forward, u16) {
    let mut child = place
        .kubectl_command(&["port-forward", "-n", "ports", what, &format!(":{port}")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut first).unwrap();
    let local = first
        .strip_prefix("Forwarding from 127.0.0.1:")
        .and_then(|rest| rest.split_once(' '));
    let local = local
        .unwrap_or_else(|| panic!("{first}"))
        .0
        .parse()
        .unwrap();
    // Later lines tell of connections; nobody reads them, and there are few.
    std::mem::forget(lines);
    (Forward(child), local)
}

fn fetch(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn ports_are_forwarded() {
    let place = shared();
    talker(&place, "ports");
    place.kubectl(&["label", "pod", "-n", "ports", "talk", "app=talk"]);
    place.kubectl(&[
        "expose",
        "pod",
        "-n",
        "ports",
        "talk",
        "--name=web",
        "--port=80",
        "--target-port=http",
    ]);
    for (what, port) in [
        ("pod/talk", "8080"),
        ("pod/talk", "http"),
        ("service/web", "80"),
    ] {
        let (_forward, local) = forward(&place, what, port);
        // One client after the other, and two at once.
        let both: Vec<_> = (0..2)
            .map(|_| std::thread::spawn(move || fetch(local)))
            .collect();
        for answer in both.into_iter().map(|one| one.join().unwrap()) {
            assert!(
                answer.ends_with("from the pod\n"),
                "{what} {port}: {answer}"
            );
        }
        assert!(fetch(local).ends_with("from the pod\n"));
    }
    let mut refused = place
        .kubectl_command(&["port-forward", "-n", "ports", "talk", ":9"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    // Kept open to the end: kubectl goes on to tell of connections.
    let mut lines = BufReader::new(refused.stdout.take().unwrap());
    lines.read_line(&mut first).unwrap();
    let local = first.trim_start_matches("Forwarding from 127.0.0.1:");
    let local: u16 = local.split_once(' ').unwrap().0.parse().unwrap();
    // Nobody listens there: the connection is closed, or reset.
    let mut stream = TcpStream::connect(("127.0.0.1", local)).unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    // kubectl ends after a refused connection.
    let told = refused.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    let expected = "failed to connect to localhost:9 inside namespace";
    assert!(
        told.contains("error forwarding port 9 to pod") && told.contains(expected),
        "{told}"
    );
    place.kubectl(&["delete", "namespace", "ports", "--wait=false"]);
}

fn debugging_pods_and_nodes() {
    let place = shared();
    talker(&place, "debugging");
    let mut shell = Terminal::kubectl(
        &place,
        &[
            "debug",
            "-it",
            "-n",
            "debugging",
            "talk",
            "--image=busybox:1.36",
            "--target=web",
            "--profile=general",
            "-c",
            "looker",
            "--",
            "sh",
        ],
    );
    shell.until("/ # ");
    shell.type_line(
        "ps; wget -q -O - http://127.0.0.1:8080; cat /proc/1/root/www/index.html; exit 3",
    );
    shell.until("httpd -f -p 8080");
    shell.until("from the pod\nfrom the pod\n");
    assert_eq!(
        shell.exit_code(),
        Some(0),
        "kubectl attach does not know the code"
    );
    let what = ["pod", "-n", "debugging", "talk"];
    place.eventually("the end of the debugging container", || {
        let code = place.field(
            &what,
            ".status.ephemeralContainerStatuses[0].state.terminated.exitCode",
        );
        (code == "3").then_some(())
    });
    assert_eq!(
        place.field(&what, ".spec.ephemeralContainers[0].targetContainerName"),
        "web"
    );
    let described = place.kubectl(&["describe", "pod", "-n", "debugging", "talk"]);
    assert!(
        described.contains("Ephemeral Containers:\n  looker:"),
        "{described}"
    );
    place.until_ready("debugging", &["talk"]);
    let path = ".status.containerStatuses[*].restartCount";
    assert_eq!(place.field(&what, path), "0 0 0", "the pod goes on");
    let twice = place.kubectl_fails(&[
        "debug",
        "-n",
        "debugging",
        "talk",
        "--image=busybox:1.36",
        "-c",
        "web",
        "--",
        "true",
    ]);
    assert!(twice.contains("Duplicate value: \"web\""), "{twice}");

    debugging_a_copy(&place);
    debugging_the_node(&place);
    place.kubectl(&["delete", "namespace", "debugging", "--wait=false"]);
}

fn debugging_a_copy(place: &Place) {
    place.kubectl(&[
        "debug",
        "-n",
        "debugging",
        "talk",
        "--copy-to=copy",
        "--image=busybox:1.36",
        "--share-processes",
        "-c",
        "looker",
        "--",
        "sleep",
        "1000",
    ]);
    place.until_ready("debugging", &["copy"]);
    let all = place.kubectl(&[
        "exec",
        "-n",
        "debugging",
        "copy",
        "-c",
        "looker",
        "--",
        "ps",
    ]);
    assert!(
        all.contains("httpd -f -p 8080") && all.contains("pause"),
        "{all}"
    );
}

fn debugging_the_node(place: &Place) {
    let node = format!("node/{}", place.profile);
    let marker = place.home.path().join("marker");
    fs::write(&marker, "of the node\n").unwrap();
    let mut shell = Terminal::kubectl(
        place,
        &[
            "debug",
            "-it",
            "-n",
            "debugging",
            &node,
            "--image=busybox:1.36",
            "--profile=general",
            "--",
            "sh",
        ],
    );
    shell.until("/ # ");
    let own = std::process::id();
    shell.type_line(&format!(
        "cat /host{}; ls -d /proc/{own}; ip link show lo",
        marker.display()
    ));
    shell.until("of the node\n");
    shell.until(&format!("\n/proc/{own}\n"));
    shell.type_line("exit");
    assert_eq!(shell.exit_code(), Some(0), "{}", shell.shown());
    let pods = place.kubectl(&["get", "pods", "-n", "debugging", "-o", "name"]);
    assert!(
        pods.contains(&format!("pod/node-debugger-{}-", place.profile)),
        "{pods}"
    );
}
