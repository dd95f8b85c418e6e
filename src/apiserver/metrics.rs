//! Counters of requests, in Prometheus' text form.
//!
//! Label sets are bounded: verbs, built-in kinds and status codes. Requests for anything else count as one.

use super::listen::answer::{self, Answer};
use crate::{api::call::Verb, kinds::Kind, task::meter};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// Upper bounds in seconds, as upstream's.
const BUCKETS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

#[derive(Default)]
pub struct Metrics {
    reading: AtomicI64,
    mutating: AtomicI64,
    requests: Mutex<BTreeMap<Labels, Counters>>,
}

pub struct Running<'a>(&'a AtomicI64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request is counted as.
#[derive(Clone)]
pub struct Asked {
    pub verb: Cow<'static, str>,
    /// `None` for paths and unknown kinds: their number is not bounded.
    pub kind: Option<&'static Kind>,
    pub subresource: &'static str,
}

impl Asked {
    pub fn of(
        verb: Cow<'static, str>,
        kind: Option<&'static Kind>,
        subresource: Option<&str>,
    ) -> Asked {
        let mut known = kind.map_or(&[][..], |kind| kind.subresources).iter();
        let known = known.find(|known| Some(**known) == subresource);
        Asked {
            verb,
            kind,
            subresource: known.copied().unwrap_or_default(),
        }
    }
}

/// As upstream's metrics name it: after the method, where that tells enough.
#[must_use]
pub fn name(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: Cow<'static, str>,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    code: u16,
}

#[derive(Clone, Debug, Default)]
struct Counters {
    count: u64,
    seconds: f64,
    /// One per bucket, not cumulated.
    buckets: [u64; BUCKETS.len()],
}

impl Metrics {
    /// Counts a request as running until the guard is dropped.
    pub fn begin(&self, is_mutating: bool) -> Running<'_> {
        let running = match is_mutating {
            true => &self.mutating,
            false => &self.reading,
        };
        running.fetch_add(1, Ordering::Relaxed);
        Running(running)
    }

    /// A request was answered; of watches and sessions, the answer has begun.
    pub fn answered(&self, request: &Asked, code: u16, took: Duration) {
        let kind = request.kind;
        let labels = Labels {
            verb: request.verb.clone(),
            group: kind.map_or("", |kind| kind.group),
            version: kind.map_or("", |kind| kind.version),
            resource: kind.map_or("", |kind| kind.plural),
            subresource: request.subresource,
            code,
        };
        let mut requests = self.requests.lock().expect("no panic while locked");
        let counters = requests.entry(labels).or_default();
        counters.count += 1;
        counters.seconds += took.as_secs_f64();
        let bucket = BUCKETS
            .iter()
            .position(|&bound| took.as_secs_f64() <= bound);
        if let Some(bucket) = bucket {
            counters.buckets[bucket] += 1;
        }
    }

    /// `objects` are the numbers of stored objects by resource.
    pub fn answer(&self, objects: &BTreeMap<String, u64>) -> Answer {
        let text = self.text(objects) + &meter::text();
        answer::bytes(200, "text/plain; version=0.0.4; charset=utf-8", text)
    }

    fn text(&self, objects: &BTreeMap<String, u64>) -> String {
        let requests = self.requests.lock().expect("no panic while locked").clone();
        let mut out = String::new();
        out.push_str("# HELP apiserver_current_inflight_requests Maximal number of currently used inflight request limit of this apiserver per request kind in last second.\n");
        out.push_str("# TYPE apiserver_current_inflight_requests gauge\n");
        for (kind, running) in [("mutating", &self.mutating), ("readOnly", &self.reading)] {
            let running = running.load(Ordering::Relaxed);
            let _ = writeln!(
                out,
                "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {running}"
            );
        }
        out.push_str("# HELP apiserver_storage_objects Number of stored objects at the time of last check split by kind.\n# TYPE apiserver_storage_objects gauge\n");
        for (resource, count) in objects {
            let _ = writeln!(
                out,
                "apiserver_storage_objects{{resource=\"{resource}\"}} {count}"
            );
        }
        out.push_str("# HELP apiserver_request_total Requests answered.\n# TYPE apiserver_request_total counter\n");
        for (labels, counters) in &requests {
            let _ = writeln!(
                out,
                "apiserver_request_total{{{},code=\"{}\"}} {}",
                labels.shown(),
                labels.code,
                counters.count
            );
        }
        out.push_str("# HELP apiserver_request_duration_seconds Time until the answer began.\n");
        out.push_str("# TYPE apiserver_request_duration_seconds histogram\n");
        for (labels, counters) in &merged(&requests) {
            durations(&mut out, labels, counters);
        }
        out
    }
}

/// Without the code.
fn merged(requests: &BTreeMap<Labels, Counters>) -> BTreeMap<String, Counters> {
    let mut all: BTreeMap<String, Counters> = BTreeMap::new();
    for (labels, counters) in requests {
        let sum = all.entry(labels.shown()).or_default();
        sum.count += counters.count;
        sum.seconds += counters.seconds;
        for (sum, count) in sum.buckets.iter_mut().zip(counters.buckets) {
            *sum += count;
        }
    }
    all
}

fn durations(out: &mut String, labels: &str, counters: &Counters) {
    let name = "apiserver_request_duration_seconds";
    let mut below = 0;
    for (bound, count) in BUCKETS.iter().zip(counters.buckets) {
        below += count;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(
        out,
        "{name}_bucket{{{labels},le=\"+Inf\"}} {}",
        counters.count
    );
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", counters.seconds);
    let _ = writeln!(out, "{name}_count{{{labels}}} {}", counters.count);
}

impl Labels {
    fn shown(&self) -> String {
        let Labels {
            verb,
            group,
            version,
            resource,
            subresource,
            ..
        } = self;
        format!(
            "group=\"{group}\",resource=\"{resource}\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn requests_are_counted_by_what_they_were() {
        let metrics = Metrics::default();
        let request = Asked {
            verb: name(Verb::List).into(),
            kind: kinds::find("", "v1", "pods"),
            subresource: "",
        };
        let _running = metrics.begin(false);
        metrics.answered(&request, 200, Duration::from_millis(30));
        let objects = BTreeMap::from([("deployments.apps".to_owned(), 3)]);
        let text = metrics.text(&objects);
        let labels = "group=\"\",resource=\"pods\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
        for line in [
            &format!("apiserver_request_total{{{labels},code=\"200\"}} 1\n"),
            &format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.025\"}} 0\n"),
            &format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.05\"}} 1\n"),
            "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n",
            "apiserver_storage_objects{resource=\"deployments.apps\"} 3\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
