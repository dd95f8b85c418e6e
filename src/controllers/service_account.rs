//! Gives every active namespace the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`, and keeps them.

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Watches, World, Write},
};
use crate::api::{name::Key, object::Object};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::collections::BTreeMap;

const DEFAULT_NAME: &str = "default";
const ROOT_CA_NAME: &str = "kube-root-ca.crt";
const ROOT_CA_FIELD: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
/// Upstream's words: people find them in `kubectl describe`.
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

pub fn start_accounts(ctx: &ControllerContext) {
    let identity = "service-account-controller";
    framework::start(ctx, identity, identity, DefaultAccount);
}

pub fn start_root_ca(ctx: &ControllerContext) {
    let identity = "root-ca-cert-publisher";
    let root_ca = ctx.settings.root_ca.clone();
    framework::start(ctx, identity, identity, RootCa { root_ca });
}

struct DefaultAccount;

impl Controller for DefaultAccount {
    type Primary = Namespace;

    fn watches(watches: &mut Watches) {
        watches.on_change::<ServiceAccount>(|old, new, _| match (old, new) {
            (Some(old), None) if old.key().name == DEFAULT_NAME => vec![namespace_of(old)],
            _ => Vec::new(),
        });
    }

    fn reconcile(&self, namespace: &Namespace, world: &World) -> Decision {
        let mut decision = Decision::default();
        let key = Key::new(namespace.key().name, DEFAULT_NAME);
        if is_active(namespace) && !world.all::<ServiceAccount>().contains_key(&key) {
            decision.push(Write::create(&ServiceAccount {
                metadata: meta(&key),
                ..ServiceAccount::default()
            }));
        }
        decision
    }
}

struct RootCa {
    root_ca: String,
}

impl Controller for RootCa {
    type Primary = Namespace;

    fn watches(watches: &mut Watches) {
        watches.on::<ConfigMap>(|map, _| {
            let is_ours = map.metadata.name.as_deref() == Some(ROOT_CA_NAME);
            is_ours.then(|| namespace_of(map)).into_iter().collect()
        });
    }

    fn reconcile(&self, namespace: &Namespace, world: &World) -> Decision {
        let mut decision = Decision::default();
        if !is_active(namespace) {
            return decision;
        }
        let key = Key::new(namespace.key().name, ROOT_CA_NAME);
        let data = BTreeMap::from([(ROOT_CA_FIELD.to_owned(), self.root_ca.clone())]);
        match world.all::<ConfigMap>().get(&key) {
            None => {
                let mut metadata = meta(&key);
                let description = (DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned());
                metadata.annotations = Some(BTreeMap::from([description]));
                decision.push(Write::create(&ConfigMap {
                    metadata,
                    data: Some(data),
                    ..ConfigMap::default()
                }));
            }
            Some(found) if found.data.as_ref() != Some(&data) => {
                decision.push(Write::update(&ConfigMap {
                    data: Some(data),
                    ..ConfigMap::clone(found)
                }));
            }
            Some(_) => {}
        }
        decision
    }
}

fn is_active(namespace: &Namespace) -> bool {
    let status = namespace.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    !namespace.is_deleting() && phase != Some("Terminating")
}

fn namespace_of<T: Object>(object: &T) -> Key {
    Key::new("", object.key().namespace)
}

fn meta(key: &Key) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::json;

    #[test]
    fn every_active_namespace_has_an_account() {
        let mut stage = Stage::new(DefaultAccount);
        stage.put::<Namespace>(json!({"metadata": {"name": "a"}}));
        stage.put::<Namespace>(
            json!({"metadata": {"name": "b"}, "status": {"phase": "Terminating"}}),
        );
        stage.settle();
        assert!(stage.find::<ServiceAccount>("a", "default").is_some());
        assert!(stage.find::<ServiceAccount>("b", "default").is_none());
        stage.remove::<ServiceAccount>("a", "default");
        stage.settle();
        assert!(stage.find::<ServiceAccount>("a", "default").is_some());
    }

    #[test]
    fn the_root_certificate_is_restored() {
        let root_ca = "PEM".to_owned();
        let mut stage = Stage::new(RootCa { root_ca });
        stage.put::<Namespace>(json!({"metadata": {"name": "a"}}));
        stage.settle();
        stage.edit::<ConfigMap>("a", ROOT_CA_NAME, |map| map.data = None);
        stage.settle();
        let map: ConfigMap = stage.get("a", ROOT_CA_NAME);
        assert_eq!(map.data.unwrap()[ROOT_CA_FIELD], "PEM");
        assert!(map.metadata.annotations.unwrap().contains_key(DESCRIPTION));
    }
}
