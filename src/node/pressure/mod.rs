//! Pressure: the machine runs short of something, or a pod takes more of the disk than it may.
//!
//! One loop per agent. It looks at the machine once at start and then every [`PERIOD`], but only while the node has
//! pods or a condition stands: without pods nothing here could help, and an idle cluster does nothing. A look is a
//! handful of system calls. It is a timer and not the kernel's pressure notifications (PSI), because those tell of
//! stalls and not of what is left, exist for memory alone, and are missing on many kernels; a memory limit that is
//! really hit ends in the kernel's own OOM kill long before any notification could help.
//!
//! Directories are walked only for pods with a limit on local storage, and never for more than a twentieth of the time.
//! Deciding is pure: [`threshold`], [`rank`], [`local`]. One pod is evicted per look, as upstream does.

mod local;
mod measure;
mod rank;
pub mod threshold;

use super::{
    collect::Collector,
    host::Host,
    observed::Verdict,
    qos::{self, Class},
    spec,
};
use crate::{
    api::{object::Object, placement},
    client::EventKind,
    config::KubeletConfig,
    task::{Stop, Tasks, clock},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Taint};
use rank::Candidate;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use threshold::{Met, STORAGE, Supplies};
use tokio::time::Instant;
use tracing::info;

/// As the kubelet's.
const PERIOD: Duration = Duration::from_secs(10);
/// Walks of directories take at most this part of the time.
const WALK_SHARE: u32 = 20;
const TRANSITION_SECONDS: u64 = 300;
/// Of a pod that is evicted: its files and memory are needed.
const GRACE_SECONDS: i64 = 1;

/// The node's conditions, shared with its status and with admission.
#[derive(Default)]
pub struct Pressure(Mutex<BTreeMap<&'static str, Timestamp>>);

impl Pressure {
    /// The conditions that stand: `MemoryPressure` …
    #[must_use]
    pub fn conditions(&self) -> BTreeSet<&'static str> {
        let seen = self.0.lock().expect("no panic while locked");
        seen.keys().copied().collect()
    }

    /// Takes what was seen now; conditions not seen for a while go. True when any has come or gone.
    fn see(
        &self,
        now: Timestamp,
        met: &BTreeSet<&'static str>,
        transition: SignedDuration,
    ) -> bool {
        let mut seen = self.0.lock().expect("no panic while locked");
        let before: Vec<&str> = seen.keys().copied().collect();
        seen.extend(met.iter().map(|condition| (*condition, now)));
        seen.retain(|condition, last| {
            met.contains(condition) || now.duration_since(*last) < transition
        });
        !seen.keys().copied().eq(before)
    }
}

/// What has to stay free of pods: memory and disk, in bytes.
#[must_use]
pub fn reserve(config: &KubeletConfig, memory: i64, storage: i64) -> (i64, i64) {
    let of = |name: &str, capacity: i64| {
        let signal = threshold::SIGNALS.iter().find(|signal| signal.name == name);
        let amount = signal.and_then(|signal| threshold::threshold(config, signal, capacity));
        amount.unwrap_or(0).clamp(0, capacity.max(0))
    };
    (
        of("memory.available", memory),
        of("nodefs.available", storage),
    )
}

/// Why a pod may not begin on a node under pressure. Pure.
#[must_use]
pub fn admit(conditions: &BTreeSet<&'static str>, pod: &Pod) -> Option<Verdict> {
    if conditions.is_empty() || rank::is_critical(pod) {
        return None;
    }
    let is_memory_alone = conditions.iter().eq(["MemoryPressure"].iter());
    let spec = spec::of(pod);
    let taint = Taint {
        key: "node.kubernetes.io/memory-pressure".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    let mut tolerations = spec.tolerations.iter().flatten();
    let tolerates = tolerations.any(|toleration| placement::tolerates(toleration, &taint));
    if is_memory_alone && (qos::class(&spec) != Class::BestEffort || tolerates) {
        return None;
    }
    let all: Vec<&str> = conditions.iter().copied().collect();
    Some(Verdict {
        reason: "Evicted".to_owned(),
        message: format!("The node had condition: [{}]. ", all.join(" ")),
        is_rejection: true,
        ..Verdict::default()
    })
}

/// Until the daemon stops.
pub async fn watch(host: &Arc<Host>, mut stop: Stop) {
    let mut watcher = Watcher {
        host: Arc::clone(host),
        collector: Collector::default(),
        evicted: BTreeSet::new(),
        walk_at: None,
    };
    loop {
        let has_pods = watcher.look().await;
        let is_calm = !has_pods && host.pressure.conditions().is_empty();
        tokio::select! {
            () = tokio::time::sleep(PERIOD), if !is_calm => {}
            () = host.pods_came.notified(), if is_calm => {}
            // A pull is what fills a disk.
            () = host.image_came.notified() => watcher.collector.collect(host).await,
            () = stop.stopped() => return,
        }
    }
}

struct Watcher {
    host: Arc<Host>,
    collector: Collector,
    /// By uid: those on their way out are not chosen again.
    evicted: BTreeSet<String>,
    /// When directories may be walked again.
    walk_at: Option<Instant>,
}

impl Watcher {
    /// Whether the node has pods.
    async fn look(&mut self) -> bool {
        let pods = self.pods();
        self.evicted
            .retain(|uid| pods.iter().any(|pod| pod.uid() == uid));
        if !pods.is_empty() {
            self.collector.collect_if_due(&self.host).await;
        }
        if self.enforce_limits(&pods).await {
            return true;
        }
        let met = self.met().await;
        self.tell(&met);
        if let Some(first) = met.first() {
            self.relieve(*first, &pods).await;
        }
        !pods.is_empty()
    }

    /// Pods that run here and are not about to end, in their newest form.
    fn pods(&self) -> Vec<Arc<Pod>> {
        let admitted = self.host.admitted.lock().expect("no panic while locked");
        let keys = admitted.values().map(|pod| pod.key());
        let pods = keys.filter_map(|key| self.host.caches.pods.get(&key));
        let lives = |pod: &Arc<Pod>| {
            let status = pod.status.as_ref();
            let phase = status.and_then(|status| status.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed")) && admitted.contains_key(pod.uid())
        };
        pods.filter(lives).collect()
    }

    async fn supplies(&self) -> Supplies {
        let state = self.host.layout.state.clone();
        let read = Tasks::blocking(move || threshold::read(&state)).await;
        read.unwrap_or_default()
    }

    async fn met(&self) -> Vec<Met> {
        threshold::met(&self.host.cluster.kubelet, &self.supplies().await)
    }

    /// Brings the node's conditions up to date.
    fn tell(&self, met: &[Met]) {
        let config = &self.host.cluster.kubelet;
        let seconds = config.eviction_pressure_transition_seconds;
        let seconds = i64::try_from(seconds.unwrap_or(TRANSITION_SECONDS)).unwrap_or(i64::MAX);
        let conditions = met.iter().map(|met| met.signal.condition).collect();
        let transition = SignedDuration::from_secs(seconds);
        let pressure = &self.host.pressure;
        if pressure.see(clock::now(), &conditions, transition) {
            let conditions = pressure.conditions();
            info!(node = self.host.name(), ?conditions, "pressure has changed");
            self.host.node_changed.notify_one();
        }
    }

    /// First what nobody misses, then a pod.
    async fn relieve(&mut self, first: Met, pods: &[Arc<Pod>]) {
        let resource = first.signal.resource;
        let text = format!("Attempting to reclaim {resource}");
        self.host
            .node_event(EventKind::Warning, "EvictionThresholdMet", &text);
        if first.signal.condition == "DiskPressure" {
            self.collector.collect_all(&self.host).await;
            let still = self.met().await;
            if !still.iter().any(|met| met.signal.name == first.signal.name) {
                return;
            }
        }
        let mut candidates = Vec::new();
        for pod in pods.iter().filter(|pod| self.is_choosable(pod)) {
            let used = measure::pod(&self.host, pod, resource == STORAGE).await;
            let pod = Arc::clone(pod);
            candidates.push(Candidate { pod, used });
        }
        rank::rank(&mut candidates, resource);
        if let Some(chosen) = candidates.first() {
            self.evict(&chosen.pod, &rank::message(&first, chosen));
        }
    }

    fn is_choosable(&self, pod: &Pod) -> bool {
        !self.evicted.contains(pod.uid()) && !pod.is_deleting() && !rank::is_critical(pod)
    }

    /// Whether a pod had to go because of its own limits.
    async fn enforce_limits(&mut self, pods: &[Arc<Pod>]) -> bool {
        let begun = Instant::now();
        if self.walk_at.is_some_and(|at| begun < at) {
            return false;
        }
        let mut has_evicted = false;
        for pod in pods.iter().filter(|pod| local::has_limits(pod)) {
            if self.evicted.contains(pod.uid()) {
                continue;
            }
            let used = measure::pod(&self.host, pod, true).await;
            if let Some(message) = local::exceeded(pod, &used) {
                self.evict(pod, &message);
                has_evicted = true;
            }
        }
        self.walk_at = Some(begun + begun.elapsed() * WALK_SHARE);
        has_evicted
    }

    fn evict(&mut self, pod: &Pod, message: &str) {
        info!(pod = %pod.key(), message, "evict");
        self.host
            .event(pod, None, EventKind::Warning, "Evicted", message);
        self.evicted.insert(pod.uid().to_owned());
        if let Some(worker) = self.host.worker(pod.uid()) {
            let verdict = Verdict {
                reason: "Evicted".to_owned(),
                message: message.to_owned(),
                grace_seconds: Some(GRACE_SECONDS),
                disruption: Some(("TerminationByKubelet".to_owned(), message.to_owned())),
                is_rejection: false,
            };
            worker.tell(|mail| mail.verdict = Some(verdict));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn conditions_stand_for_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let period = SignedDuration::from_secs(60);
        let pressure = Pressure::default();
        let memory = BTreeSet::from(["MemoryPressure"]);
        let none = BTreeSet::new();
        assert!(!pressure.see(at(0), &none, period));
        assert!(pressure.see(at(10), &memory, period));
        assert!(!pressure.see(at(20), &memory, period));
        assert!(!pressure.see(at(79), &none, period));
        assert_eq!(pressure.conditions(), memory);
        assert!(pressure.see(at(80), &none, period));
        assert!(pressure.conditions().is_empty());
    }

    #[test]
    fn pods_under_pressure() {
        let requests = json!({"requests": {"cpu": "1m"}});
        let spec = |resources: &Value, more: Value| {
            let mut spec = json!({"containers": [{"name": "c", "resources": resources}]});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            json!({"spec": spec})
        };
        let toleration = json!({"tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]});
        let memory = BTreeSet::from(["MemoryPressure"]);
        let both = BTreeSet::from(["MemoryPressure", "DiskPressure"]);
        let cases = [
            (&BTreeSet::new(), spec(&json!({}), json!({})), ""),
            (
                &memory,
                spec(&json!({}), json!({})),
                "The node had condition: [MemoryPressure]. ",
            ),
            (&memory, spec(&json!({}), toleration.clone()), ""),
            (&memory, spec(&requests, json!({})), ""),
            (
                &both,
                spec(&requests, toleration),
                "The node had condition: [DiskPressure MemoryPressure]. ",
            ),
            (
                &both,
                spec(&requests, json!({"priority": 2_000_000_000})),
                "",
            ),
        ];
        for (conditions, pod, expected) in cases {
            let verdict = admit(conditions, &serde_json::from_value(pod.clone()).unwrap());
            let message = verdict.map(|verdict| verdict.message).unwrap_or_default();
            assert_eq!(message, expected, "{pod}");
        }
    }

    #[test]
    fn what_stays_free_follows_the_thresholds() {
        let mut config = KubeletConfig::default();
        assert_eq!(reserve(&config, 8 << 30, 10 << 30), (100 << 20, 1 << 30));
        assert_eq!(reserve(&config, 8 << 30, 1 << 40).1, 2 << 30);
        config
            .set("kubelet.eviction-hard=memory.available<100%")
            .unwrap();
        assert_eq!(reserve(&config, 8 << 30, 10 << 30), (8 << 30, 0));
    }
}
