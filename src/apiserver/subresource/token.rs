//! `serviceaccounts/token`: issues tokens, and tells whose token one is.

use crate::{
    api::{
        ApiError,
        call::{Outcome, Reply, User},
        error::Cause,
        name::Gvr,
        time,
    },
    apiserver::{
        registry::{Registry, Request, finding, metadata::text},
        token::{Claims, LegacyClaims, Named, Opened, Private},
    },
    task::{clock, uuid},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What the injected volume asks for. Such tokens live longer, for clients that never read the file again.
const INJECTED_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;
/// A deleted pod's token is good for this long after the pod should be gone.
const DELETED_LEEWAY_SECONDS: i64 = 60;

const EXTRA: &str = "authentication.kubernetes.io/";

pub async fn create(request: &Request<'_>, body: Value) -> Result<Reply, ApiError> {
    let registry = request.registry;
    let account = registry.read("serviceaccounts", &request.namespace, &request.name);
    let account = account.ok_or_else(|| request.not_found())?;
    let spec = &body["spec"];
    let seconds = spec["expirationSeconds"]
        .as_i64()
        .unwrap_or(DEFAULT_SECONDS);
    check(&request.name, spec, seconds)?;
    let mut audiences = texts(&spec["audiences"]);
    if audiences.is_empty() {
        audiences.push(registry.tokens().issuer().to_owned());
    }
    let bound = bound(
        registry,
        &request.namespace,
        &request.name,
        &spec["boundObjectRef"],
    )?;
    let now = clock::now().as_second();
    let is_injected = seconds == INJECTED_SECONDS
        && bound.pod.is_some()
        && audiences
            .iter()
            .any(|audience| audience == registry.tokens().issuer());
    let life = if is_injected {
        EXTENDED_SECONDS
    } else {
        seconds
    };
    let claims = Claims {
        aud: audiences.clone(),
        exp: now + life,
        iat: now,
        iss: registry.tokens().issuer().to_owned(),
        jti: uuid(),
        kubernetes: Private {
            serviceaccount: Named {
                name: request.name.clone(),
                uid: text(&account["metadata"], "uid").to_owned(),
            },
            warnafter: is_injected.then_some(now + seconds),
            ..bound
        },
        nbf: now,
        sub: format!(
            "system:serviceaccount:{}:{}",
            request.namespace, request.name
        ),
    };
    let expires = Timestamp::from_second(now + seconds).map_err(ApiError::internal)?;
    let mut answer = body;
    answer["metadata"] = json!({
        "name": request.name, "namespace": request.namespace,
        "creationTimestamp": time::format(clock::now()),
    });
    answer["spec"]["audiences"] = audiences.into();
    answer["spec"]["expirationSeconds"] = seconds.into();
    answer["status"] = json!({
        "token": registry.tokens().sign(&claims)?,
        "expirationTimestamp": time::format(expires),
    });
    Ok(Outcome::Object {
        bytes: answer.to_string().into(),
        created: true,
    }
    .into())
}

fn check(name: &str, spec: &Value, seconds: i64) -> Result<(), ApiError> {
    let field = "spec.expirationSeconds";
    let mut found: Vec<Cause> = Vec::new();
    if seconds < MIN_SECONDS {
        let why = "may not specify a duration less than 10 minutes";
        found.push(finding::invalid(field, &seconds.into(), why));
    }
    if seconds > MAX_SECONDS {
        let why = "may not specify a duration larger than 2^32 seconds";
        found.push(finding::invalid(field, &seconds.into(), why));
    }
    let bound = &spec["boundObjectRef"];
    if !bound.is_null() && text(bound, "name").is_empty() {
        found.push(finding::required("spec.boundObjectRef.name", ""));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        "authentication.k8s.io",
        "TokenRequest",
        name,
        found,
    ))
}

/// What the token's life hangs on, if anything.
fn bound(
    registry: &Registry,
    namespace: &str,
    account: &str,
    reference: &Value,
) -> Result<Private, ApiError> {
    let mut private = Private {
        namespace: namespace.to_owned(),
        node: None,
        pod: None,
        secret: None,
        serviceaccount: Named {
            name: String::new(),
            uid: String::new(),
        },
        warnafter: None,
    };
    if reference.is_null() {
        return Ok(private);
    }
    let name = text(reference, "name");
    let (plural, place) = match (text(reference, "apiVersion"), text(reference, "kind")) {
        ("v1", "Pod") => ("pods", namespace),
        ("v1", "Secret") => ("secrets", namespace),
        ("v1", "Node") => ("nodes", ""),
        (version, kind) => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to object with group-version-kind {version}, Kind={kind}"
            )));
        }
    };
    let resource = Gvr::new("", "v1", plural);
    let object = registry.read(plural, place, name);
    let object = object.ok_or_else(|| ApiError::not_found(&resource, name))?;
    let uid = text(&object["metadata"], "uid");
    let wanted = text(reference, "uid");
    if !wanted.is_empty() && wanted != uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(&resource, name, &why));
    }
    let named = Some(Named {
        name: name.to_owned(),
        uid: uid.to_owned(),
    });
    match plural {
        "nodes" => private.node = named,
        "secrets" => private.secret = named,
        _ => {
            let own = text(&object["spec"], "serviceAccountName");
            if own != account {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = text(&object["spec"], "nodeName");
            private.node = registry.read("nodes", "", node).map(|found| Named {
                name: node.to_owned(),
                uid: text(&found["metadata"], "uid").to_owned(),
            });
            private.pod = named;
        }
    }
    Ok(private)
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// Whose token this is, and for which of the `wanted` audiences it is good. The error is a text for people.
pub fn verify(
    registry: &Registry,
    token: &str,
    wanted: &[String],
) -> Result<(User, Vec<String>), String> {
    let now = clock::now().as_second();
    let claims = match registry.tokens().open(token, now)? {
        Opened::Bound(claims) => claims,
        Opened::Legacy(claims) => return verify_legacy(registry, token, &claims, wanted),
    };
    let audiences: Vec<String> = wanted
        .iter()
        .filter(|one| claims.aud.contains(one))
        .cloned()
        .collect();
    if audiences.is_empty() {
        return Err(format!(
            "token audiences {:?} is invalid for the target audiences {wanted:?}",
            claims.aud
        ));
    }
    let private = &claims.kubernetes;
    let namespace = private.namespace.as_str();
    still_there(
        registry,
        "serviceaccounts",
        namespace,
        Some(&private.serviceaccount),
        now,
    )?;
    still_there(registry, "secrets", namespace, private.secret.as_ref(), now)?;
    still_there(registry, "pods", namespace, private.pod.as_ref(), now)?;
    if private.pod.is_none() {
        still_there(registry, "nodes", "", private.node.as_ref(), now)?;
    }
    Ok((user(&claims), audiences))
}

/// A token of a Secret is good while the Secret holds it, for the API server's own audience.
fn verify_legacy(
    registry: &Registry,
    token: &str,
    claims: &LegacyClaims,
    wanted: &[String],
) -> Result<(User, Vec<String>), String> {
    let issuer = registry.tokens().issuer().to_owned();
    if !wanted.contains(&issuer) {
        return Err(format!(
            "token audiences {:?} is invalid for the target audiences {wanted:?}",
            [&issuer]
        ));
    }
    let secret = registry.read("secrets", &claims.namespace, &claims.secret);
    let secret = secret.ok_or("service account token has been invalidated")?;
    if !secret["metadata"]["deletionTimestamp"].is_null() {
        return Err("service account token has been invalidated".to_owned());
    }
    let stored = BASE64_STANDARD.decode(text(&secret["data"], "token"));
    if stored.ok().as_deref() != Some(token.as_bytes()) {
        return Err("token does not match server's copy".to_owned());
    }
    let account = Named {
        name: claims.account.clone(),
        uid: claims.uid.clone(),
    };
    let now = clock::now().as_second();
    let kind = "serviceaccounts";
    still_there(registry, kind, &claims.namespace, Some(&account), now)?;
    Ok((plain_user(&claims.namespace, &account), vec![issuer]))
}

fn still_there(
    registry: &Registry,
    storage: &str,
    namespace: &str,
    wanted: Option<&Named>,
    now: i64,
) -> Result<(), String> {
    let Some(Named { name, uid }) = wanted else {
        return Ok(());
    };
    let gone = || format!("service account token has been invalidated: {storage} {name:?} is gone");
    let object = registry.read(storage, namespace, name).ok_or_else(gone)?;
    let meta = &object["metadata"];
    let deleted: Option<Timestamp> = text(meta, "deletionTimestamp").parse().ok();
    let is_over = deleted.is_some_and(|at| now > at.as_second() + DELETED_LEEWAY_SECONDS);
    if text(meta, "uid") != uid || is_over {
        return Err(gone());
    }
    Ok(())
}

fn plain_user(namespace: &str, account: &Named) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{}", account.name),
        uid: account.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ],
        ..User::default()
    }
}

fn user(claims: &Claims) -> User {
    let private = &claims.kubernetes;
    let mut user = plain_user(&private.namespace, &private.serviceaccount);
    let mut extra = |key: &str, value: String| {
        user.extra.insert(format!("{EXTRA}{key}"), vec![value]);
    };
    extra("credential-id", format!("JTI={}", claims.jti));
    for (key, named) in [("pod", &private.pod), ("node", &private.node)] {
        if let Some(Named { name, uid }) = named {
            extra(&format!("{key}-name"), name.clone());
            extra(&format!("{key}-uid"), uid.clone());
        }
    }
    user
}
