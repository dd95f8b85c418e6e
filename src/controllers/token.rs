//! Fills Secrets of type `kubernetes.io/service-account-token` with a token of their account, and removes them with it.
//!
//! Such tokens do not expire: they are believed while the Secret holds them. It writes under the controller manager's
//! own name, as upstream's does.

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Issue, Watches, World, Write},
};
use crate::api::{name::Key, object::Object};
use jiff::SignedDuration;
use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use serde_json::{Value, json};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// Secrets and accounts come over two watches: a new Secret may be seen before the account it was made after.
const PATIENCE: SignedDuration = SignedDuration::from_secs(2);

pub fn start(ctx: &ControllerContext) {
    let root_ca = ctx.settings.root_ca.clone();
    let name = "system:kube-controller-manager";
    framework::start(ctx, name, "tokens-controller", Tokens { root_ca });
}

struct Tokens {
    root_ca: String,
}

impl Controller for Tokens {
    type Primary = Secret;

    fn watches(watches: &mut Watches) {
        watches.on::<ServiceAccount>(|account, caches| {
            let secrets = caches.all::<Secret>();
            let theirs = secrets.values().filter(|secret| {
                account_of(secret).is_some_and(|name| {
                    name == account.key().name && secret.key().namespace == account.key().namespace
                })
            });
            theirs.map(|secret| secret.key()).collect()
        });
    }

    fn reconcile(&self, secret: &Secret, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(name) = account_of(secret).filter(|_| !secret.is_deleting()) else {
            return decision;
        };
        let key = Key::new(secret.key().namespace, name);
        let uid = annotation(secret, ACCOUNT_UID).unwrap_or_default();
        let account = world.all::<ServiceAccount>().get(&key);
        let account = account.filter(|account| uid.is_empty() || uid == account.uid());
        let Some(account) = account else {
            let made = secret.metadata.creation_timestamp.as_ref();
            match made.and_then(|made| world.until(made.0, PATIENCE)) {
                Some(left) => decision.again(left),
                None => decision.push(Write::delete(secret)),
            }
            return decision;
        };
        let mut full = secret.clone();
        let data = full.data.get_or_insert_default();
        let root_ca = ByteString(self.root_ca.clone().into_bytes());
        data.insert("ca.crt".to_owned(), root_ca);
        data.entry("namespace".to_owned())
            .or_insert_with(|| ByteString(key.namespace.clone().into_bytes()));
        let has_token = data.get("token").is_some_and(|token| !token.0.is_empty());
        let notes = full.metadata.annotations.get_or_insert_default();
        notes.insert(ACCOUNT_UID.to_owned(), account.uid().to_owned());
        if !has_token {
            let claims = claims(secret, account);
            let secret = Box::new(full);
            decision.push(Issue::Token { secret, claims });
        } else if full != *secret {
            decision.push(Write::update(&full));
        }
        decision
    }
}

fn account_of(secret: &Secret) -> Option<&str> {
    (secret.type_.as_deref() == Some(TYPE))
        .then(|| annotation(secret, ACCOUNT_NAME))
        .flatten()
        .filter(|name| !name.is_empty())
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    let notes = secret.metadata.annotations.as_ref()?;
    notes.get(name).map(String::as_str)
}

/// The API server reads them by these names.
fn claims(secret: &Secret, account: &ServiceAccount) -> Value {
    let Key { namespace, name } = account.key();
    json!({
        "iss": "kubernetes/serviceaccount",
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret.key().name,
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": account.uid(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;

    fn stage() -> Stage<Tokens> {
        let root_ca = "PEM".to_owned();
        let mut stage = Stage::new(Tokens { root_ca });
        stage.put::<ServiceAccount>(json!({"metadata": {"namespace": "a", "name": "sa"}}));
        stage.put::<Secret>(json!({
            "metadata": {"namespace": "a", "name": "s", "annotations": {ACCOUNT_NAME: "sa"},
                "creationTimestamp": "2026-11-21T05:00:00Z"},
            "type": TYPE,
        }));
        stage.settle();
        stage
    }

    #[test]
    fn a_secret_of_an_account_gets_its_token() {
        let stage = stage();
        let secret: Secret = stage.get("a", "s");
        let account: ServiceAccount = stage.get("a", "sa");
        assert_eq!(annotation(&secret, ACCOUNT_UID), Some(account.uid()));
        let data = secret.data.unwrap();
        assert_eq!(data["ca.crt"].0, b"PEM");
        assert_eq!(data["namespace"].0, b"a");
        let token = String::from_utf8(data["token"].0.clone()).unwrap();
        assert_eq!(token.split('.').count(), 3, "{token}");
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        let mut stage = stage();
        stage.remove::<ServiceAccount>("a", "sa");
        stage.settle();
        assert!(stage.again_after.is_some());
        assert!(stage.find::<Secret>("a", "s").is_some());
        stage.advance(5);
        stage.settle();
        assert!(stage.find::<Secret>("a", "s").is_none());
    }
}
