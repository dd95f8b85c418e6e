//! HorizontalPodAutoscalers: as many replicas as the load of the pods asks for.
//!
//! Unlike other controllers this one looks again every few seconds, since nobody tells it of load; it does so only
//! for autoscalers that exist. [`observe`] asks the API, [`decide`] is pure, and what was recommended and done of late
//! (needed for stabilization windows and rates) is kept in memory, as upstream keeps it.

mod behavior;
mod calculate;
mod decide;
mod observe;

use super::{
    ControllerContext,
    framework::{Actor, Notice},
};
use crate::{
    api::{name::Key, object::Object},
    client::{Cache, WorkQueue},
    task::clock,
};
use behavior::Memory;
use decide::Draft;
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing::debug;

const PERIOD: Duration = Duration::from_secs(15);
const IDENTITY: &str = "horizontal-pod-autoscaler";

pub fn start(ctx: &ControllerContext) {
    let work = Work {
        actor: ctx.actor(IDENTITY, IDENTITY),
        autoscalers: ctx.informers.cache(),
        pods: ctx.informers.cache(),
        queue: WorkQueue::named("horizontalpodautoscaler"),
        memories: Mutex::default(),
    };
    let mut stop = ctx.tasks.stop_signal();
    ctx.tasks.spawn(IDENTITY, async move {
        tokio::select! {
            () = work.run() => {}
            // Every write stands alone; the next start computes anew.
            () = stop.stopped() => {}
        }
    });
}

struct Work {
    actor: Actor,
    autoscalers: Cache<HorizontalPodAutoscaler>,
    pods: Cache<Pod>,
    queue: WorkQueue<Key>,
    memories: Mutex<HashMap<Key, Memory>>,
}

impl Work {
    async fn run(&self) {
        self.autoscalers.synced().await;
        self.pods.synced().await;
        let queue = self.queue.clone();
        self.autoscalers.on_change(move |old, new| {
            let spec = |one: &Arc<HorizontalPodAutoscaler>| one.spec.clone();
            // What changed in the status was written here.
            if old.map(spec) != new.map(spec)
                && let Some(one) = new.or(old)
            {
                queue.add(one.key());
            }
        });
        loop {
            let key = self.queue.next().await;
            let is_there = self.pass(&key).await;
            self.queue.done(&key);
            if is_there {
                self.queue.add_after(key, PERIOD);
            }
        }
    }

    /// Whether there is such an autoscaler.
    async fn pass(&self, key: &Key) -> bool {
        let Some(autoscaler) = self.autoscalers.get(key) else {
            self.with_memories(|memories| memories.remove(key));
            return false;
        };
        let observed = observe::observe(&self.actor.client, &self.pods, &autoscaler).await;
        let now = clock::now();
        let (mut draft, mut memory) = self.with_memories(|memories| {
            let rivals = observe::rivals(memories, key, &observed);
            let mut memory = memories.remove(key).unwrap_or_default();
            memory.selector = observed.selector();
            let draft = decide::decide(&autoscaler, &observed, &rivals, &mut memory, now);
            (draft, memory)
        });
        if let (Some(wish), Ok(scale)) = (draft.wish.clone(), &observed.scale) {
            match observe::rescale(&self.actor.client, scale, wish.to).await {
                Ok(()) => {
                    memory.scaled(wish.from, wish.to, now);
                    draft.rescaled(&autoscaler, now);
                }
                Err(why) => draft.refused(&autoscaler, &why.message),
            }
        }
        self.with_memories(|memories| memories.insert(key.clone(), memory));
        self.publish(&autoscaler, draft).await;
        true
    }

    async fn publish(&self, autoscaler: &HorizontalPodAutoscaler, draft: Draft) {
        draft
            .notices
            .iter()
            .for_each(|notice: &Notice| self.actor.tell(notice));
        if autoscaler.status.as_ref() == Some(&draft.status) {
            return;
        }
        let status = Some(draft.status);
        let new = HorizontalPodAutoscaler {
            status,
            ..autoscaler.clone()
        };
        if let Err(failure) = self.actor.client.update_status(&new).await {
            // Somebody else was faster; the next look is near.
            debug!(%failure, "write the status of an autoscaler");
        }
    }

    fn with_memories<R>(&self, work: impl FnOnce(&mut HashMap<Key, Memory>) -> R) -> R {
        work(&mut self.memories.lock().expect("no panic while locked"))
    }
}

#[cfg(test)]
mod tests;
