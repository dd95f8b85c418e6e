//! The facts of one pass: snapshots of the caches a controller declared, the time, and what failed last.

use super::action::Failure;
use crate::{api::object::Object, client::Snapshot};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    time::Duration,
};

pub struct World {
    pub now: Timestamp,
    /// Set when the last pass over this key was refused something.
    pub failure: Option<Failure>,
    pictures: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl World {
    pub(super) fn new(
        now: Timestamp,
        failure: Option<Failure>,
        pictures: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    ) -> World {
        World {
            now,
            failure,
            pictures,
        }
    }

    /// Everything of one kind.
    ///
    /// # Panics
    /// When the controller did not declare the kind in `watches`: every `settle` test would show it.
    pub fn all<T: Object>(&self) -> &Snapshot<T> {
        let picture = self.pictures.get(&TypeId::of::<T>());
        picture
            .and_then(|picture| picture.downcast_ref())
            .expect("the controller declared the kind in `watches`")
    }

    /// The present as the API writes it.
    pub fn stamp(&self) -> Time {
        stamp(self.now)
    }

    /// The time from now to `since` + `after`; `None` when that is past.
    pub fn until(&self, since: Timestamp, after: SignedDuration) -> Option<Duration> {
        let due = since.saturating_add(after).ok()?;
        let left = due.duration_since(self.now);
        // A whole number of seconds would be compared with truncated stamps: look a little later.
        (left > SignedDuration::ZERO).then(|| left.unsigned_abs() + Duration::from_millis(1))
    }
}

/// The API keeps whole seconds; a finer time would never equal what is read back.
pub fn stamp(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).expect("a timestamp's own second is in range"))
}
