//! Containers from their making to their removal.

use crate::world::{DEADLINE, World, exit_of, log};
use kubik::runtime::model::{
    ContainerState, ExecIo, ExecSpec, Mount, Propagation, Resources, RuntimeError, RuntimeEvent,
    SandboxSpec, Seccomp, UserSpec,
};
use std::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// SIGPIPE: the probe's own language runtime.
const RUST_IGNORES: &str = "0000000000001000";

fn fact<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=");
    let line = text
        .lines()
        .find_map(|line| line.trim_start_matches("stdout F ").strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

async fn read_all(io: &mut ExecIo) -> String {
    let mut text = String::new();
    if let Some(mut stdout) = io.stdout.take() {
        let mut bytes = Vec::new();
        tokio::time::timeout(DEADLINE, stdout.read_to_end(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        text = String::from_utf8(bytes).unwrap();
    }
    text
}

fn exec(command: &[&str]) -> ExecSpec {
    ExecSpec {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecSpec::default()
    }
}

pub async fn runs_and_logs_and_exits() {
    let world = World::new("run");
    let first = world.shims.create(world.sandbox("a")).await.unwrap();
    let again = world.shims.create(world.sandbox("a")).await.unwrap();
    assert_eq!(first, again, "creating twice is one sandbox");
    let (exit, text) = world
        .outcome("a", world.container("print", &["print", "hello", "oops"]))
        .await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (0, 0, false));
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F oops", "stdout F hello"]);
    let (exit, _) = world
        .outcome("a", world.container("fail", &["exit", "42"]))
        .await;
    assert_eq!(exit.code, 42);
    assert!(exit.started_at.unwrap() <= exit.finished_at);
    let (_, text) = world
        .outcome("a", world.container("flood", &["flood", "20000"]))
        .await;
    assert_eq!(text.lines().count(), 20_000);
    assert!(text.lines().last().unwrap().ends_with("19999"));
    let all = &world.shims.list().await.unwrap()[0].containers;
    assert_eq!(all.len(), 3);
    for container in all {
        world
            .shims
            .remove_container("a", &container.id)
            .await
            .unwrap();
        world
            .shims
            .remove_container("a", &container.id)
            .await
            .unwrap();
    }
    assert!(world.shims.list().await.unwrap()[0].containers.is_empty());
    world.finish(&["a"]).await;
}

pub async fn processes_find_what_was_asked_for() {
    let world = World::new("facts");
    let mut spec = world.sandbox("a");
    spec.sysctls
        .insert("net.ipv4.ip_unprivileged_port_start".into(), "80".into());
    world.shims.create(spec).await.unwrap();
    let (_, text) = world
        .outcome("a", world.container("plain", &["facts"]))
        .await;
    for (name, expected) in [
        ("pid", "1"),
        ("hostname", "web-0"),
        ("Uid", "0 0 0 0"),
        ("CapEff", "00000000a80425fb"),
        ("NoNewPrivs", "0"),
        ("Seccomp", "0"),
        ("SigIgn", RUST_IGNORES),
        ("SigBlk", "0000000000000000"),
        ("Umask", "0022"),
        ("null", "20666"),
        ("fds", "0,1,2"),
        ("cwd", "/"),
        ("env HOME", "/root"),
        ("env HOSTNAME", "web-0"),
        ("stdin", "/dev/null"),
    ] {
        assert_eq!(fact(&text, name), expected, "{name} in {text}");
    }
    assert!(
        fact(&text, "cgroup").ends_with(":/"),
        "a private cgroup namespace: {text}"
    );
    let mut narrow = world.container("narrow", &["facts"]);
    narrow.user = Some(UserSpec {
        uid: Some(101),
        gid: None,
    });
    narrow.supplemental_groups = vec![7777];
    narrow.capabilities_drop = vec!["ALL".into()];
    narrow.no_new_privileges = true;
    narrow.seccomp = Seccomp::RuntimeDefault;
    narrow.working_dir = "/made/here".into();
    narrow.oom_score_adj = 500;
    let (exit, text) = world.outcome("a", narrow).await;
    assert_eq!(exit.code, 0, "{text}");
    for (name, expected) in [
        ("Uid", "101 101 101 101"),
        ("Gid", "102 102 102 102"),
        ("Groups", "5 102 7777"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("cwd", "/made/here"),
        ("oom", "500"),
        ("env HOME", "/var/www"),
    ] {
        assert_eq!(fact(&text, name), expected, "{name} in {text}");
    }
    let mut default = world.container("default", &["facts"]);
    default.seccomp = Seccomp::RuntimeDefault;
    let (_, text) = world.outcome("a", default).await;
    assert_eq!(
        (fact(&text, "Seccomp"), fact(&text, "NoNewPrivs")),
        ("2", "0")
    );
    let port_start = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let (_, text) = world
        .outcome("a", world.container("sysctl", &["read", port_start]))
        .await;
    assert_eq!(text, "stdout F 80");
    world.finish(&["a"]).await;
}

pub async fn mounts_and_read_only_roots() {
    let world = World::new("mounts");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let volume = world.dir.join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("in"), "from the host").unwrap();
    let mount = |read_only| Mount {
        source: volume.clone(),
        destination: "/data".into(),
        read_only,
        ..Mount::default()
    };
    let mut reads = world.container("reads", &["read", "/data/in"]);
    reads.mounts = vec![mount(true)];
    assert_eq!(world.outcome("a", reads).await.1, "stdout P from the host");
    let mut writes = world.container("writes", &["write", "/data/out", "x"]);
    writes.mounts = vec![mount(false)];
    writes.read_only_rootfs = true;
    assert_eq!(world.outcome("a", writes.clone()).await.0.code, 0);
    assert_eq!(fs::read_to_string(volume.join("out")).unwrap(), "x");
    writes.attempt = 1;
    writes.args = vec!["write".into(), "/elsewhere".into(), "x".into()];
    let (exit, text) = world.outcome("a", writes.clone()).await;
    assert_eq!(exit.code, 1);
    assert!(text.contains("Read-only file system"), "{text}");
    writes.attempt = 2;
    writes.read_only_rootfs = false;
    assert_eq!(
        world.outcome("a", writes).await.0.code,
        0,
        "the writable layer takes it"
    );
    assert!(
        !world.dir.join("layers/probe/elsewhere").exists(),
        "and the image does not"
    );
    world.finish(&["a"]).await;
}

pub async fn what_cannot_run_says_why() {
    let world = World::new("cannot");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let cases = [
        (
            "nope",
            r#"exec: "nope": executable file not found in $PATH"#,
        ),
        (
            "/nope",
            r#"exec: "/nope": stat /nope: no such file or directory"#,
        ),
        ("/etc", r#"exec: "/etc": is a directory"#),
        ("/noexec", r#"exec: "/noexec": permission denied"#),
    ];
    for (attempt, (command, reason)) in cases.into_iter().enumerate() {
        let mut spec = world.container("c", &[]);
        spec.attempt = u32::try_from(attempt).unwrap();
        spec.command = vec![command.to_owned()];
        let made = world
            .shims
            .create_container("a", spec, world.image())
            .await
            .unwrap();
        let error = world
            .shims
            .start_container("a", &made.id)
            .await
            .unwrap_err();
        let expected =
            format!("unable to start container process: error during container init: {reason}");
        assert!(
            matches!(&error, RuntimeError::CannotRun(text) if *text == expected),
            "{error:?}"
        );
    }
    let containers = &world.shims.list().await.unwrap()[0].containers;
    for container in containers {
        let ContainerState::Exited(exit) = &container.state else {
            panic!("{container:?}");
        };
        assert_eq!((exit.code, exit.started_at), (128, None));
        assert!(exit.message.contains("exec: "), "{exit:?}");
    }
    world.finish(&["a"]).await;
}

pub async fn devices_of_the_host_stay_closed() {
    let world = World::new("device");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let (_, text) = world
        .outcome("a", world.container("null", &["device", "1", "3"]))
        .await;
    assert_eq!(text, "stdout F opened");
    // The memory of the kernel. Making the node is allowed by default, opening it is not.
    let (_, text) = world
        .outcome("a", world.container("mem", &["device", "1", "1"]))
        .await;
    assert_eq!(text, "stdout F Operation not permitted (os error 1)");
    let mut privileged = world.container("privileged", &["device", "1", "11"]);
    privileged.privileged = true;
    assert_eq!(
        world.outcome("a", privileged).await.1,
        "stdout F opened",
        "the kernel's log"
    );
    world.finish(&["a"]).await;
}

pub async fn memory_limits_kill() {
    let world = World::new("oom");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let mut eater = world.container("eat", &["eat"]);
    eater.resources.memory_limit_bytes = 32 << 20;
    let (exit, _) = world.outcome("a", eater).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (137, 9, true));
    world.finish(&["a"]).await;
}

pub async fn signals_end_containers() {
    let world = World::new("signal");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let mut events = world.shims.events();
    let made = world.run("a", world.container("sleep", &["sleep"])).await;
    world
        .shims
        .signal_container("a", &made.id, 9)
        .await
        .unwrap();
    let exit = exit_of(&mut events, &made.id).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (137, 9, false));
    world
        .shims
        .signal_container("a", &made.id, 15)
        .await
        .unwrap();
    let unstarted = world.container("unstarted", &["sleep"]);
    let made = world
        .shims
        .create_container("a", unstarted, world.image())
        .await
        .unwrap();
    world.shims.remove_container("a", &made.id).await.unwrap();
    world.finish(&["a"]).await;
}

pub async fn exec_joins_the_container() {
    let world = World::new("exec");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let mut spec = world.container("c", &["sleep"]);
    spec.user = Some(UserSpec {
        uid: Some(101),
        gid: None,
    });
    spec.seccomp = Seccomp::RuntimeDefault;
    spec.env = vec![("A".into(), "b".into())];
    let made = world.run("a", spec).await;
    let mut io = world
        .shims
        .exec("a", &made.id, exec(&["/probe", "facts"]))
        .await
        .unwrap();
    let text = read_all(&mut io).await;
    assert_eq!(io.wait.await.unwrap(), 0);
    for (name, expected) in [
        ("Uid", "101 101 101 101"),
        ("Groups", "5 102"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "00000000a80425fb"),
        ("Seccomp", "2"),
        ("SigIgn", RUST_IGNORES),
        ("fds", "0,1,2"),
        ("hostname", "web-0"),
        ("env A", "b"),
    ] {
        assert_eq!(fact(&text, name), expected, "{name} in {text}");
    }
    assert!(
        fact(&text, "cgroup").ends_with(":/"),
        "in the container's own group: {text}"
    );
    let io = world
        .shims
        .exec("a", &made.id, exec(&["/probe", "exit", "7"]))
        .await
        .unwrap();
    assert_eq!(io.wait.await.unwrap(), 7);
    let error = world
        .shims
        .exec("a", &made.id, exec(&["nope"]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RuntimeError::CannotRun(text) if text == r#"exec: "nope": executable file not found in $PATH"#),
        "{error:?}"
    );
    let spec = ExecSpec {
        stdin: true,
        ..exec(&["/probe", "cat"])
    };
    let mut io = world.shims.exec("a", &made.id, spec).await.unwrap();
    let mut stdin = io.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").await.unwrap();
    drop(stdin);
    assert_eq!(read_all(&mut io).await, "got one\ngot two\nend\n");
    let io = world
        .shims
        .exec("a", &made.id, exec(&["/probe", "sleep"]))
        .await
        .unwrap();
    (io.kill)();
    assert_eq!(io.wait.await.unwrap(), 137);
    world.finish(&["a"]).await;
}

pub async fn terminals_work() {
    let world = World::new("tty");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let mut spec = world.container("c", &["cat"]);
    spec.tty = true;
    spec.stdin = true;
    let mut events = world.shims.events();
    let made = world.run("a", spec).await;
    let tty = ExecSpec {
        tty: true,
        ..exec(&["/probe", "facts"])
    };
    let mut io = world.shims.exec("a", &made.id, tty).await.unwrap();
    (io.resize)(100, 40);
    let text = read_all(&mut io).await;
    assert!(text.contains("stdin=/dev/pts/"), "{text}");
    assert!(text.contains("env TERM=xterm"), "{text}");
    assert_eq!(io.wait.await.unwrap(), 0);
    let mut io = world.shims.attach("a", &made.id).await.unwrap();
    (io.resize)(120, 50);
    let mut stdin = io.stdin.take().unwrap();
    stdin.write_all(b"hi\n\x04").await.unwrap();
    let text = read_all(&mut io).await;
    assert!(
        text.contains("got hi\r\n") && text.contains("end\r\n"),
        "{text:?}"
    );
    assert_eq!(io.wait.await.unwrap(), 0);
    assert_eq!(exit_of(&mut events, &made.id).await.code, 0);
    world.finish(&["a"]).await;
}

pub async fn attach_feeds_standard_input_once() {
    let world = World::new("attach");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let mut spec = world.container("c", &["cat"]);
    spec.stdin = true;
    spec.stdin_once = true;
    let made = world.run("a", spec).await;
    let mut io = world.shims.attach("a", &made.id).await.unwrap();
    let mut stdin = io.stdin.take().unwrap();
    stdin.write_all(b"line\n").await.unwrap();
    drop(stdin);
    assert_eq!(read_all(&mut io).await, "got line\nend\n");
    assert_eq!(io.wait.await.unwrap(), 0);
    assert_eq!(log(&made.log_path), "stdout F got line\nstdout F end");
    world.finish(&["a"]).await;
}

pub async fn a_sandbox_that_cannot_be_made_leaves_nothing() {
    let world = World::new("unmade");
    let mut spec = world.sandbox("a");
    spec.sysctls.insert("net.no.such".into(), "1".into());
    let error = world.shims.create(spec).await.unwrap_err();
    assert!(
        error.to_string().starts_with("set sysctl net.no.such=1: "),
        "{error}"
    );
    assert!(world.shims.list().await.unwrap().is_empty());
    world.finish(&["a"]).await;
}

pub async fn missing_sources_become_directories() {
    let world = World::new("source");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let source = world.dir.join("new/volume");
    let mut spec = world.container("c", &["write", "/data/x", "y"]);
    spec.mounts = vec![Mount {
        source: source.clone(),
        destination: "/data".into(),
        ..Mount::default()
    }];
    assert_eq!(world.outcome("a", spec).await.0.code, 0);
    assert_eq!(fs::read_to_string(source.join("x")).unwrap(), "y");
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&source), 0o755);
    assert_eq!(mode(&world.dir.join("data/a/containers")), 0o700);
    assert_eq!(mode(&world.dir.join("logs/a/c/0.log")), 0o640);
    world.finish(&["a"]).await;
}

pub async fn mounts_flow_only_where_asked() {
    let world = World::new("flow");
    let shared = world.dir.join("shared");
    fs::create_dir_all(shared.join("late")).unwrap();
    let none = None::<&str>;
    nix::mount::mount(
        Some("kt"),
        &shared,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        none,
    )
    .unwrap();
    nix::mount::mount(none, &shared, none, nix::mount::MsFlags::MS_SHARED, none).unwrap();
    fs::create_dir_all(shared.join("late")).unwrap();
    world.shims.create(world.sandbox("a")).await.unwrap();
    let mut spec = world.container("c", &["sleep"]);
    let mount = |destination: &str, propagation| Mount {
        source: shared.clone(),
        destination: destination.into(),
        propagation,
        ..Mount::default()
    };
    spec.mounts = vec![
        mount("/private", Propagation::Private),
        mount("/receives", Propagation::HostToContainer),
        mount("/both", Propagation::Bidirectional),
    ];
    spec.privileged = true;
    let made = world.run("a", spec.clone()).await;
    let late = shared.join("late");
    nix::mount::mount(
        Some("kt"),
        &late,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        none,
    )
    .unwrap();
    fs::write(late.join("seen"), "yes").unwrap();
    for (place, expected) in [("/private", 1), ("/receives", 0), ("/both", 0)] {
        let command = format!("{place}/late/seen");
        let io = world
            .shims
            .exec("a", &made.id, exec(&["/probe", "exists", &command]))
            .await
            .unwrap();
        assert_eq!(io.wait.await.unwrap(), expected, "{place}");
    }
    let io = world
        .shims
        .exec("a", &made.id, exec(&["/probe", "mount", "/both/late"]))
        .await
        .unwrap();
    assert_eq!(io.wait.await.unwrap(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(mounts.contains("from-the-container"), "{mounts}");
    assert!(
        !mounts.contains("/rootfs"),
        "the container's root does not stay on the host: {mounts}"
    );
    while nix::mount::umount2(&late, nix::mount::MntFlags::MNT_DETACH).is_ok() {}
    world.shims.remove("a").await.unwrap();
    nix::mount::umount2(&shared, nix::mount::MntFlags::MNT_DETACH).unwrap();
    world.finish(&["a"]).await;
}

pub async fn resources_change_while_running() {
    let world = World::new("resources");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let mut spec = world.container("c", &["sleep"]);
    spec.resources.memory_limit_bytes = 64 << 20;
    spec.resources.cpu_quota_us = 50_000;
    let made = world.run("a", spec).await;
    let file = if kubik::runtime::cgroup::host().is_unified() {
        "/sys/fs/cgroup/memory.max"
    } else {
        "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    };
    let read = async || {
        let mut io = world
            .shims
            .exec("a", &made.id, exec(&["/probe", "read", file]))
            .await
            .unwrap();
        let text = read_all(&mut io).await;
        text.trim().to_owned()
    };
    assert_eq!(
        read().await,
        (64 << 20).to_string(),
        "seen at its place inside"
    );
    let mut resources = Resources {
        memory_limit_bytes: 128 << 20,
        ..Resources::default()
    };
    world
        .shims
        .set_resources("a", Some(&made.id), resources.clone())
        .await
        .unwrap();
    assert_eq!(read().await, (128 << 20).to_string());
    resources.memory_limit_bytes = 4096;
    let error = world
        .shims
        .set_resources("a", Some(&made.id), resources)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("below current usage"), "{error}");
    world
        .shims
        .set_resources("a", Some(&made.id), Resources::default())
        .await
        .unwrap();
    assert_ne!(read().await, (128 << 20).to_string());
    world.finish(&["a"]).await;
}

pub async fn many_pods_at_once() {
    let world = World::new("many");
    let ids: Vec<String> = (0..40).map(|number| format!("p{number}")).collect();
    let start = std::time::Instant::now();
    let made = ids.iter().map(async |id| {
        world.shims.create(world.sandbox(id)).await.unwrap();
        world.run(id, world.container("c", &["sleep"])).await
    });
    futures_util::future::join_all(made).await;
    println!("    40 pods made in {:?}", start.elapsed());
    assert_eq!(world.shims.list().await.unwrap().len(), 40);
    let start = std::time::Instant::now();
    let removed = ids
        .iter()
        .map(async |id| world.shims.remove(id).await.unwrap());
    futures_util::future::join_all(removed).await;
    println!("    40 pods removed in {:?}", start.elapsed());
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.finish(&all).await;
}

pub async fn usage_is_read() {
    let world = World::new("usage");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let made = world.run("a", world.container("c", &["sleep"])).await;
    let usage = world.shims.usage("a", &made.id).await.unwrap();
    assert!(
        usage.memory_bytes > 0 && usage.working_set_bytes <= usage.memory_bytes,
        "{usage:?}"
    );
    assert!(world.shims.usage("a", "nothing").await.is_err());
    let stats = world.shims.stats("a").await.unwrap();
    let own = stats.containers[&made.id];
    assert!(
        own.rss_bytes > 0 && own.working_set_bytes <= stats.usage.working_set_bytes,
        "{stats:?}"
    );
    // Pause and the container's one process.
    assert!(stats.processes >= 2, "{stats:?}");
    let write = world.container("w", &["write", "/file", &"x".repeat(1 << 16)]);
    let writer = world.run("a", write).await;
    let mut space = world.shims.rootfs_space("a", &writer.id).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while space.bytes < 1 << 16 && std::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
        space = world.shims.rootfs_space("a", &writer.id).await.unwrap();
    }
    assert!(space.bytes >= 1 << 16 && space.inodes >= 2, "{space:?}");
    assert!(world.shims.stats("none").await.is_err());
    world.finish(&["a"]).await;
}

pub async fn sandboxes_survive_the_daemon() {
    let mut world = World::new("adopt");
    let before = world.shims.create(world.sandbox("a")).await.unwrap();
    let made = world.run("a", world.container("c", &["sleep"])).await;
    let ended = world
        .run("a", world.container("done", &["exit", "3"]))
        .await;
    world.restart().await;
    let mut events = world.shims.events();
    let adopted = world.shims.list().await.unwrap();
    assert_eq!(
        (adopted.len(), adopted[0].pid, adopted[0].alive),
        (1, before.pid, true)
    );
    let state = |id: &str| {
        adopted[0]
            .containers
            .iter()
            .find(|c| c.id == id)
            .unwrap()
            .state
            .clone()
    };
    assert!(matches!(state(&made.id), ContainerState::Running { .. }));
    if !matches!(state(&ended.id), ContainerState::Exited(_)) {
        exit_of(&mut events, &ended.id).await;
    }
    world
        .shims
        .signal_container("a", &made.id, 9)
        .await
        .unwrap();
    assert_eq!(exit_of(&mut events, &made.id).await.code, 137);
    world.finish(&["a"]).await;
}

pub async fn a_dead_shim_is_noticed_and_swept() {
    let world = World::new("dead");
    world.shims.create(world.sandbox("a")).await.unwrap();
    let made = world.run("a", world.container("c", &["sleep"])).await;
    let mut events = world.shims.events();
    let shim = shim_of(&world, "a");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::SIGKILL).unwrap();
    let event = tokio::time::timeout(DEADLINE, events.recv()).await.unwrap();
    assert_eq!(
        event,
        Some(RuntimeEvent::SandboxDied {
            sandbox: "a".to_owned()
        })
    );
    let listed = world.shims.list().await.unwrap();
    assert!(!listed[0].alive);
    assert_eq!(listed[0].containers[0].id, made.id);
    world.finish(&["a"]).await;
}

fn shim_of(world: &World, id: &str) -> i32 {
    let dir = world.dir.join("s").join(id).display().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    // Pause is a fork of the shim with the same command line, and its child.
    let mut pids: Vec<i32> = processes
        .filter(|process| {
            let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            line.trim_end_matches('\0').ends_with(&dir)
        })
        .filter(|process| {
            fs::read_to_string(process.path().join("comm")).unwrap_or_default() == "kubik-shim\n"
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect();
    assert_eq!(pids.len(), 1);
    pids.remove(0)
}

pub async fn namespaces_are_shared_as_asked() {
    let world = World::new("share");
    let shared = SandboxSpec {
        share_pid: true,
        ..world.sandbox("a")
    };
    world.shims.create(shared).await.unwrap();
    let (_, text) = world.outcome("a", world.container("one", &["facts"])).await;
    assert_ne!(fact(&text, "pid"), "1", "pause is the first process");
    let host = SandboxSpec {
        host_network: true,
        host_pid: true,
        host_ipc: true,
        ..world.sandbox("b")
    };
    let info = world.shims.create(host).await.unwrap();
    assert_eq!(info.netns, std::path::PathBuf::new());
    let (_, text) = world.outcome("b", world.container("one", &["facts"])).await;
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(fact(&text, "net"), own.to_str().unwrap());
    let target = world.run("a", world.container("target", &["sleep"])).await;
    let mut debugger = world.container("debugger", &["facts"]);
    debugger.target_container = Some("target".into());
    assert_eq!(world.outcome("a", debugger).await.0.code, 0);
    world
        .shims
        .signal_container("a", &target.id, 9)
        .await
        .unwrap();
    world.finish(&["a", "b"]).await;
}

/// Prints what a pod costs; asserts nothing about time.
pub async fn costs_are_measured() {
    let world = World::new("costs");
    let (mut sandboxes, mut containers, mut execs) = (Vec::new(), Vec::new(), Vec::new());
    let ids: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let mut made = Vec::new();
    for id in &ids {
        let start = std::time::Instant::now();
        world.shims.create(world.sandbox(id)).await.unwrap();
        sandboxes.push(start.elapsed());
        let start = std::time::Instant::now();
        made.push(world.run(id, world.container("c", &["sleep"])).await);
        containers.push(start.elapsed());
    }
    for (id, container) in ids.iter().zip(&made) {
        let start = std::time::Instant::now();
        let io = world
            .shims
            .exec(id, &container.id, exec(&["/probe", "exit", "0"]))
            .await
            .unwrap();
        assert_eq!(io.wait.await.unwrap(), 0);
        execs.push(start.elapsed());
    }
    let (mut shims, mut pauses) = (Vec::new(), Vec::new());
    for (id, info) in ids.iter().zip(world.shims.list().await.unwrap()) {
        shims.push(kb(shim_of(&world, id)));
        pauses.push(kb(info.pid));
    }
    shims.sort_unstable();
    pauses.sort_unstable();
    let start = std::time::Instant::now();
    for id in &ids {
        world.shims.remove(id).await.unwrap();
    }
    let removal = start.elapsed() / 20;
    for (what, times) in [
        ("sandbox", &mut sandboxes),
        ("create+start", &mut containers),
        ("exec", &mut execs),
    ] {
        times.sort_unstable();
        println!(
            "    {what}: min {:?} p50 {:?} max {:?}",
            times[0], times[10], times[19]
        );
    }
    println!(
        "    removal {removal:?} each; KB private and proportional: shim {:?}, pause {:?}",
        shims[10], pauses[10]
    );
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.finish(&all).await;
}

/// Private and proportional memory.
fn kb(pid: i32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kb = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (kb("Private_Dirty:"), kb("Pss:"))
}
