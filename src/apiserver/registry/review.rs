//! Kinds that are questions: posted, answered in their status, never stored.

use super::{Request, create::place_in_namespace, finding, metadata::text};
use crate::{
    api::{
        ApiError,
        call::{Document, Outcome, Reply, User},
    },
    apiserver::{
        authorize::{Attributes, Decision, Rule},
        subresource::token,
    },
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Answers a review. The kinds are those of the authentication and authorization groups.
pub fn create(request: &mut Request<'_>, document: Document) -> Result<Reply, ApiError> {
    let expected = request.expected();
    let mut review = request.accept(document, expected)?;
    review["status"] = match request.kind.name {
        "TokenReview" => token_review(request, &review["spec"])?,
        "SelfSubjectReview" => json!({"userInfo": request.user.info()}),
        "SelfSubjectAccessReview" => access(request, request.user, &review["spec"])?,
        "SelfSubjectRulesReview" => rules(request, text(&review["spec"], "namespace"))?,
        "SubjectAccessReview" => {
            let user = subject(request, &review["spec"])?;
            access(request, &user, &review["spec"])?
        }
        "LocalSubjectAccessReview" => {
            place_in_namespace(request, &mut review)?;
            check_namespace(request, &review["spec"])?;
            let user = subject(request, &review["spec"])?;
            access(request, &user, &review["spec"])?
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    review["metadata"]["creationTimestamp"] = Value::Null;
    Ok(Outcome::Object {
        bytes: review.to_string().into(),
        created: true,
    }
    .into())
}

fn token_review(request: &Request<'_>, spec: &Value) -> Result<Value, ApiError> {
    let registry = request.registry;
    if text(spec, "token").is_empty() {
        let why = "token is required for TokenReview in authentication";
        return Err(ApiError::bad_request(why));
    }
    let mut wanted: Vec<String> = Vec::deserialize(&spec["audiences"]).unwrap_or_default();
    if wanted.is_empty() {
        wanted.push(registry.tokens().issuer().to_owned());
    }
    Ok(
        match token::verify(registry, text(spec, "token"), &wanted) {
            Ok((user, audiences)) => json!({
                "authenticated": true, "user": user.info(), "audiences": audiences,
            }),
            Err(why) => json!({"user": {}, "error": why}),
        },
    )
}

fn refuse(request: &Request<'_>, field: &str, value: &Value, why: &str) -> ApiError {
    let found = finding::invalid(field, value, why);
    ApiError::invalid(request.kind.group, request.kind.name, "", vec![found])
}

fn subject(request: &Request<'_>, spec: &Value) -> Result<User, ApiError> {
    let user = User {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups: Vec::deserialize(&spec["groups"]).unwrap_or_default(),
        extra: Deserialize::deserialize(&spec["extra"]).unwrap_or_default(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(refuse(request, "spec.user", &"".into(), why));
    }
    Ok(user)
}

fn check_namespace(request: &Request<'_>, spec: &Value) -> Result<(), ApiError> {
    let namespace = text(&spec["resourceAttributes"], "namespace");
    if namespace == request.namespace {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "spec.resourceAttributes.namespace must match namespace: {}",
        request.namespace
    )))
}

fn access(request: &Request<'_>, user: &User, spec: &Value) -> Result<Value, ApiError> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let wanted = match (resource.is_null(), path.is_null()) {
        (false, true) => Attributes {
            verb: text(resource, "verb"),
            group: text(resource, "group"),
            version: text(resource, "version"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: text(resource, "namespace"),
            name: text(resource, "name"),
            path: None,
        },
        (true, false) => Attributes {
            verb: text(path, "verb"),
            path: Some(text(path, "path")),
            ..Attributes::default()
        },
        (false, false) => {
            let why = "cannot be specified in combination with resourceAttributes";
            return Err(refuse(request, "spec.nonResourceAttributes", path, why));
        }
        (true, true) => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(refuse(
                request,
                "spec.resourceAttributes",
                &Value::Null,
                why,
            ));
        }
    };
    let (allowed, reason) = match request.registry.decide(user, &wanted) {
        Decision::Allowed(reason) => (true, reason),
        Decision::Refused(reason) => (false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    Ok(status)
}

fn rules(request: &Request<'_>, namespace: &str) -> Result<Value, ApiError> {
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let (rules, problems) = request.registry.rules(request.user, namespace);
    let mut status = json!({
        "resourceRules": rules.iter().filter_map(resource_rule).collect::<Vec<Value>>(),
        "nonResourceRules": rules.iter().filter_map(path_rule).collect::<Vec<Value>>(),
        "incomplete": !problems.is_empty(),
    });
    if !problems.is_empty() {
        status["evaluationError"] = problems.join(", ").into();
    }
    Ok(status)
}

fn listed(fields: &[(&str, &Vec<String>)]) -> Value {
    let filled = fields.iter().filter(|(_, list)| !list.is_empty());
    filled
        .map(|(name, list)| ((*name).to_owned(), json!(list)))
        .collect::<Map<_, _>>()
        .into()
}

fn resource_rule(rule: &Rule) -> Option<Value> {
    (!rule.resources.is_empty()).then(|| {
        listed(&[
            ("verbs", &rule.verbs),
            ("apiGroups", &rule.api_groups),
            ("resources", &rule.resources),
            ("resourceNames", &rule.resource_names),
        ])
    })
}

fn path_rule(rule: &Rule) -> Option<Value> {
    (!rule.non_resource_urls.is_empty()).then(|| {
        listed(&[
            ("verbs", &rule.verbs),
            ("nonResourceURLs", &rule.non_resource_urls),
        ])
    })
}
