//! Which Ingresses are ours: those of a class whose controller is ingress-nginx, as minikube's is.
//!
//! Where people run the real ingress-nginx beside, its own class carries the labels of that project's manifests; such a
//! class, and the Ingresses of it, are left alone.

use crate::{
    api::{name::Key, object::Object},
    client::Snapshot,
};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

pub const CONTROLLER: &str = "k8s.io/ingress-nginx";
const ANNOTATION: &str = "kubernetes.io/ingress.class";
const FOREIGN: (&str, &str) = ("app.kubernetes.io/name", "ingress-nginx");

#[must_use]
pub fn is_ours(ingress: &Ingress, classes: &Snapshot<IngressClass>) -> bool {
    if ingress.is_deleting() {
        return false;
    }
    let annotations = ingress.metadata.annotations.as_ref();
    let named = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref());
    let class = |name: &str| classes.get(&Key::new("", name));
    let annotated = || annotations.and_then(|all| all.get(ANNOTATION).map(String::as_str));
    // Without a class nobody serves: the addon may be off.
    named
        .or_else(annotated)
        .is_some_and(|name| class(name).is_some_and(|class| serves(class)))
}

fn serves(class: &IngressClass) -> bool {
    let controller = class
        .spec
        .as_ref()
        .and_then(|spec| spec.controller.as_deref());
    let labels = class.metadata.labels.as_ref();
    let is_foreign =
        labels.is_some_and(|labels| labels.get(FOREIGN.0).is_some_and(|it| it == FOREIGN.1));
    controller == Some(CONTROLLER) && !is_foreign
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_class_decides() {
        let class = |name: &str, controller: &str, labels: Value| -> IngressClass {
            let class = json!({"metadata": {"name": name, "labels": labels}, "spec": {"controller": controller}});
            serde_json::from_value(class).unwrap()
        };
        let classes: Snapshot<IngressClass> = [
            class("nginx", CONTROLLER, json!({})),
            class("mine", CONTROLLER, json!({})),
            class(
                "theirs",
                CONTROLLER,
                json!({"app.kubernetes.io/name": "ingress-nginx"}),
            ),
            class("other", "example.com/other", json!({})),
        ]
        .into_iter()
        .collect();
        let cases = [
            (json!({"spec": {"ingressClassName": "nginx"}}), true),
            (json!({"spec": {"ingressClassName": "mine"}}), true),
            (json!({"spec": {"ingressClassName": "theirs"}}), false),
            (json!({"spec": {"ingressClassName": "other"}}), false),
            (json!({"spec": {"ingressClassName": "absent"}}), false),
            (json!({"spec": {}}), false),
            (
                json!({"metadata": {"annotations": {ANNOTATION: "nginx"}}, "spec": {}}),
                true,
            ),
            (
                json!({"metadata": {"annotations": {ANNOTATION: "gce"}}, "spec": {}}),
                false,
            ),
            (
                json!({"metadata": {"annotations": {ANNOTATION: "other"}}, "spec": {}}),
                false,
            ),
        ];
        for (ingress, expected) in cases {
            let typed: Ingress = serde_json::from_value(ingress.clone()).unwrap();
            assert_eq!(is_ours(&typed, &classes), expected, "{ingress}");
        }
    }
}
