//! Probes by exec, HTTP, TCP and gRPC, and hooks around a container's life.

use crate::{
    Story,
    cluster::{Place, shared},
    images::{Image, load, load_busybox},
};
use std::{
    io::Read,
    process::{Child, Stdio},
};

pub const STORIES: &[Story] = &[
    (
        "probes::startup_liveness_readiness_in_every_way",
        startup_liveness_readiness_in_every_way,
    ),
    (
        "probes::hooks_after_the_start_and_before_the_end",
        hooks_after_the_start_and_before_the_end,
    ),
];

/// A gRPC health service of one file: SERVING while `/tmp/up` exists, otherwise NOT_SERVING. It speaks just as much
/// HTTP/2 as that takes.
const HEALTH: &str = r#"
socket(my $server, 2, 1, 6) or die; setsockopt($server, 1, 2, 1);
bind($server, pack('S n N x8', 2, 9000, 0)) or die; listen($server, 8) or die;
sub take { my ($from, $n) = @_; my $all = ''; while (length $all < $n) { sysread($from, my $more, $n - length $all) or return; $all .= $more } $all }
sub frame { my ($type, $flags, $stream, $body) = @_; pack('C n C C N', length($body) >> 16, length($body) & 65535, $type, $flags, $stream) . $body }
sub header { my ($name, $value) = @_; pack('C C/a C/a', 0, $name, $value) }
while (accept(my $client, $server)) {
  take($client, 24);
  syswrite($client, frame(4, 0, 0, ''));
  my $asked = '';
  while (defined(my $head = take($client, 9))) {
    my ($high, $low, $type, $flags, $stream) = unpack('C n C C N', $head);
    my $length = ($high << 16) | $low;
    my $body = $length ? take($client, $length) : '';
    syswrite($client, frame(4, 1, 0, '')) if $type == 4 && !($flags & 1);
    $asked .= $body if $type == 0;
    next unless $type == 0 && $flags & 1;
    my $known = substr($asked, 5) eq "\x0a\x04live";
    my $message = pack('C N C C', 0, 2, 8, -e '/tmp/up' ? 1 : 2);
    my $plain = header(':status', '200') . header('content-type', 'application/grpc');
    syswrite($client, frame(1, 4, $stream, $plain)
      . ($known ? frame(0, 0, $stream, $message) : '')
      . frame(1, 5, $stream, header('grpc-status', $known ? '0' : '5')));
  }
}
"#;

fn load_health(place: &Place) {
    let image = Image::new("health:1")
        .program("/usr/bin/perl")
        .text("/health.pl", HEALTH)
        .cmd(&["/usr/bin/perl", "/health.pl"]);
    load(place, &image, "health");
}

const PROBED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: starts, namespace: probes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox:1.36
    command: [sh, -c, 'sleep 3; touch /tmp/up; sleep 1000']
    startupProbe: {exec: {command: [cat, /tmp/up]}, periodSeconds: 1, failureThreshold: 30}
    livenessProbe: {exec: {command: [cat, /tmp/up]}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: never-starts, namespace: probes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox:1.36
    command: [sleep, '1000']
    startupProbe: {exec: {command: [cat, /nosuch]}, periodSeconds: 1, failureThreshold: 2, terminationGracePeriodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: probes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox:1.36
    ports: [{name: http, containerPort: 8080}]
    command: [sh, -c, 'mkdir /www; echo ok > /www/health; touch /www/ready; exec httpd -f -p 8080 -h /www']
    livenessProbe: {httpGet: {path: /health, port: http}, periodSeconds: 1, failureThreshold: 2}
    readinessProbe: {httpGet: {path: /ready, port: 8080, httpHeaders: [{name: X-Probe, value: 'yes'}]}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: socket, namespace: probes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox:1.36
    command: [sh, -c, 'until [ -f /tmp/listen ]; do sleep 0.1; done; exec httpd -f -p 7000']
    readinessProbe: {tcpSocket: {port: 7000}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: grpc, namespace: probes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: health:1
    readinessProbe: {grpc: {port: 9000, service: live}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: grpc-unknown, namespace: probes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: health:1
    readinessProbe: {grpc: {port: 9000, service: nosuch}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: probes}
spec: {selector: {run: web}, ports: [{port: 80, targetPort: http}]}
";

fn of_container(place: &Place, pod: &str, field: &str) -> String {
    let path = format!(".status.containerStatuses[0].{field}");
    place.field(&["pod", "-n", "probes", pod], &path)
}

fn until_it_is(place: &Place, pod: &str, field: &str, expected: &str) {
    place.eventually(&format!("{pod}: {field} {expected}"), || {
        (of_container(place, pod, field) == expected).then_some(())
    });
}

fn until_event(place: &Place, pod: &str, reason: &str, text: &str) {
    place.eventually(&format!("{reason} of {pod}: {text}"), || {
        let selector = format!("involvedObject.name={pod},reason={reason}");
        let path = ".items[*].message";
        let told = place.field(
            &["events", "-n", "probes", "--field-selector", &selector],
            path,
        );
        told.contains(text).then_some(())
    });
}

fn startup_liveness_readiness_in_every_way() {
    let place = shared();
    load_busybox(&place);
    load_health(&place);
    place.kubectl(&["create", "namespace", "probes"]);
    place.apply(PROBED);
    place.kubectl(&["label", "pod", "-n", "probes", "web", "run=web"]);
    let exec = |pod: &str, script: &str| {
        place.kubectl(&["exec", "-n", "probes", pod, "--", "sh", "-c", script])
    };
    // HTTP: readiness takes the pod out of its service, a failed liveness probe restarts the container.
    let endpoints = || {
        let path = ".endpoints[*].conditions.ready";
        let slice = [
            "endpointslices",
            "-n",
            "probes",
            "-l",
            "kubernetes.io/service-name=web",
        ];
        place.field(&slice, &format!(".items[0]{path}"))
    };
    place.until_ready("probes", &["web"]);
    place.eventually("a ready endpoint", || (endpoints() == "true").then_some(()));
    exec("web", "rm /www/ready");
    until_it_is(&place, "web", "ready", "false");
    place.eventually("no ready endpoint", || {
        (endpoints() == "false").then_some(())
    });
    until_event(
        &place,
        "web",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
    );
    assert_eq!(
        of_container(&place, "web", "restartCount"),
        "0",
        "readiness never restarts"
    );
    exec("web", "rm /www/health");
    until_it_is(&place, "web", "restartCount", "1");
    place.until_ready("probes", &["web"]);
    until_event(
        &place,
        "web",
        "Killing",
        "Container a failed liveness probe, will be restarted",
    );

    // TCP: nobody listens at first.
    until_event(&place, "socket", "Unhealthy", "connect: connection refused");
    assert_eq!(of_container(&place, "socket", "ready"), "false");
    exec("socket", "touch /tmp/listen");
    until_it_is(&place, "socket", "ready", "true");

    // gRPC: what the service says counts.
    until_event(
        &place,
        "grpc",
        "Unhealthy",
        "service unhealthy (responded with \"NOT_SERVING\")",
    );
    exec("grpc", "touch /tmp/up");
    until_it_is(&place, "grpc", "ready", "true");
    exec("grpc", "rm /tmp/up");
    until_it_is(&place, "grpc", "ready", "false");
    until_event(&place, "grpc-unknown", "Unhealthy", "health rpc failed");

    // exec: until the startup probe succeeds, the liveness probe, which would fail at once, does not run.
    place.until_ready("probes", &["starts"]);
    assert_eq!(of_container(&place, "starts", "restartCount"), "0");
    assert_eq!(of_container(&place, "starts", "started"), "true");
    exec("starts", "rm /tmp/up");
    until_it_is(&place, "starts", "restartCount", "1");
    until_event(
        &place,
        "never-starts",
        "Killing",
        "Container a failed startup probe, will be restarted",
    );
    place.kubectl(&["delete", "namespace", "probes", "--wait=false"]);
}

const HOOKED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: hooks}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: 'busybox:1.36', command: [httpd, -f, -vv, -p, '8080', -h, /tmp]}]
---
apiVersion: v1
kind: Pod
metadata: {name: hooked, namespace: hooks}
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: a
    image: busybox:1.36
    command: [sh, -c, \"trap 'echo asked to end; exit 0' TERM; while true; do sleep 0.1; done\"]
    lifecycle:
      postStart: {exec: {command: [sh, -c, 'echo after the start > /proc/1/fd/1']}}
      preStop: {exec: {command: [sh, -c, 'echo before the end > /proc/1/fd/1; sleep 1; echo hook is over > /proc/1/fd/1']}}
---
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: hooks}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: a
    image: busybox:1.36
    command: [sleep, '1000']
    lifecycle:
      postStart: {httpGet: {host: SERVER, port: 8080, path: /hello}}
      preStop: {httpGet: {host: SERVER, port: 8080, path: /bye}}
---
apiVersion: v1
kind: Pod
metadata: {name: broken, namespace: hooks}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: busybox:1.36
    command: [sleep, '1000']
    lifecycle: {postStart: {exec: {command: [sh, -c, 'exit 9']}}}
";

/// Follows a container's log to its end.
fn follow(place: &Place, pod: &str) -> Child {
    place
        .kubectl_command(&["logs", "-n", "hooks", "-f", pod])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn hooks_after_the_start_and_before_the_end() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "hooks"]);
    let (server, rest) = HOOKED.split_once("---").unwrap();
    place.apply(server);
    place.until_ready("hooks", &["server"]);
    let address = place.field(&["pod", "-n", "hooks", "server"], ".status.podIP");
    place.apply(&rest.replace("SERVER", &address));
    place.until_ready("hooks", &["hooked"]);
    let mut log = follow(&place, "hooked");
    place.kubectl(&["delete", "pod", "-n", "hooks", "hooked"]);
    let mut told = String::new();
    log.stdout
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert!(log.wait().unwrap().success());
    let expected = "after the start\nbefore the end\nhook is over\nasked to end\n";
    assert_eq!(told, expected, "the signal comes after the hook");

    // The server answers 404, which for a hook is an answer, too; its log has both requests.
    let broken = ["pod", "-n", "hooks", "broken"];
    place.until_ready("hooks", &["caller"]);
    place.kubectl(&["delete", "pod", "-n", "hooks", "caller", "--grace-period=1"]);
    place.eventually("both requests", || {
        let log = place.kubectl(&["logs", "-n", "hooks", "server"]);
        (log.contains("/hello") && log.contains("/bye")).then_some(())
    });

    place.eventually("a container killed for its hook", || {
        let restarts = place.field(&broken, ".status.containerStatuses[0].restartCount");
        restarts
            .parse::<u32>()
            .is_ok_and(|count| count > 0)
            .then_some(())
    });
    let events = place.kubectl(&[
        "get",
        "events",
        "-n",
        "hooks",
        "-o",
        "custom-columns=R:.reason,M:.message",
    ]);
    assert!(events.contains("FailedPostStartHook"), "{events}");
    assert_eq!(
        place.field(&broken, ".status.containerStatuses[0].ready"),
        "false"
    );
    place.kubectl(&["delete", "namespace", "hooks", "--wait=false"]);
}
