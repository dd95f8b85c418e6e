//! The stories, in the order they run: life cycle first, as the others stand on it.

pub mod apps;
mod autoscaling;
mod dashboard;
mod dns;
mod eviction;
mod habits;
mod images;
mod ingress;
mod jobs;
mod lifecycle;
mod limits;
mod moving;
mod pods;
mod policies;
mod probes;
mod resize;
mod scheduling;
mod security;
mod services;
mod settings;
mod starts;
mod streams;
mod volumes;
mod workloads;

use super::{Story, concepts};

pub fn all() -> impl Iterator<Item = Story> {
    [
        lifecycle::STORIES,
        pods::STORIES,
        streams::STORIES,
        probes::STORIES,
        settings::STORIES,
        resize::STORIES,
        apps::STORIES,
        images::STORIES,
        volumes::STORIES,
        habits::STORIES,
        starts::STORIES,
        moving::STORIES,
        eviction::STORIES,
        concepts::STORIES,
        security::STORIES,
        ingress::STORIES,
        limits::STORIES,
        dashboard::STORIES,
        workloads::STORIES,
        jobs::STORIES,
        autoscaling::STORIES,
        policies::STORIES,
        dns::STORIES,
        services::STORIES,
        scheduling::STORIES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
