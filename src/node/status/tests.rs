//! What people read of a pod, fact by fact.

use super::*;
use crate::node::{
    observed::{Ended, Failure, Hook, Image, Seen},
    resize::{InProgress, Pending},
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(spec: &Value) -> Pod {
    let meta = json!({"name": "p", "namespace": "ns", "uid": "u", "generation": 3});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

fn running() -> Seen {
    let mut seen = Seen {
        attempt: Some(0),
        state: State::Running {
            id: "id".to_owned(),
            started_at: at(5),
        },
        image_names: (
            "docker.io/library/i:1".to_owned(),
            "docker.io/library/i@sha256:1".to_owned(),
        ),
        ..Seen::default()
    };
    seen.probes.is_started = true;
    seen.probes.is_ready = true;
    seen
}

fn ended(code: i32) -> Seen {
    Seen {
        attempt: Some(0),
        state: State::Ended(Ended {
            id: "id".to_owned(),
            code,
            reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
            started_at: Some(at(5)),
            finished_at: at(9),
            ..Ended::default()
        }),
        ..Seen::default()
    }
}

fn waiting(image: Image) -> Seen {
    Seen {
        image,
        ..Seen::default()
    }
}

fn see(spec: &Value, seen: &[(&str, Seen)], change: impl Fn(&mut Pod, &mut Observed)) -> PodStatus {
    let mut pod = pod(spec);
    let mut observed = Observed {
        started_at: Some(at(1)),
        sandbox: Sandbox::Ready {
            address: Ipv4Addr::new(10, 244, 0, 7),
        },
        seen: seen
            .iter()
            .map(|(name, seen)| ((*name).to_owned(), seen.clone()))
            .collect(),
        ..Observed::default()
    };
    change(&mut pod, &mut observed);
    status(&pod, &observed, Ipv4Addr::new(10, 244, 0, 1), at(10))
}

/// `Ready=False(ContainersNotReady: …)`
fn condition(status: &PodStatus, kind: &str) -> String {
    let mut all = status.conditions.iter().flatten();
    let Some(found) = all.find(|found| found.type_ == kind) else {
        return String::new();
    };
    let reason = found.reason.as_deref().unwrap_or_default();
    let message = found.message.as_deref().unwrap_or_default();
    format!("{} {reason} {message}", found.status)
        .trim()
        .to_owned()
}

/// The reason of the first main container's state, as `kubectl get` shows it.
fn reason(status: &PodStatus) -> String {
    let state = status.container_statuses.as_ref().unwrap()[0]
        .state
        .clone()
        .unwrap();
    if let Some(waiting) = state.waiting {
        let message = waiting.message.unwrap_or_default();
        return format!("{} {message}", waiting.reason.unwrap())
            .trim()
            .to_owned();
    }
    if let Some(ended) = state.terminated {
        return format!("{} {}", ended.reason.unwrap(), ended.exit_code);
    }
    "running".to_owned()
}

#[test]
fn phases() {
    let one = json!([{"name": "a"}]);
    let two = json!([{"name": "a"}, {"name": "b"}]);
    let side = json!([{"name": "s", "restartPolicy": "Always"}]);
    let init = json!([{"name": "i"}]);
    let none = json!([]);
    #[rustfmt::skip]
    let cases = [
        ("Always", &none, &one, vec![], "Pending"),
        ("Always", &none, &one, vec![("a", running())], "Running"),
        ("Always", &none, &two, vec![("a", running())], "Pending"),
        ("Always", &none, &one, vec![("a", ended(1))], "Running"),
        ("OnFailure", &none, &one, vec![("a", ended(1))], "Running"),
        ("OnFailure", &none, &one, vec![("a", ended(0))], "Succeeded"),
        ("Never", &none, &one, vec![("a", ended(1))], "Failed"),
        ("Never", &none, &two, vec![("a", ended(1)), ("b", running())], "Running"),
        ("Always", &init, &one, vec![("i", running())], "Pending"),
        ("Always", &init, &one, vec![("i", ended(0)), ("a", running())], "Running"),
        ("Never", &init, &one, vec![("i", ended(1))], "Failed"),
        ("Always", &init, &one, vec![("i", ended(1))], "Pending"),
        ("Always", &side, &one, vec![("s", running())], "Pending"),
        ("Never", &side, &one, vec![("s", ended(1)), ("a", ended(0))], "Succeeded"),
        // Not final before the last container has stopped.
        ("Never", &side, &one, vec![("s", running()), ("a", ended(0))], "Running"),
    ];
    for (policy, init, main, seen, expected) in cases {
        let spec = json!({"restartPolicy": policy, "initContainers": init, "containers": main});
        let status = see(&spec, &seen, |_, _| {});
        let names: Vec<&str> = seen.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            status.phase.as_deref(),
            Some(expected),
            "{policy} {init} {main} {names:?}"
        );
    }
}

#[test]
fn reasons() {
    let failed = |reason: &str, message: &str, since: i64| Image::Failed {
        image: "i:1".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        since: at(since),
        retry_at: at(100),
        failures: 1,
    };
    let mut crashing = ended(1);
    crashing.crashes = 4;
    let mut hook = running();
    hook.post_start = Hook::Running;
    let config = Seen {
        failure: Some(Failure {
            reason: "CreateContainerConfigError".to_owned(),
            message: "secret \"x\" not found".to_owned(),
            retry_at: at(20),
        }),
        ..Seen::default()
    };
    #[rustfmt::skip]
    let cases = [
        (Seen::default(), "ContainerCreating"),
        (running(), "running"),
        (hook, "ContainerCreating"),
        (ended(1), "Error 1"),
        (crashing, "CrashLoopBackOff back-off 1m20s restarting failed container=a pod=p_ns(u)"),
        (waiting(failed("ErrImagePull", "no", 9)), "ErrImagePull no"),
        (waiting(failed("ErrImagePull", "no", 8)), "ImagePullBackOff Back-off pulling image \"i:1\": ErrImagePull: no"),
        (waiting(failed("InvalidImageName", "bad", 0)), "InvalidImageName bad"),
        (config, "CreateContainerConfigError secret \"x\" not found"),
    ];
    for (seen, expected) in cases {
        let spec = json!({"containers": [{"name": "a", "image": "i:1"}]});
        let status = see(&spec, &[("a", seen)], |_, _| {});
        assert_eq!(reason(&status), expected);
    }
    let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    assert_eq!(reason(&see(&spec, &[], |_, _| {})), "PodInitializing");
}

#[test]
fn conditions_follow_the_containers() {
    let spec = json!({
        "readinessGates": [{"conditionType": "x/g"}],
        "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}],
    });
    let status = see(&spec, &[("i", running())], |_, _| {});
    assert_eq!(condition(&status, "PodReadyToStartContainers"), "True");
    assert_eq!(
        condition(&status, "Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [i]"
    );
    let unready = "False ContainersNotReady containers with unready status: [a b]";
    assert_eq!(condition(&status, "Ready"), unready);
    assert_eq!(condition(&status, "ContainersReady"), unready);
    assert_eq!(condition(&status, "PodScheduled"), "True");

    let up = [("i", ended(0)), ("a", running()), ("b", running())];
    let status = see(&spec, &up, |_, _| {});
    assert_eq!(condition(&status, "ContainersReady"), "True");
    assert_eq!(
        condition(&status, "Ready"),
        "False ReadinessGatesNotReady corresponding condition of pod readiness gate \"x/g\" does not exist."
    );
    let status = see(&spec, &up, |_, observed| {
        let gate = json!({"conditions": [{"type": "x/g", "status": "True"},
            {"type": "Initialized", "status": "True", "lastTransitionTime": "1970-01-01T00:00:02Z"}]});
        observed.reported = serde_json::from_value(gate).unwrap();
    });
    assert_eq!(condition(&status, "Ready"), "True");
    let times: Vec<i64> = status
        .conditions
        .iter()
        .flatten()
        .map(|one| one.last_transition_time.as_ref().unwrap().0.as_second())
        .collect();
    assert_eq!(
        times,
        [10, 2, 10, 10, 10],
        "a transition time outlives passes"
    );
}

#[test]
fn a_finished_pod_says_so() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a"}]});
    let status = see(&spec, &[("a", ended(0))], |_, _| {});
    assert_eq!(condition(&status, "Ready"), "False PodCompleted");
    assert_eq!(condition(&status, "Initialized"), "True PodCompleted");
    let status = see(&spec, &[("a", ended(2))], |_, _| {});
    assert_eq!(condition(&status, "Ready"), "False PodFailed");
    let status = see(&spec, &[("a", ended(2))], |_, observed| {
        observed.reported.phase = Some("Succeeded".to_owned());
    });
    assert_eq!(
        status.phase.as_deref(),
        Some("Succeeded"),
        "a final phase is never left"
    );
}

#[test]
fn a_deleted_pod_ends_in_a_final_phase() {
    let delete = |pod: &mut Pod, _: &mut Observed| {
        pod.metadata.deletion_timestamp = Some(Time(at(9)));
    };
    let spec = json!({"containers": [{"name": "a"}]});
    #[rustfmt::skip]
    let cases = [
        (running(), "Running", "running"),
        (ended(0), "Succeeded", "Completed 0"),
        (ended(137), "Failed", "Error 137"),
        (Seen::default(), "Failed", "ContainerCreating"),
    ];
    for (seen, phase, why) in cases {
        let status = see(&spec, &[("a", seen)], delete);
        assert_eq!(
            (status.phase.as_deref(), reason(&status).as_str()),
            (Some(phase), why)
        );
    }
}

#[test]
fn containers_whose_turn_never_came_are_not_blamed() {
    let delete = |pod: &mut Pod, _: &mut Observed| {
        pod.metadata.deletion_timestamp = Some(Time(at(9)));
    };
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}, {"name": "j"}],
        "containers": [{"name": "a"}, {"name": "b"}]});
    let main = |seen: &[(&str, Seen)]| reason(&see(&spec, seen, delete));
    let unknown = "ContainerStatusUnknown 137";
    assert_eq!(main(&[("i", ended(0)), ("j", ended(1))]), "PodInitializing");
    assert_eq!(main(&[("i", ended(0)), ("j", ended(0))]), unknown);
    assert_eq!(main(&[("b", ended(0))]), unknown);
    let status = see(&spec, &[("i", ended(1))], delete);
    let init = status.init_container_statuses.unwrap();
    let states = init.into_iter().map(|status| status.state.unwrap());
    let ended: Vec<bool> = states.map(|state| state.terminated.is_some()).collect();
    assert_eq!(ended, [true, false], "only those that began");
    let status = see(&spec, &[], delete);
    let first = status.init_container_statuses.unwrap()[0].state.clone();
    assert_eq!(first.unwrap().terminated.unwrap().exit_code, 137);
}

#[test]
fn verdicts_show_once_nothing_runs() {
    let verdict = |is_rejection| Verdict {
        reason: "OutOfcpu".to_owned(),
        message: "m".to_owned(),
        is_rejection,
        ..Verdict::default()
    };
    let spec = json!({"containers": [{"name": "a"}]});
    let late = see(&spec, &[("a", running())], |_, observed| {
        observed.verdict = Some(verdict(false));
    });
    assert_eq!(
        (late.phase.as_deref(), late.reason),
        (Some("Running"), None)
    );
    let over = see(&spec, &[("a", ended(0))], |_, observed| {
        observed.verdict = Some(verdict(false));
    });
    assert_eq!(over.phase.as_deref(), Some("Failed"));
    assert_eq!(over.message.as_deref(), Some("m"));
    let rejected = see(&spec, &[], |_, observed| {
        observed.verdict = Some(verdict(true));
    });
    assert_eq!(rejected.message.as_deref(), Some("Pod was rejected: m"));
    assert_eq!(rejected.container_statuses, None);
}

#[test]
fn a_running_pod_in_full() {
    let spec = json!({"containers": [{
        "name": "a", "image": "i:1", "resources": {"requests": {"cpu": "1"}},
        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}],
    }]});
    let mut seen = running();
    seen.attempt = Some(2);
    seen.last = ended(1).ended().cloned();
    let status = serde_json::to_value(see(&spec, &[("a", seen)], |_, _| {})).unwrap();
    let expected = json!([{
        "name": "a", "image": "docker.io/library/i:1", "imageID": "docker.io/library/i@sha256:1",
        "containerID": "kubik://id", "ready": true, "started": true, "restartCount": 2,
        "state": {"running": {"startedAt": "1970-01-01T00:00:05Z"}},
        "lastState": {"terminated": {"containerID": "kubik://id", "exitCode": 1, "reason": "Error",
            "startedAt": "1970-01-01T00:00:05Z", "finishedAt": "1970-01-01T00:00:09Z"}},
        "resources": {"requests": {"cpu": "1"}}, "allocatedResources": {"cpu": "1"},
        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true, "recursiveReadOnly": "Disabled"}],
    }]);
    assert_eq!(status["containerStatuses"], expected);
    let rest = [
        ("phase", json!("Running")),
        ("hostIP", json!("10.244.0.1")),
        ("hostIPs", json!([{"ip": "10.244.0.1"}])),
        ("podIP", json!("10.244.0.7")),
        ("podIPs", json!([{"ip": "10.244.0.7"}])),
        ("startTime", json!("1970-01-01T00:00:01Z")),
        ("qosClass", json!("Burstable")),
        ("observedGeneration", json!(3)),
    ];
    for (field, value) in rest {
        assert_eq!(status[field], value, "{field}");
    }
    assert_eq!(
        SignedDuration::from_secs(2),
        crate::node::plan::PULL_ERROR_SHOWN
    );
}

#[test]
fn a_start_that_failed_is_told_before_back_off() {
    let failed = |since: i64| {
        let mut seen = ended(128);
        if let State::Ended(ended) = &mut seen.state {
            ended.reason = "StartError".to_owned();
            ended.message = "no such file".to_owned();
            ended.finished_at = at(10 - since);
        }
        seen.crashes = 1;
        let spec = json!({"containers": [{"name": "a"}]});
        reason(&see(&spec, &[("a", seen)], |_, _| {}))
    };
    assert_eq!(failed(1), "RunContainerError no such file");
    assert!(failed(3).starts_with("CrashLoopBackOff "));
}

#[test]
fn resources_read_as_granted_and_in_force() {
    let share = |cpu: &str| -> ResourceRequirements {
        serde_json::from_value(json!({"requests": {"cpu": cpu}})).unwrap()
    };
    let spec = json!({"containers": [{"name": "a", "resources": share("3")}]});
    let status = see(&spec, &[("a", running())], |_, observed| {
        let allocation = &mut observed.allocation;
        allocation.granted.insert("a".to_owned(), share("2"));
        allocation.actual.insert("a".to_owned(), share("1"));
        allocation.pending = Some(Pending {
            reason: "Deferred",
            message: "full".to_owned(),
        });
        allocation.in_progress = Some(InProgress {
            error: "below usage".to_owned(),
            ..InProgress::default()
        });
    });
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.resources, Some(share("1")));
    assert_eq!(container.allocated_resources, share("2").requests);
    assert_eq!(condition(&status, "PodResizePending"), "True Deferred full");
    assert_eq!(
        condition(&status, "PodResizeInProgress"),
        "True Error below usage"
    );
}

#[test]
fn an_init_container_that_runs_once_more_reads_as_it_ended() {
    let check = |policy: &str, expected: bool| {
        let spec = json!({"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
        let status = see(&spec, &[("i", running())], |_, observed| {
            let reported = json!({"initContainerStatuses": [{"name": "i", "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}]});
            observed.reported = serde_json::from_value(reported).unwrap();
        });
        let init = &status.init_container_statuses.unwrap()[0];
        let is_over = init.state.as_ref().unwrap().terminated.is_some();
        assert_eq!((is_over, init.ready), (expected, expected), "{policy}");
    };
    check("OnFailure", true);
    check("Never", true);
    check("Always", false);
}
