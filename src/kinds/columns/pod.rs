//! Pods: their status in one word.

use super::cell::{
    AGE, NAME, NONE, age, condition, field, flag, has_condition, instant, list, number, string,
    text_or, wide,
};
use crate::kinds::Column;
use jiff::Timestamp;
use serde_json::Value;

pub const POD: &[Column] = &[
    NAME,
    string("Ready", |pod, now| {
        let summary = Summary::of(pod, now);
        format!("{}/{}", summary.ready, summary.total).into()
    }),
    string("Status", |pod, now| Summary::of(pod, now).reason.into()),
    string("Restarts", |pod, now| Summary::of(pod, now).restarts.into()),
    AGE,
    wide("IP", |pod, _| match field(pod, "/status/podIPs/0/ip") {
        "" => text_or(pod, "/status/podIP", NONE),
        ip => ip.into(),
    }),
    wide("Node", |pod, _| text_or(pod, "/spec/nodeName", NONE)),
    wide("Nominated Node", |pod, _| {
        text_or(pod, "/status/nominatedNodeName", NONE)
    }),
    wide("Readiness Gates", |pod, _| {
        let gates = list(pod, "/spec/readinessGates");
        let good = gates
            .iter()
            .filter(|gate| has_condition(pod, field(gate, "/conditionType")));
        match gates.len() {
            0 => NONE.into(),
            all => format!("{}/{all}", good.count()).into(),
        }
    }),
];

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: String,
}

/// Restarts of some containers, and when the last one ended.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += number(status, "/restartCount");
        self.last = self
            .last
            .max(instant(status, "/lastState/terminated/finishedAt"));
    }

    fn shown(self, now: Timestamp) -> String {
        match (self.count, self.last) {
            (0, _) | (_, None) => self.count.to_string(),
            (count, Some(last)) => {
                let since = serde_json::json!({"at": last.to_string()});
                format!("{count} ({} ago)", age(&since, "/at", now))
            }
        }
    }
}

impl Summary {
    fn of(pod: &Value, now: Timestamp) -> Summary {
        let inits = list(pod, "/spec/initContainers");
        let sidecars = inits.iter().filter(|init| is_sidecar(init)).count();
        let mut summary = Summary {
            ready: 0,
            total: list(pod, "/spec/containers").len() + sidecars,
            reason: match field(pod, "/status/reason") {
                "" => field(pod, "/status/phase").to_owned(),
                reason => reason.to_owned(),
            },
            restarts: String::new(),
        };
        if condition(pod, "PodScheduled").is_some_and(|found| found["reason"] == "SchedulingGated")
        {
            summary.reason = "SchedulingGated".to_owned();
        }
        let (mut restarts, of_sidecars, is_initializing) = summary.initialize(pod, inits);
        if !is_initializing || has_condition(pod, "Initialized") {
            restarts = of_sidecars;
            summary.run(pod, &mut restarts);
        }
        let phase = field(pod, "/status/phase");
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            if field(pod, "/status/reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(phase, "Failed" | "Succeeded") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary.restarts = restarts.shown(now);
        summary
    }

    /// Looks at the init containers up to the first that is not done. Answers all restarts, those of sidecars, and
    /// whether one was not done.
    fn initialize(&mut self, pod: &Value, inits: &[Value]) -> (Restarts, Restarts, bool) {
        let (mut all, mut of_sidecars) = (Restarts::default(), Restarts::default());
        for (index, status) in list(pod, "/status/initContainerStatuses")
            .iter()
            .enumerate()
        {
            all.add(status);
            let spec = inits.iter().find(|init| init["name"] == status["name"]);
            let is_sidecar = spec.is_some_and(is_sidecar);
            if is_sidecar {
                of_sidecars.add(status);
            }
            let state = &status["state"];
            let waiting = field(state, "/waiting/reason");
            if let Some(terminated) = state.get("terminated") {
                if number(terminated, "/exitCode") == 0 {
                    continue;
                }
                self.reason = format!("Init:{}", ending(terminated));
            } else if is_sidecar && flag(status, "/started") {
                self.ready += usize::from(flag(status, "/ready"));
                continue;
            } else if !matches!(waiting, "" | "PodInitializing") {
                self.reason = format!("Init:{waiting}");
            } else {
                self.reason = format!("Init:{index}/{}", inits.len());
            }
            return (all, of_sidecars, true);
        }
        (all, of_sidecars, false)
    }

    fn run(&mut self, pod: &Value, restarts: &mut Restarts) {
        let mut is_running = false;
        let mut failure = None;
        for status in list(pod, "/status/containerStatuses").iter().rev() {
            restarts.add(status);
            let state = &status["state"];
            let waiting = field(state, "/waiting/reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if let Some(terminated) = state.get("terminated") {
                self.reason = ending(terminated);
                if number(terminated, "/exitCode") != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if flag(status, "/ready") && state.get("running").is_some() {
                is_running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && is_running {
            self.reason = match has_condition(pod, "Ready") {
                true => "Running".to_owned(),
                false => failure.unwrap_or_else(|| "NotReady".to_owned()),
            };
        }
    }
}

fn is_sidecar(init: &Value) -> bool {
    init["restartPolicy"] == "Always"
}

/// Why a container ended, or how.
fn ending(terminated: &Value) -> String {
    match (field(terminated, "/reason"), number(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(pod: &Value) -> String {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let summary = Summary::of(pod, now);
        format!(
            "{}/{} {} {}",
            summary.ready, summary.total, summary.reason, summary.restarts
        )
    }

    #[test]
    fn the_worst_news_is_the_status() {
        let container = |state: Value, restarts: u32| {
            json!({
                "name": "c", "ready": state.get("running").is_some(), "restartCount": restarts, "state": state,
                "lastState": {"terminated": {"finishedAt": "2026-11-21T09:58:00Z"}},
            })
        };
        let pod = |status: Value| json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}, "status": status});
        let with = |state: Value, restarts| {
            pod(json!({"phase": "Running", "containerStatuses": [container(state, restarts)]}))
        };
        let init = |state: Value| {
            let mut pod =
                pod(json!({"phase": "Pending", "initContainerStatuses": [container(state, 0)]}));
            pod["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
            pod
        };
        let mut leaving = with(json!({"running": {}}), 0);
        leaving["metadata"]["deletionTimestamp"] = "2026-11-21T10:00:00Z".into();
        let cases = [
            (pod(json!({"phase": "Pending"})), "0/1 Pending 0"),
            (
                pod(json!({"phase": "Failed", "reason": "Evicted"})),
                "0/1 Evicted 0",
            ),
            (with(json!({"running": {}}), 0), "1/1 Running 0"),
            (
                with(json!({"waiting": {"reason": "CrashLoopBackOff"}}), 3),
                "0/1 CrashLoopBackOff 3 (2m ago)",
            ),
            (
                with(json!({"terminated": {"exitCode": 2}}), 0),
                "0/1 ExitCode:2 0",
            ),
            (
                with(json!({"terminated": {"exitCode": 137, "signal": 9}}), 0),
                "0/1 Signal:9 0",
            ),
            (
                with(
                    json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
                    0,
                ),
                "0/1 Completed 0",
            ),
            (init(json!({"running": {}})), "0/1 Init:0/2 0"),
            (
                init(json!({"terminated": {"exitCode": 1, "reason": "Error"}})),
                "0/1 Init:Error 0",
            ),
            (
                init(json!({"waiting": {"reason": "ImagePullBackOff"}})),
                "0/1 Init:ImagePullBackOff 0",
            ),
            (leaving, "1/1 Terminating 0"),
        ];
        for (pod, expected) in cases {
            assert_eq!(shown(&pod), expected, "{pod}");
        }
    }
}
