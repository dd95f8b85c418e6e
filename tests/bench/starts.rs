//! How long until a cluster can be used.

use crate::{
    Settings,
    figure::Figure,
    https::{Access, runtime},
    place::Place,
    pods,
};
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub fn measure(settings: &Settings) -> Vec<Figure> {
    let (mut fresh, mut again, mut resolved) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.samples {
        let place = Place::new();
        let begun = Instant::now();
        fresh.push(millis(place.start()));
        let access = Access::read(&place.kubeconfig());
        runtime().block_on(async {
            let mut connection = access.connect().await;
            pods::until_ready(&mut connection, "first", pods::RESOLVES).await;
        });
        resolved.push(millis(begun.elapsed()));
        runtime().block_on(async {
            let mut connection = access.connect().await;
            for n in 0..100 {
                let body = json!({"metadata": {"name": format!("c{n}")}, "data": {"a": "b"}});
                let path = "/api/v1/namespaces/default/configmaps";
                connection.call(Method::POST, path, body.to_string()).await;
            }
        });
        place.timed(&["stop"]);
        again.push(millis(place.start()));
    }
    vec![
        Figure::new("start from an empty disk", "ms", "<= 500", fresh),
        Figure::new(
            "nothing -> pod that resolved a Service name",
            "ms",
            "<= 1000",
            resolved,
        ),
        Figure::new("restart with 100 objects", "ms", "<= 300", again),
    ]
}
