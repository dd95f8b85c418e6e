//! What a session is about: the pod, its node, the container, and what the query asks for.
//!
//! Pure but for [`pod`]; refusals are upstream's, told before any protocol is switched.

use super::Connect;
use crate::{
    api::{
        ApiError,
        call::{Call, Outcome, User, Verb},
        error::Cause,
        name::{Gvr, Key},
        stream::{LogOptions, NodeApi, SessionOptions},
        time,
    },
    apiserver::request::options::Query,
};
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

const PODS: Gvr = Gvr::new("", "v1", "pods");

/// A pod that runs somewhere.
pub struct Target {
    pub key: Key,
    pub pod: Value,
    pub node: Arc<dyn NodeApi>,
}

/// Reads an object for the server itself: the user was asked about the subresource already.
pub async fn read(
    connect: &Connect<'_>,
    resource: Gvr,
    namespace: &str,
    name: &str,
) -> Result<Value, ApiError> {
    let server = User::component("system:apiserver", &["system:masters"]);
    let call = Call::new(Verb::Get, resource).named(namespace, name);
    match connect.front.call(&server, call).await?.outcome {
        Outcome::Object { bytes, .. } => serde_json::from_slice(&bytes).map_err(ApiError::internal),
        other => Err(ApiError::internal(format!("unexpected answer: {other:?}"))),
    }
}

/// The endpoint slices of a service.
pub async fn slices(
    connect: &Connect<'_>,
    resource: Gvr,
    namespace: &str,
    service: &str,
) -> Result<Vec<Value>, ApiError> {
    let server = User::component("system:apiserver", &["system:masters"]);
    let mut call = Call::new(Verb::List, resource).named(namespace, "");
    call.options.label_selector = Some(format!("kubernetes.io/service-name={service}"));
    match connect.front.call(&server, call).await?.outcome {
        Outcome::List(list) => {
            let read = |bytes: &Bytes| serde_json::from_slice(bytes).map_err(ApiError::internal);
            list.items.iter().map(read).collect()
        }
        other => Err(ApiError::internal(format!("unexpected answer: {other:?}"))),
    }
}

/// The pod of the request's path, and the agent of its node.
pub async fn pod(connect: &Connect<'_>) -> Result<Target, ApiError> {
    let key = connect.key();
    let pod = read(connect, PODS, &key.namespace, &key.name).await?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(ApiError::bad_request(format!(
            "pod {} does not have a host assigned",
            key.name
        )));
    }
    let node = agent(connect, node)?;
    Ok(Target { key, pod, node })
}

pub fn agent(connect: &Connect<'_>, name: &str) -> Result<Arc<dyn NodeApi>, ApiError> {
    let node = connect.front.config.registry.nodes.node(name);
    node.ok_or_else(|| ApiError::internal(format!("no node agent answers for node \"{name}\"")))
}

/// The wanted container, or the only one.
pub fn container(pod: &Value, wanted: &str) -> Result<String, ApiError> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let names = |list: &str| -> Vec<&str> {
        let all = pod["spec"][list].as_array().into_iter().flatten();
        all.filter_map(|container| container["name"].as_str())
            .collect()
    };
    let (containers, inits, ephemeral) = (
        names("containers"),
        names("initContainers"),
        names("ephemeralContainers"),
    );
    if wanted.is_empty() {
        return match containers.as_slice() {
            [only] => Ok((*only).to_owned()),
            all => {
                let shown = all.join(" ");
                let inits = match inits.as_slice() {
                    [] => String::new(),
                    some => format!(" or one of the init containers: [{}]", some.join(" ")),
                };
                Err(ApiError::bad_request(format!(
                    "a container name must be specified for pod {name}, choose one of: [{shown}]{inits}"
                )))
            }
        };
    }
    let mut all = containers.iter().chain(&inits).chain(&ephemeral);
    match all.any(|known| *known == wanted) {
        true => Ok(wanted.to_owned()),
        false => Err(ApiError::bad_request(format!(
            "container {wanted} is not valid for pod {name}"
        ))),
    }
}

pub fn session_options(query: &Query, with_command: bool) -> Result<SessionOptions, ApiError> {
    let flag = |name| query.flag(name).unwrap_or(false);
    let options = SessionOptions {
        command: match with_command {
            true => query.all("command").map(str::to_owned).collect(),
            false => Vec::new(),
        },
        stdin: flag("stdin"),
        stdout: flag("stdout"),
        // A terminal has one output.
        stderr: flag("stderr") && !flag("tty"),
        tty: flag("tty"),
    };
    if !(options.stdin || options.stdout || flag("stderr")) {
        return Err(ApiError::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    if with_command && options.command.is_empty() {
        return Err(ApiError::bad_request(
            "you must specify a command for the container",
        ));
    }
    Ok(options)
}

/// Options of a log, judged as upstream judges `PodLogOptions`.
pub fn log_options(query: &Query) -> Result<LogOptions, ApiError> {
    let mut wrong = Vec::new();
    let mut at_least = |name: &str, least: i64| -> Result<Option<i64>, ApiError> {
        let value = query.integer(name)?;
        if let Some(value) = value.filter(|value| *value < least) {
            let why = match least {
                0 => "must be greater than or equal to 0",
                _ => "must be greater than 0",
            };
            wrong.push(invalid(name, format!("Invalid value: {value}: {why}")));
        }
        Ok(value)
    };
    let tail_lines = at_least("tailLines", 0)?;
    let limit_bytes = at_least("limitBytes", 1)?;
    let since_seconds = at_least("sinceSeconds", 1)?;
    let since_time = match query.get("sinceTime").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(time::parse(text).map_err(ApiError::bad_request)?),
    };
    if since_seconds.is_some() && since_time.is_some() {
        let message = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        wrong.push(Cause {
            reason: "FieldValueForbidden".to_owned(),
            message: format!("Forbidden: {message}"),
            field: String::new(),
        });
    }
    if !wrong.is_empty() {
        return Err(ApiError::invalid("", "PodLogOptions", "", wrong));
    }
    let flag = |name| query.flag(name).unwrap_or(false);
    Ok(LogOptions {
        follow: flag("follow"),
        previous: flag("previous"),
        since_seconds,
        since_time,
        timestamps: flag("timestamps"),
        tail_lines: tail_lines.and_then(|lines| u64::try_from(lines).ok()),
        limit_bytes: limit_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
    })
}

fn invalid(field: &str, message: String) -> Cause {
    Cause {
        reason: "FieldValueInvalid".to_owned(),
        message,
        field: field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: &[&str], inits: &[&str]) -> Value {
        let named = |names: &[&str]| {
            names
                .iter()
                .map(|name| json!({ "name": name }))
                .collect::<Value>()
        };
        json!({
            "metadata": {"name": "p"},
            "spec": {"containers": named(containers), "initContainers": named(inits)},
        })
    }

    #[test]
    fn containers_are_chosen_or_refused() {
        let one = pod(&["a"], &["i"]);
        let two = pod(&["a", "b"], &[]);
        let cases = [
            (&one, "", Ok("a")),
            (&one, "i", Ok("i")),
            (&one, "x", Err("container x is not valid for pod p")),
            (&two, "b", Ok("b")),
            (
                &two,
                "",
                Err("a container name must be specified for pod p, choose one of: [a b]"),
            ),
        ];
        for (pod, wanted, expected) in cases {
            let chosen = container(pod, wanted).map_err(|refusal| refusal.message);
            assert_eq!(
                chosen.as_deref().map_err(String::as_str),
                expected,
                "{wanted}"
            );
        }
    }

    #[test]
    fn log_options_are_judged() {
        let refused = |query: &str| log_options(&Query::parse(query)).unwrap_err().message;
        assert_eq!(
            refused("tailLines=-1"),
            "PodLogOptions \"\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"
        );
        assert_eq!(
            refused("sinceSeconds=0"),
            "PodLogOptions \"\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0"
        );
        let options = log_options(&Query::parse("follow=true&tailLines=5&limitBytes=9")).unwrap();
        assert!(options.follow && !options.previous);
        assert_eq!(
            (options.tail_lines, options.limit_bytes),
            (Some(5), Some(9))
        );
    }

    #[test]
    fn sessions_want_a_stream_and_a_command() {
        let options =
            |query: &str, with_command| session_options(&Query::parse(query), with_command);
        assert!(options("stdout=1", true).is_err());
        assert!(options("command=ls", true).is_err());
        let exec = options("command=ls&command=-l&stdout=1&stderr=1&tty=1", true).unwrap();
        assert_eq!(exec.command, ["ls", "-l"]);
        assert!(exec.stdout && !exec.stderr && exec.tty);
        assert!(options("stdin=true", false).unwrap().command.is_empty());
    }
}
