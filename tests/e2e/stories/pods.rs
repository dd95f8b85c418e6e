//! Pods as users meet them: run, look inside, be told why not.

use crate::{Story, cluster::shared, images::load_busybox};

pub const STORIES: &[Story] = &[
    ("pods::logs_exec_and_exit_codes", logs_exec_and_exit_codes),
    ("pods::a_missing_image_is_told", a_missing_image_is_told),
];

fn logs_exec_and_exit_codes() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "pods"]);
    place.kubectl(&[
        "run",
        "-n",
        "pods",
        "talker",
        "--image=busybox:1.36",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; sleep 1000",
    ]);
    place.kubectl(&[
        "wait",
        "-n",
        "pods",
        "--for=condition=Ready",
        "pod/talker",
        "--timeout=60s",
    ]);
    let logs = place.kubectl(&["logs", "-n", "pods", "talker"]);
    assert!(logs.contains("out") && logs.contains("err"), "{logs}");
    assert_eq!(
        place
            .kubectl(&["exec", "-n", "pods", "talker", "--", "cat", "/etc/hostname"])
            .trim(),
        "talker"
    );
    let code = place
        .kubectl_command(&["exec", "-n", "pods", "talker", "--", "sh", "-c", "exit 7"])
        .output()
        .unwrap();
    assert_eq!(code.status.code(), Some(7));
    place.kubectl(&["delete", "pod", "-n", "pods", "talker", "--grace-period=1"]);
    let gone = place.kubectl_fails(&["get", "pod", "-n", "pods", "talker"]);
    assert!(gone.contains("pods \"talker\" not found"), "{gone}");
}

fn a_missing_image_is_told() {
    let place = shared();
    place.kubectl(&[
        "run",
        "absent",
        "--image=busybox:9.99",
        "--image-pull-policy=Never",
    ]);
    let reason = place.eventually("ErrImageNeverPull", || {
        let reason = place.field(
            &["pod", "absent"],
            ".status.containerStatuses[0].state.waiting.reason",
        );
        (!reason.is_empty() && reason != "ContainerCreating").then_some(reason)
    });
    assert_eq!(reason, "ErrImageNeverPull");
    place.kubectl(&["delete", "pod", "absent", "--grace-period=0", "--force"]);
}
