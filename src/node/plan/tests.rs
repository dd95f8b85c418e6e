//! Stories: a tiny world carries out every step at once and tells what was asked for.

use super::*;
use crate::node::observed::{Ended, Failure, Hook, Image, Job, Sandbox, Unhealthy, Volumes};
use crate::node::resize::InProgress;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

struct World {
    pod: Pod,
    observed: Observed,
    now: Timestamp,
}

impl World {
    fn new(spec: &Value) -> World {
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec});
        World {
            pod: serde_json::from_value(pod).unwrap(),
            observed: Observed {
                started_at: Some(Timestamp::UNIX_EPOCH),
                ..Observed::default()
            },
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// Plans and acts until nothing is left to do; returns the steps as words.
    fn settle(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..30 {
            let plan = plan(&self.pod, &self.observed, self.now);
            if plan.steps.is_empty() {
                return told;
            }
            for step in plan.steps {
                self.act(&step);
                told.push(word(&step));
            }
        }
        panic!("does not settle: {told:?}");
    }

    fn act(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::BeginEnding => self.observed.ending_since = Some(now),
            Step::Fail(verdict) => self.observed.verdict = Some(verdict.clone()),
            Step::PrepareVolumes => self.observed.volumes = Volumes::Ready,
            Step::CreateSandbox => {
                self.observed.sandbox = Sandbox::Ready {
                    address: Ipv4Addr::LOCALHOST,
                }
            }
            Step::RemoveSandbox if self.observed.ending_since.is_some() => {
                self.observed.sandbox = Sandbox::Removed;
            }
            Step::RemoveSandbox => self.observed.sandbox_lost(|_, _| false),
            Step::EnsureImage { container, attempt } => {
                self.seen(container).image = Image::Ready {
                    id: "sha256:1".to_owned(),
                    attempt: *attempt,
                };
            }
            Step::Start {
                container,
                attempt,
                crashes,
            } => {
                let spec = self.pod.spec.clone().unwrap();
                let wanted = crate::node::spec::container(&spec, container).unwrap();
                let image = wanted.container.image.clone();
                let seen = self.seen(container);
                seen.asked_image = image.unwrap_or_default();
                seen.attempt = Some(*attempt);
                seen.crashes = *crashes;
                seen.state = State::Running {
                    id: format!("{container}-{attempt}"),
                    started_at: now,
                };
                seen.probes.is_started = true;
            }
            Step::BeginStop {
                container,
                grace_seconds,
                ..
            } => {
                let hook = self.pod.spec.as_ref().unwrap().containers[0]
                    .lifecycle
                    .is_some();
                self.seen(container).stop = Some(super::super::observed::Stopping {
                    since: now,
                    grace_seconds: *grace_seconds,
                    hook_done: (!hook).then_some(now),
                    ..Default::default()
                });
            }
            Step::PreStop { container } => {
                let job = Job::PreStop(container.clone());
                self.observed.busy.insert(job);
            }
            Step::Signal { container } => self.stopping(container).is_signaled = true,
            Step::Kill { container } => self.stopping(container).is_killed = true,
            Step::TearDown { .. } => self.observed.volumes = Volumes::TornDown,
            Step::StartOver => self.observed.start_over(|_, _| false),
            Step::Delete => drop(self.observed.busy.insert(Job::Delete)),
            Step::Resize => self.resize(),
        }
    }

    /// Wishes for other resources, and gets them.
    fn wish(&mut self, container: usize, cpu: &str, memory: &str) {
        let wish = json!({"limits": {"cpu": cpu, "memory": memory}});
        let spec = self.pod.spec.as_mut().unwrap();
        self.observed.allocation.actual = resize::wishes(spec);
        spec.containers[container].resources = serde_json::from_value(wish).unwrap();
        self.observed.allocation.granted = resize::wishes(spec);
        self.observed.allocation.in_progress = Some(InProgress::default());
    }

    /// Containers that need no new start have what was granted; the others may start anew.
    fn resize(&mut self) {
        let spec = self.pod.spec.clone().unwrap();
        let allocation = &mut self.observed.allocation;
        let mut is_wide = false;
        for container in &spec.containers {
            match resize::change(container, allocation) {
                Some(Change::Restart) => is_wide = true,
                Some(Change::InPlace) => {
                    let granted = allocation.granted[&container.name].clone();
                    allocation.actual.insert(container.name.clone(), granted);
                }
                None => {}
            }
        }
        allocation.in_progress = is_wide.then(|| InProgress {
            is_wide,
            ..InProgress::default()
        });
    }

    fn seen(&mut self, name: &str) -> &mut crate::node::observed::Seen {
        self.observed.seen.entry(name.to_owned()).or_default()
    }

    fn stopping(&mut self, name: &str) -> &mut crate::node::observed::Stopping {
        self.seen(name).stop.as_mut().unwrap()
    }

    fn exits(&mut self, name: &str, code: i32) {
        let now = self.now;
        let seen = self.seen(name);
        seen.stop = None;
        seen.probes = Default::default();
        seen.post_start = Hook::None;
        seen.state = State::Ended(Ended {
            code,
            started_at: Some(now),
            finished_at: now,
            ..Ended::default()
        });
    }

    fn after(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn delete(&mut self, grace: i64) {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
        self.pod.metadata.deletion_timestamp = Some(Time(self.now));
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
    }

    fn wake_in(&self) -> Option<i64> {
        let plan = plan(&self.pod, &self.observed, self.now);
        assert_eq!(plan.steps, [], "settled");
        plan.wake_at.map(|at| at.duration_since(self.now).as_secs())
    }
}

fn word(step: &Step) -> String {
    match step {
        Step::BeginEnding => "ending".to_owned(),
        Step::Fail(verdict) => format!("fail:{}", verdict.reason),
        Step::PrepareVolumes => "volumes".to_owned(),
        Step::CreateSandbox => "sandbox".to_owned(),
        Step::RemoveSandbox => "-sandbox".to_owned(),
        Step::EnsureImage { container, .. } => format!("image:{container}"),
        Step::Start {
            container, attempt, ..
        } => format!("start:{container}/{attempt}"),
        Step::BeginStop { container, .. } => format!("stop:{container}"),
        Step::PreStop { container } => format!("hook:{container}"),
        Step::Signal { container } => format!("signal:{container}"),
        Step::Kill { container } => format!("kill:{container}"),
        Step::TearDown { .. } => "-volumes".to_owned(),
        Step::StartOver => "anew".to_owned(),
        Step::Delete => "delete".to_owned(),
        Step::Resize => "resize".to_owned(),
    }
}

#[track_caller]
fn check(told: &[String], expected: &str) {
    assert_eq!(told.join(" "), expected);
}

#[test]
fn resources_change_in_place_or_with_a_new_start() {
    let strict = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let mut world =
        World::new(&json!({"containers": [{"name": "a"}, {"name": "b", "resizePolicy": strict}]}));
    world.settle();
    world.wish(0, "1", "1Gi");
    check(&world.settle(), "resize");
    world.wish(1, "1", "1Gi");
    check(&world.settle(), "resize stop:b signal:b");
    world.exits("b", 143);
    world.observed.allocation.actual = world.observed.allocation.granted.clone();
    check(&world.settle(), "resize image:b start:b/1");
    world.wish(0, "2", "2Gi");
    world.observed.allocation.in_progress = Some(InProgress {
        error: "no".to_owned(),
        retry_at: Some(world.now + SignedDuration::from_secs(10)),
        ..InProgress::default()
    });
    assert_eq!(world.wake_in(), Some(10), "a failed try is repeated later");
}

#[test]
fn another_image_means_a_new_start() {
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "x:1"}],
        "containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]});
    let mut world = World::new(&spec);
    world.settle();
    world.exits("i", 0);
    world.settle();
    check(&world.settle(), "");
    let spec = world.pod.spec.as_mut().unwrap();
    spec.containers[0].image = Some("x:2".to_owned());
    spec.init_containers.as_mut().unwrap()[0].image = Some("x:2".to_owned());
    check(&world.settle(), "stop:a signal:a");
    // The worker makes an end of this kind a wait, so that no policy keeps it down.
    world.seen("a").state = State::Waiting;
    world.seen("a").stop = None;
    check(&world.settle(), "image:a start:a/1");
}

#[test]
fn one_container_may_start_all_of_them_anew() {
    let rule =
        json!({"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}});
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}],
        "containers": [{"name": "a"}, {"name": "b", "restartPolicy": "Never", "restartPolicyRules": [rule]}]});
    let mut world = World::new(&spec);
    world.settle();
    world.exits("i", 0);
    world.settle();
    world.exits("b", 42);
    world.observed.starts_over = true;
    check(&world.settle(), "stop:a signal:a");
    world.exits("a", 143);
    check(&world.settle(), "anew image:i start:i/1");
    world.exits("i", 0);
    check(&world.settle(), "image:a image:b start:a/1 start:b/1");
    world.exits("b", 1);
    check(&world.settle(), "");
}

#[test]
fn a_pod_starts_and_is_deleted() {
    let mut world = World::new(&json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let first = "sandbox volumes image:a image:b start:a/0 start:b/0";
    check(&world.settle(), first);
    assert_eq!(world.wake_in(), None, "an idle pod needs no timer");
    world.delete(30);
    let down = "ending stop:a stop:b signal:a signal:b";
    check(&world.settle(), down);
    assert_eq!(world.wake_in(), Some(30));
    world.exits("a", 0);
    check(&world.settle(), "");
    world.after(30);
    check(&world.settle(), "kill:b");
    world.exits("b", 137);
    check(&world.settle(), "-sandbox -volumes delete");
}

#[test]
fn a_shorter_grace_applies_at_once() {
    let mut world = World::new(&json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.delete(300);
    world.settle();
    world.after(10);
    assert_eq!(world.wake_in(), Some(290));
    world.delete(5);
    check(&world.settle(), "kill:a");
}

#[test]
fn a_vanished_pod_gets_two_seconds() {
    let mut world = World::new(&json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.observed.gone = true;
    check(&world.settle(), "ending stop:a signal:a");
    assert_eq!(world.wake_in(), Some(2));
    world.exits("a", 0);
    check(&world.settle(), "-sandbox -volumes");
}

#[test]
fn init_containers_run_in_order_and_sidecars_hold_up_until_started() {
    let mut world = World::new(&json!({
        "initContainers": [
            {"name": "i"}, {"name": "s", "restartPolicy": "Always"}, {"name": "t", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}],
    }));
    check(&world.settle(), "sandbox volumes image:i start:i/0");
    world.exits("i", 1);
    check(&world.settle(), "image:i start:i/1");
    world.exits("i", 1);
    check(&world.settle(), "");
    assert_eq!(world.wake_in(), Some(10));
    world.after(10);
    check(&world.settle(), "image:i start:i/2");
    world.exits("i", 0);
    let rest = "image:s start:s/0 image:t start:t/0 image:a start:a/0";
    check(&world.settle(), rest);
    world.exits("s", 0);
    check(&world.settle(), "image:s start:s/1");
    world.delete(30);
    check(&world.settle(), "ending stop:a signal:a");
    world.exits("a", 0);
    check(&world.settle(), "stop:t signal:t");
    world.exits("t", 0);
    check(&world.settle(), "stop:s signal:s");
    world.exits("s", 0);
    check(&world.settle(), "-sandbox -volumes delete");
}

#[test]
fn a_sidecar_that_has_not_started_holds_up_the_rest() {
    let mut world = World::new(&json!({
        "initContainers": [{"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}],
    }));
    world.settle();
    world.exits("a", 1);
    world.seen("a").state = State::Waiting;
    world.seen("s").probes.is_started = false;
    check(&world.settle(), "");
    world.seen("s").probes.is_started = true;
    check(&world.settle(), "image:a start:a/1");
}

#[test]
fn containers_start_one_after_the_other() {
    let mut world = World::new(&json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let images = "sandbox volumes image:a image:b start:a/0 start:b/0";
    check(&world.settle(), images);
    // The first one still starts, or its hook runs: the second has its image and waits.
    let mut world = World::new(&json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let start = Job::Start("a".to_owned());
    world.observed.busy.insert(start.clone());
    check(&world.settle(), "sandbox volumes image:b");
    world.act(&Step::EnsureImage {
        container: "a".to_owned(),
        attempt: 0,
    });
    world.act(&Step::Start {
        container: "a".to_owned(),
        attempt: 0,
        crashes: 0,
    });
    check(&world.settle(), "");
    world.observed.busy.remove(&start);
    check(&world.settle(), "start:b/0");
    // One that waits for its time holds up nobody.
    let mut world = World::new(&json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    world.seen("a").failure = Some(Failure {
        reason: "CreateContainerConfigError".to_owned(),
        message: String::new(),
        retry_at: Timestamp::from_second(10).unwrap(),
    });
    check(&world.settle(), "sandbox volumes image:b start:b/0");
}

#[test]
fn crashes_back_off() {
    let mut world = World::new(&json!({"containers": [{"name": "a"}]}));
    world.settle();
    for (attempt, delay) in [(1, 0), (2, 10), (3, 20), (4, 40)] {
        world.exits("a", 1);
        if delay > 0 {
            world.settle();
            assert_eq!(world.wake_in(), Some(delay), "attempt {attempt}");
            world.after(delay);
        }
        let told = world.settle().join(" ");
        assert!(told.ends_with(&format!("start:a/{attempt}")), "{told}");
    }
}

#[test]
fn a_pod_that_is_over_is_dismantled_but_not_deleted() {
    for (policy, codes, is_over) in [
        ("Never", [0, 1], true),
        ("OnFailure", [0, 0], true),
        ("OnFailure", [0, 1], false),
        ("Always", [0, 0], false),
    ] {
        let spec = json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}],
        });
        let mut world = World::new(&spec);
        world.settle();
        world.exits("a", codes[0]);
        world.exits("b", codes[1]);
        if is_over {
            check(&world.settle(), "ending stop:s signal:s");
            world.exits("s", 0);
            check(&world.settle(), "-sandbox -volumes");
        } else {
            let told = world.settle().join(" ");
            assert!(told.contains("start:b/1"), "{policy} {codes:?}: {told}");
        }
    }
}

#[test]
fn an_init_container_that_fails_for_good_ends_the_pod() {
    let mut world = World::new(&json!({
        "restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}],
    }));
    world.settle();
    world.exits("i", 1);
    check(&world.settle(), "ending -sandbox -volumes");
}

#[test]
fn the_deadline_ends_the_pod() {
    let mut world = World::new(&json!({"activeDeadlineSeconds": 5, "containers": [{"name": "a"}]}));
    world.settle();
    assert_eq!(world.wake_in(), Some(5));
    world.after(5);
    let told = "fail:DeadlineExceeded ending stop:a signal:a";
    check(&world.settle(), told);
}

#[test]
fn a_dead_sandbox_is_made_again() {
    let mut world = World::new(&json!({
        "initContainers": [{"name": "i"}], "containers": [{"name": "a"}],
    }));
    world.settle();
    world.exits("i", 0);
    world.settle();
    world.exits("a", 255);
    world.observed.sandbox = Sandbox::Dead;
    let told = world.settle().join(" ");
    assert!(told.starts_with("-sandbox"), "{told}");
    assert!(
        told.ends_with("sandbox image:i start:i/1"),
        "init containers run again: {told}"
    );
    world.exits("i", 0);
    check(&world.settle(), "start:a/1");
}

#[test]
fn an_unhealthy_container_is_stopped_and_restarted() {
    let mut world = World::new(&json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.seen("a").probes.unhealthy = Some(Unhealthy {
        probe: "liveness",
        grace_seconds: Some(4),
    });
    check(&world.settle(), "stop:a signal:a");
    assert_eq!(world.wake_in(), Some(4));
    world.exits("a", 143);
    check(&world.settle(), "image:a start:a/1");
}

#[test]
fn a_hook_runs_before_the_signal_and_inside_the_grace() {
    let hook = json!({"preStop": {"sleep": {"seconds": 60}}});
    let mut world = World::new(&json!({"containers": [{"name": "a", "lifecycle": hook}]}));
    world.settle();
    world.delete(10);
    check(&world.settle(), "ending stop:a hook:a");
    assert_eq!(world.wake_in(), Some(10));
    world.after(10);
    check(&world.settle(), "signal:a");
    assert_eq!(world.wake_in(), Some(2));
    world.after(2);
    check(&world.settle(), "kill:a");
}

#[test]
fn failures_wait_for_their_time() {
    let mut world = World::new(&json!({"containers": [{"name": "a"}]}));
    let failure = Failure {
        reason: "CreateContainerConfigError".to_owned(),
        message: String::new(),
        retry_at: Timestamp::from_second(10).unwrap(),
    };
    world.seen("a").failure = Some(failure);
    check(&world.settle(), "sandbox volumes");
    assert_eq!(world.wake_in(), Some(10));
    world.observed.sandbox = Sandbox::Failed {
        retry_at: Timestamp::from_second(3).unwrap(),
        failures: 1,
    };
    assert_eq!(world.wake_in(), Some(3));
}

#[test]
fn a_stopped_daemon_keeps_data_and_object() {
    let mut world = World::new(&json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.observed.shutdown = Some(5);
    check(&world.settle(), "ending stop:a signal:a");
    assert_eq!(world.wake_in(), Some(5));
    world.exits("a", 0);
    check(&world.settle(), "-sandbox -volumes");
}
