//! Webhooks about conversations: they see the options of the request before any protocol is switched.
//!
//! Mutating ones may change what is run and where; the request then goes on with the options they left.

use super::Connect;
use crate::{
    api::{
        ApiError,
        call::{Call, Verb},
    },
    apiserver::{
        admission::{self, Attempt, Operation},
        registry::Request,
        request::options::Query,
    },
};
use form_urlencoded::Serializer;
use hyper::{Uri, http::uri::PathAndQuery};
use serde_json::{Value, json};

/// Asks about the request to `uri`; the answer is where it goes on.
pub async fn judge(connect: &Connect<'_>, uri: &Uri) -> Result<Uri, ApiError> {
    let registry = &connect.front.config.registry;
    let path = &connect.path;
    let mut call = Call::new(Verb::Get, path.resource.clone());
    call.namespace.clone_from(&path.namespace);
    call.name.clone_from(&path.name);
    call.subresource.clone_from(&path.subresource);
    let request = Request::new(registry, &connect.user, call)?;
    let rest = path.rest.as_deref().unwrap_or_default();
    let query = Query::parse(uri.query().unwrap_or_default());
    let asked = options(&path.resource.resource, connect.subresource(), rest, &query);
    let mut left = asked.clone();
    let attempt = Attempt::new(&request, Operation::Connect, None);
    admission::judge_part(&attempt, &mut left).await?;
    if left == asked || connect.subresource() == "proxy" {
        return Ok(uri.clone());
    }
    let path = format!("{}?{}", uri.path(), query_of(&left));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(ApiError::internal)?);
    Uri::from_parts(parts).map_err(ApiError::internal)
}

/// The options as the document that webhooks see: `PodExecOptions` and the like.
fn options(resource: &str, subresource: &str, rest: &str, query: &Query) -> Value {
    let owner = match resource {
        "services" => "Service",
        "nodes" => "Node",
        _ => "Pod",
    };
    let what = match subresource {
        "exec" => "Exec",
        "attach" => "Attach",
        "portforward" => "PortForward",
        _ => "Proxy",
    };
    let mut document = json!({"apiVersion": "v1", "kind": format!("{owner}{what}Options")});
    if what == "Proxy" {
        if !rest.is_empty() {
            document["path"] = rest.into();
        }
        return document;
    }
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if query.flag(flag) == Some(true) {
            document[flag] = true.into();
        }
    }
    if let Some(container) = query.get("container") {
        document["container"] = container.into();
    }
    let command: Vec<&str> = query.all("command").collect();
    if !command.is_empty() {
        document["command"] = json!(command);
    }
    let ports: Vec<i64> = query
        .all("ports")
        .flat_map(|ports| ports.split(','))
        .filter_map(|port| port.parse().ok())
        .collect();
    if !ports.is_empty() {
        document["ports"] = json!(ports);
    }
    document
}

fn query_of(options: &Value) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in options.as_object().into_iter().flatten() {
        match value {
            _ if name == "apiVersion" || name == "kind" => {}
            Value::String(text) => drop(query.append_pair(name, text)),
            Value::Array(items) => {
                for item in items {
                    let text = item
                        .as_str()
                        .map_or_else(|| item.to_string(), str::to_owned);
                    query.append_pair(name, &text);
                }
            }
            Value::Null => {}
            other => drop(query.append_pair(name, &other.to_string())),
        }
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_documents_and_queries_again() {
        let query = Query::parse("command=sh&command=-c&container=c&stdin=true&stdout=1&tty=false");
        let document = options("pods", "exec", "", &query);
        let expected = json!({
            "apiVersion": "v1", "kind": "PodExecOptions",
            "command": ["sh", "-c"], "container": "c", "stdin": true, "stdout": true,
        });
        assert_eq!(document, expected);
        assert_eq!(
            query_of(&document),
            "command=sh&command=-c&container=c&stdin=true&stdout=true"
        );
        let ports = options("pods", "portforward", "", &Query::parse("ports=80,81"));
        assert_eq!(query_of(&ports), "ports=80&ports=81");
        let proxy = options("services", "proxy", "/x", &Query::default());
        let expected = json!({"apiVersion": "v1", "kind": "ServiceProxyOptions", "path": "/x"});
        assert_eq!(proxy, expected);
    }
}
