//! Tables for the specification builder.

use super::*;
use crate::runtime::model::ProcessUser;

fn image() -> ImageRoot {
    ImageRoot {
        env: vec!["A=image".to_owned(), "PATH=/opt".to_owned()],
        entrypoint: vec!["/entry".to_owned()],
        cmd: vec!["cmd".to_owned()],
        working_dir: "/srv".to_owned(),
        ..ImageRoot::default()
    }
}

fn spec_of(container: &ContainerSpec) -> Value {
    let user = User {
        process: ProcessUser {
            uid: 1000,
            gid: 1000,
            groups: vec![1000, 2000],
        },
        home: "/home/u".to_owned(),
    };
    build(&Plan {
        container,
        image: &image(),
        user: &user,
        hostname: "web-0",
        rootfs: Path::new("/r"),
        cgroup: "/kubik/pod/c",
        network: Some("/proc/7/ns/net".into()),
        ipc: Some("/proc/7/ns/ipc".into()),
        uts: Some("/proc/7/ns/uts".into()),
        pid: PidNamespace::Own,
        shm: Path::new("/run/shm"),
        capabilities: 1,
        seccomp: None,
        devices: &[],
        oom_score_adj: Some(3),
    })
}

#[test]
fn command_and_args_follow_kubernetes_rules() {
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (&[], &[], &["/entry", "cmd"]),
        (&["c"], &[], &["c"]),
        (&[], &["a"], &["/entry", "a"]),
        (&["c"], &["a"], &["c", "a"]),
    ];
    let owned = |list: &[&str]| {
        list.iter()
            .map(|s| (*s).to_owned())
            .collect::<Vec<String>>()
    };
    for (command, args, expected) in cases {
        let container = ContainerSpec {
            command: owned(command),
            args: owned(args),
            ..ContainerSpec::default()
        };
        assert_eq!(arguments(&container, &image()), owned(expected));
    }
}

#[test]
fn environment_comes_from_image_pod_and_container() {
    let container = ContainerSpec {
        env: vec![("A".into(), "pod".into()), ("B".into(), "a=b".into())],
        ..ContainerSpec::default()
    };
    let spec = spec_of(&container);
    let env: Vec<&str> = spec["process"]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e.as_str().unwrap())
        .collect();
    assert_eq!(
        env,
        [
            "PATH=/opt",
            "A=pod",
            "HOSTNAME=web-0",
            "B=a=b",
            "HOME=/home/u"
        ]
    );
    assert_eq!(spec["process"]["cwd"], "/srv");
    assert_eq!(spec["process"]["oomScoreAdj"], 3);
    assert!(spec["process"].get("noNewPrivileges").is_none());
}

#[test]
fn privileged_unmasks_and_opens() {
    let plain = spec_of(&ContainerSpec::default());
    assert_eq!(
        plain["linux"]["readonlyPaths"].as_array().unwrap().len(),
        READ_ONLY_PATHS.len()
    );
    assert_eq!(plain["linux"]["resources"]["devices"][0]["allow"], false);
    let privileged = spec_of(&ContainerSpec {
        privileged: true,
        ..ContainerSpec::default()
    });
    assert!(privileged["linux"].get("maskedPaths").is_none());
    assert_eq!(
        privileged["linux"]["resources"]["devices"][0]["allow"],
        true
    );
    let sys = |spec: &Value| {
        let mounts = spec["mounts"].as_array().unwrap();
        mounts.iter().find(|m| m["destination"] == "/sys").unwrap()["options"][3].clone()
    };
    assert_eq!((sys(&plain), sys(&privileged)), ("ro".into(), "rw".into()));
}

#[test]
fn own_mounts_replace_standard_ones_and_are_ordered() {
    let at = |destination: &str| Mount {
        source: "/s".into(),
        destination: destination.into(),
        ..Mount::default()
    };
    let spec = spec_of(&ContainerSpec {
        mounts: vec![at("/a/b/c"), at("/dev/shm"), at("/a")],
        ..ContainerSpec::default()
    });
    let destinations: Vec<&str> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["destination"].as_str().unwrap())
        .collect();
    assert_eq!(
        destinations,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/mqueue",
            "/sys",
            "/sys/fs/cgroup",
            "/a",
            "/dev/shm",
            "/a/b/c"
        ]
    );
}

#[test]
fn limits_that_are_not_set_are_absent() {
    let none = spec_of(&ContainerSpec::default());
    assert!(none["linux"]["resources"].get("cpu").is_none());
    assert!(none["linux"]["resources"].get("memory").is_none());
    let mut container = ContainerSpec::default();
    container.resources.cpu_quota_us = 50_000;
    container.resources.cpu_period_us = 100_000;
    container.resources.memory_limit_bytes = 64;
    let some = &spec_of(&container)["linux"]["resources"];
    assert_eq!(some["cpu"], json!({ "quota": 50_000, "period": 100_000 }));
    assert_eq!(some["memory"], json!({ "limit": 64 }));
}
