//! `get` and `logs`.

use super::{
    arguments::{GetOptions, LogOptions, Output},
    connection::{Connection, refusal},
    resource::{Catalogue, Resource, targets},
};
use crate::{api::yaml, cli::screen};
use anyhow::Result;
use http::Method;
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::io::Write;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub async fn run(connection: &Connection, namespace: &str, options: &GetOptions) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let mut documents = Vec::new();
    let asked = targets(&options.targets)?;
    for target in &asked {
        let resources = catalogue.find(&target.word)?;
        let many = resources.len() > 1 || asked.len() > 1;
        for resource in resources {
            let namespace = (!options.all_namespaces).then_some(namespace);
            for path in paths(
                resource,
                namespace,
                &target.names,
                options.selector.as_deref(),
            ) {
                let accept = if is_table(options.output) {
                    TABLE
                } else {
                    "application/json"
                };
                let document = connection.json(Method::GET, &path, accept, "", "").await?;
                if is_table(options.output) {
                    print_table(&document, resource, many, options);
                } else {
                    documents.push((resource, document));
                }
            }
        }
    }
    if let Some(output) = options.output.filter(|output| !is_table(Some(*output))) {
        print_documents(output, documents);
    }
    Ok(())
}

fn is_table(output: Option<Output>) -> bool {
    matches!(output, None | Some(Output::Wide))
}

fn paths(
    resource: &Resource,
    namespace: Option<&str>,
    names: &[String],
    selector: Option<&str>,
) -> Vec<String> {
    let query = selector.map_or_else(String::new, |selector| {
        format!(
            "?labelSelector={}",
            utf8_percent_encode(selector, NON_ALPHANUMERIC)
        )
    });
    match names {
        [] => vec![resource.path(namespace, None) + &query],
        names => names
            .iter()
            .map(|name| resource.path(namespace, Some(name)))
            .collect(),
    }
}

fn print_table(table: &Value, resource: &Resource, many: bool, options: &GetOptions) {
    let rows = rows(
        table,
        resource,
        many,
        options.output == Some(Output::Wide),
        options.all_namespaces,
    );
    if rows.len() > 1 {
        screen::result(&screen::table(&rows));
        if many {
            screen::result("");
        }
    } else if !many {
        screen::line("No resources found");
    }
}

/// Head and cells as text. `prefixed` names carry their type, as kubectl does for several types at once.
fn rows(
    table: &Value,
    resource: &Resource,
    prefixed: bool,
    wide: bool,
    namespaces: bool,
) -> Vec<Vec<String>> {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let columns: Vec<(usize, String)> = array(&table["columnDefinitions"])
        .iter()
        .enumerate()
        .filter(|(_, column)| wide || column["priority"].as_i64().unwrap_or(0) == 0)
        .map(|(index, column)| {
            (
                index,
                column["name"].as_str().unwrap_or_default().to_uppercase(),
            )
        })
        .collect();
    let with_namespace = namespaces && resource.namespaced;
    let mut head: Vec<String> = columns.iter().map(|(_, name)| name.clone()).collect();
    if with_namespace {
        head.insert(0, "NAMESPACE".to_owned());
    }
    let mut all = vec![head];
    for row in array(&table["rows"]) {
        let cell = |index: usize| match &row["cells"][index] {
            Value::String(text) => text.clone(),
            Value::Null => "<none>".to_owned(),
            other => other.to_string(),
        };
        let mut cells: Vec<String> = columns.iter().map(|(index, _)| cell(*index)).collect();
        if prefixed && let Some(name) = cells.first_mut() {
            *name = format!("{}/{name}", resource.printed());
        }
        if with_namespace {
            let namespace = row["object"]["metadata"]["namespace"].as_str();
            cells.insert(0, namespace.unwrap_or_default().to_owned());
        }
        all.push(cells);
    }
    all
}

fn print_documents(output: Output, documents: Vec<(&Resource, Value)>) {
    if output == Output::Name {
        for (resource, document) in &documents {
            let items = document["items"]
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![document.clone()]);
            for item in items {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                screen::result(&format!("{}/{name}", resource.printed()));
            }
        }
        return;
    }
    let mut documents: Vec<Value> = documents
        .into_iter()
        .map(|(_, document)| document)
        .collect();
    let document = match documents.len() {
        1 => documents.remove(0),
        _ => json!({"apiVersion": "v1", "kind": "List", "items": documents}),
    };
    screen::result(&match output {
        Output::Yaml => yaml::text(&document).trim_end().to_owned(),
        Output::Json | Output::Name | Output::Wide => {
            serde_json::to_string_pretty(&document).unwrap_or_default()
        }
    });
}

pub async fn logs(connection: &Connection, namespace: &str, options: &LogOptions) -> Result<()> {
    let pod = options
        .pod
        .trim_start_matches("pods/")
        .trim_start_matches("pod/");
    let mut query = form_urlencoded::Serializer::new(String::new());
    let flags = [
        ("follow", options.follow),
        ("previous", options.previous),
        ("timestamps", options.timestamps),
    ];
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        query.append_pair(name, "true");
    }
    if let Some(container) = &options.container {
        query.append_pair("container", container);
    }
    if let Some(tail) = options.tail {
        query.append_pair("tailLines", &tail.to_string());
    }
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?{}",
        query.finish()
    );
    let mut answer = connection.send(Method::GET, &path, "*/*", "", "").await?;
    if !answer.response.status().is_success() {
        let status = answer.response.status();
        let bytes = answer.response.into_body().collect().await?.to_bytes();
        return Err(refusal(status, &bytes));
    }
    while let Some(frame) = answer.response.body_mut().frame().await {
        if let Ok(data) = frame?.into_data() {
            let mut out = std::io::stdout().lock();
            out.write_all(&data).and_then(|()| out.flush())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> Resource {
        Resource {
            group: String::new(),
            version: "v1".into(),
            plural: "pods".into(),
            singular: "pod".into(),
            kind: "Pod".into(),
            short: vec!["po".into()],
            categories: Vec::new(),
            namespaced: true,
            verbs: Vec::new(),
        }
    }

    #[test]
    fn tables_show_what_was_asked_for() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [{"cells": ["a", null], "object": {"metadata": {"namespace": "x"}}}],
        });
        let plain = rows(&table, &pods(), false, false, false);
        assert_eq!(plain, [vec!["NAME"], vec!["a"]]);
        let wide = rows(&table, &pods(), true, true, true);
        assert_eq!(
            wide,
            [
                vec!["NAMESPACE", "NAME", "IP"],
                vec!["x", "pod/a", "<none>"]
            ]
        );
    }

    #[test]
    fn selectors_are_escaped() {
        let paths = paths(&pods(), Some("d"), &[], Some("a in (b)"));
        assert_eq!(
            paths,
            ["/api/v1/namespaces/d/pods?labelSelector=a%20in%20%28b%29"]
        );
    }
}
