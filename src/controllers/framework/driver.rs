//! Runs a controller: takes keys from its queue, several at once, lets it decide, acts, waits for the caches.

use super::{
    act::{Acted, Actor},
    action::{Decision, Failure},
    watches::{Caches, Watches},
    world::World,
};
use crate::{
    api::{name::Key, object::Object},
    client::WorkQueue,
    controllers::ControllerContext,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing::{Instrument, debug, debug_span, error};

/// Keys of one controller in work at the same time. They share one task: the decisions are cheap, the waits are not.
const TOGETHER_MAX: usize = 32;
/// After a write the key rests that long, so that a burst of changes (a hundred pods becoming ready) costs one more
/// pass, not a hundred.
const REST: Duration = Duration::from_millis(10);

pub trait Controller: Send + Sync + 'static {
    type Primary: Object;

    /// The kinds it looks at, and whom their changes concern. The primary kind wakes its own keys without being named.
    fn watches(watches: &mut Watches);

    /// Compares what is wanted with what is seen. Must not do I/O, read a clock or roll dice.
    fn reconcile(&self, primary: &Self::Primary, world: &World) -> Decision;

    /// The key was woken, but there is no such object (any more).
    fn gone(&self, _key: &Key, _world: &World) -> Decision {
        Decision::default()
    }
}

/// Starts a controller that writes as `identity` and tells events as `component`.
pub fn start<C: Controller>(
    ctx: &ControllerContext,
    identity: &'static str,
    component: &'static str,
    controller: C,
) {
    let mut watches = Watches::default();
    watches.on::<C::Primary>(|object, _| vec![object.key()]);
    C::watches(&mut watches);
    let driver = Driver {
        caches: Arc::new(Caches::open(&watches.declared, &ctx.informers)),
        actor: ctx.actor(identity, component),
        controller,
        name: identity,
        queue: WorkQueue::named(identity.trim_end_matches("-controller")),
        failures: Mutex::default(),
    };
    let mut stop = ctx.tasks.stop_signal();
    ctx.tasks.spawn(identity, async move {
        tokio::select! {
            () = driver.run(watches) => {}
            // A decision may be cut in half: every write stands alone, the next start goes on from what is stored.
            () = stop.stopped() => {}
        }
    });
}

struct Driver<C: Controller> {
    caches: Arc<Caches>,
    actor: Actor,
    controller: C,
    name: &'static str,
    queue: WorkQueue<Key>,
    failures: Mutex<HashMap<Key, Failure>>,
}

impl<C: Controller> Driver<C> {
    async fn run(&self, watches: Watches) {
        self.caches.synced().await;
        for subscribe in watches.subscriptions {
            subscribe(&self.caches, &self.queue);
        }
        let mut in_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                key = self.queue.next(), if in_work.len() < TOGETHER_MAX => {
                    let span = debug_span!("reconcile", controller = self.name, key = %key);
                    in_work.push(self.pass(key).instrument(span));
                }
                Some(()) = in_work.next() => {}
            }
        }
    }

    async fn pass(&self, key: Key) {
        let before = self.with_failures(|failures| failures.get(&key).cloned());
        let had_failed = before.is_some();
        let Some(decision) = self.decide(&key, before) else {
            self.queue.done(&key);
            return self.queue.retry(key);
        };
        let acted = self.actor.act(decision.actions, &self.caches).await;
        if acted != (Acted::Done { wrote: false }) {
            debug!(?acted, "acted");
            tokio::time::sleep(REST).await;
        }
        self.queue.done(&key);
        if let Some(after) = decision.again_after {
            self.queue.add_after(key.clone(), after);
        }
        match acted {
            Acted::Done { .. } => {
                self.queue.forget(&key);
                self.with_failures(|failures| failures.remove(&key));
                if had_failed {
                    self.queue.add(key);
                }
            }
            Acted::Outrun => self.queue.retry(key),
            Acted::Refused(failure) => {
                self.with_failures(|failures| failures.insert(key.clone(), failure));
                self.queue.retry(key);
            }
        }
    }

    /// `None` when the controller panicked: one odd object must not stop the work on all others.
    fn decide(&self, key: &Key, failure: Option<Failure>) -> Option<Decision> {
        let world = self.caches.world(failure);
        let decided = catch_unwind(AssertUnwindSafe(|| {
            match world.all::<C::Primary>().get(key) {
                Some(primary) => self.controller.reconcile(primary, &world),
                None => self.controller.gone(key, &world),
            }
        }));
        decided
            .inspect_err(|_| error!(controller = self.name, %key, "reconcile panicked"))
            .ok()
    }

    fn with_failures<R>(&self, work: impl FnOnce(&mut HashMap<Key, Failure>) -> R) -> R {
        work(&mut self.failures.lock().expect("no panic while locked"))
    }
}
