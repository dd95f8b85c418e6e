//! Removes requests that nobody needs any more: issued, denied or failed for an hour, unanswered for a day, or with a
//! certificate that has ended.

use super::{certificate, condition};
use crate::{
    api::object::Object,
    controllers::framework::{Controller, Decision, Watches, World, Write},
    pki,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

const JUDGED: SignedDuration = SignedDuration::from_hours(1);
const PENDING: SignedDuration = SignedDuration::from_hours(24);

pub struct Cleaning;

impl Controller for Cleaning {
    type Primary = CertificateSigningRequest;

    fn watches(_: &mut Watches) {}

    fn reconcile(&self, object: &CertificateSigningRequest, world: &World) -> Decision {
        let mut decision = Decision::default();
        for (since, after) in deadlines(object) {
            match world.until(since, after) {
                Some(left) => decision.again(left),
                None if object.is_deleting() => {}
                None => {
                    decision.push(Write::delete(object));
                    break;
                }
            }
        }
        decision
    }
}

fn deadlines(object: &CertificateSigningRequest) -> Vec<(Timestamp, SignedDuration)> {
    let mut deadlines = Vec::new();
    let certificate = certificate(object);
    for kind in ["Approved", "Denied", "Failed"] {
        let Some(condition) = condition(object, kind) else {
            continue;
        };
        let is_final = kind != "Approved" || !certificate.is_empty();
        if let Some(at) = condition.last_update_time.as_ref().filter(|_| is_final) {
            deadlines.push((at.0, JUDGED));
        }
    }
    let conditions = object
        .status
        .as_ref()
        .and_then(|one| one.conditions.as_ref());
    let made = object.metadata.creation_timestamp.as_ref();
    if let Some(made) = made.filter(|_| conditions.is_none_or(Vec::is_empty)) {
        deadlines.push((made.0, PENDING));
    }
    if let Some(end) = pki::end(&String::from_utf8_lossy(certificate)) {
        deadlines.push((end, SignedDuration::ZERO));
    }
    deadlines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::{Value, json};

    #[test]
    fn requests_go_when_they_are_done_with() {
        let judged = |kind: &str| {
            json!({"conditions": [
                {"type": kind, "status": "True", "lastUpdateTime": "2026-11-21T05:00:00Z"}]})
        };
        let cases: [(Value, i64, bool); 6] = [
            (json!({}), 23 * 3600, true),
            (json!({}), 25 * 3600, false),
            (judged("Denied"), 3500, true),
            (judged("Denied"), 3700, false),
            (judged("Failed"), 3700, false),
            // Approved, but nobody has signed it yet.
            (judged("Approved"), 48 * 3600, true),
        ];
        for (status, seconds, stays) in cases {
            let mut stage = Stage::new(Cleaning);
            stage.put::<CertificateSigningRequest>(json!({
                "metadata": {"name": "r", "creationTimestamp": "2026-11-21T05:00:00Z"},
                "spec": {"request": "", "signerName": "example.com/s"}, "status": status,
            }));
            stage.advance(seconds);
            stage.settle();
            let found = stage.find::<CertificateSigningRequest>("", "r");
            assert_eq!(found.is_some(), stays, "{status} {seconds}");
        }
    }
}
