//! The CPU weight of each class of service: burstable pods share what all of them request, best-effort ones what is
//! left over.
//!
//! Without it one best-effort pod would weigh as much as all guaranteed ones, whose cgroups stand beside its class's.

use super::{
    host::Host,
    qos::{self, Class},
    spec,
};
use crate::task::Stop;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use tracing::warn;

/// Keeps the weights true until the daemon stops. Sleeps until pods come, go or change their requests.
pub async fn keep(host: &Host, mut stop: Stop) {
    let mut written: Option<u64> = None;
    loop {
        let pods: Vec<Arc<Pod>> = {
            let admitted = host.admitted.lock().expect("no panic while locked");
            admitted.values().cloned().collect()
        };
        let burstable = weight(&pods);
        if written != Some(burstable) {
            let root = host.kubepods();
            for (class, shares) in [
                (Class::Burstable, burstable),
                (Class::BestEffort, qos::shares(0)),
            ] {
                let group = format!("{root}{}", class.cgroup());
                if let Err(failure) = host.runtime.set_group(&group, shares).await {
                    warn!(node = host.name(), group, %failure, "weigh a class of pods");
                }
            }
            written = Some(burstable);
        }
        tokio::select! {
            () = host.admitted_changed.notified() => {}
            () = stop.stopped() => return,
        }
    }
}

/// What all burstable pods request.
fn weight(pods: &[Arc<Pod>]) -> u64 {
    let specs = pods.iter().map(|pod| spec::of(pod));
    let burstable = specs.filter(|spec| qos::class(spec) == Class::Burstable);
    qos::shares(burstable.map(|spec| qos::requests(&spec, "cpu")).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn burstable_pods_weigh_what_they_request() {
        let pod = |resources: &Value| -> Arc<Pod> {
            let pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let half = pod(&json!({"requests": {"cpu": "500m"}}));
        let guaranteed = pod(&json!({"limits": {"cpu": "4", "memory": "1Gi"}}));
        let none = pod(&json!({}));
        assert_eq!(weight(&[]), 2);
        assert_eq!(weight(&[guaranteed, none]), 2);
        assert_eq!(weight(&[Arc::clone(&half), half]), 1024);
    }
}
