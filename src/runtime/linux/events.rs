//! Fans events out to bounded subscribers.

use crate::runtime::model::RuntimeEvent;
use std::sync::Mutex;
use tokio::sync::mpsc::{self, OwnedPermit, Receiver, Sender, error::TrySendError};

const EVENTS_MAX: usize = 1024;

#[derive(Default)]
pub struct Events(Mutex<Vec<Subscriber>>);

struct Subscriber {
    sender: Sender<RuntimeEvent>,
    /// A place kept free for `Overflow`; taken while the subscriber has not yet caught up.
    reserve: Option<OwnedPermit<RuntimeEvent>>,
}

impl Events {
    pub fn subscribe(&self) -> Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX + 1);
        let reserve = sender.clone().try_reserve_owned().ok();
        let mut subscribers = self.0.lock().expect("no panic while locked");
        subscribers.push(Subscriber { sender, reserve });
        receiver
    }

    pub fn emit(&self, event: &RuntimeEvent) {
        let mut subscribers = self.0.lock().expect("no panic while locked");
        subscribers.retain_mut(|subscriber| subscriber.send(event.clone()));
    }
}

impl Subscriber {
    /// False once the receiver is gone.
    fn send(&mut self, event: RuntimeEvent) -> bool {
        if self.reserve.is_none() {
            self.reserve = self.sender.clone().try_reserve_owned().ok();
        }
        match self.sender.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                if let Some(reserve) = self.reserve.take() {
                    reserve.send(RuntimeEvent::Overflow);
                }
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_falls_behind_is_told() {
        let events = Events::default();
        let mut receiver = events.subscribe();
        let died = RuntimeEvent::SandboxDied {
            sandbox: "a".to_owned(),
        };
        for _ in 0..EVENTS_MAX + 5 {
            events.emit(&died);
        }
        for _ in 0..EVENTS_MAX {
            assert_eq!(receiver.recv().await, Some(died.clone()));
        }
        assert_eq!(receiver.recv().await, Some(RuntimeEvent::Overflow));
        events.emit(&died);
        assert_eq!(receiver.recv().await, Some(died.clone()));
        drop(receiver);
        events.emit(&died);
        assert!(events.0.lock().unwrap().is_empty());
    }
}
