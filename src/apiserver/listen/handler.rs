//! The API server behind a listener of somebody else, who has decided already who asks.
//!
//! Authorization, admission and everything after are those of any other request.

use super::{Front, Peer, answer::Answer, dispatch};
use crate::{api::call::User, task::Tasks};
use hyper::{Request, body::Incoming};
use std::sync::Arc;

/// Answers requests of one user. Cheap to clone.
#[derive(Clone)]
pub struct Handler {
    front: Arc<Front>,
    peer: Arc<Peer>,
}

impl Handler {
    pub(super) fn new(front: Arc<Front>, user: User, tasks: Tasks) -> Handler {
        let peer = Arc::new(Peer {
            user: Some(user),
            stop: tasks.stop_signal(),
            tasks,
        });
        Handler { front, peer }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        dispatch::serve(Arc::clone(&self.front), Arc::clone(&self.peer), request).await
    }
}
