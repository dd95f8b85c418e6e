//! `apply` (server-side, so that nothing is decided here) and `delete`.

use super::{
    arguments::DeleteOptions,
    connection::{Connection, is_not_found},
    resource::{Catalogue, Resource, targets},
};
use crate::cli::screen;
use anyhow::{Context, Result, bail};
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;

const APPLY_PATCH: &str = "application/apply-patch+yaml";

pub async fn apply(connection: &Connection, namespace: &str, files: &[String]) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let mut failures = 0;
    for document in manifests(files)? {
        if let Err(error) = apply_one(connection, &catalogue, namespace, &document).await {
            failures += 1;
            screen::line(&format!("{error:#}"));
        }
    }
    match failures {
        0 => Ok(()),
        1 => bail!("error: one object was not applied"),
        n => bail!("error: {n} objects were not applied"),
    }
}

async fn apply_one(
    connection: &Connection,
    catalogue: &Catalogue,
    namespace: &str,
    document: &Value,
) -> Result<()> {
    let resource = catalogue.of_manifest(document)?;
    let name = document["metadata"]["name"]
        .as_str()
        .context("error: the object has no metadata.name")?;
    let path = resource.path(Some(namespace_of(document, namespace)), Some(name));
    let before = connection.get(&path).await.ok();
    let query = format!("{path}?fieldManager=kubik-kubectl&force=true&fieldValidation=Strict");
    let after = connection
        .json(
            Method::PATCH,
            &query,
            "application/json",
            APPLY_PATCH,
            document.to_string(),
        )
        .await?;
    let revision = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let verdict = match before {
        None => "created",
        Some(before) if revision(&before) == revision(&after) => "unchanged",
        Some(_) => "configured",
    };
    screen::result(&format!("{}/{name} {verdict}", resource.printed()));
    Ok(())
}

pub async fn delete(
    connection: &Connection,
    namespace: &str,
    options: &DeleteOptions,
) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    if options.filename.is_empty() {
        for target in targets(&options.targets)? {
            let resource = catalogue.one(&target.word)?;
            if target.names.is_empty() {
                bail!("error: resource(s) were provided, but no name was specified");
            }
            for name in &target.names {
                delete_one(
                    connection,
                    resource,
                    namespace,
                    name,
                    options.ignore_not_found,
                )
                .await?;
            }
        }
    }
    for document in manifests(&options.filename)? {
        let resource = catalogue.of_manifest(&document)?;
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = namespace_of(&document, namespace);
        delete_one(
            connection,
            resource,
            namespace,
            name,
            options.ignore_not_found,
        )
        .await?;
    }
    Ok(())
}

async fn delete_one(
    connection: &Connection,
    resource: &Resource,
    namespace: &str,
    name: &str,
    ignore_not_found: bool,
) -> Result<()> {
    let path = resource.path(Some(namespace), Some(name)) + "?propagationPolicy=Background";
    match connection
        .json(Method::DELETE, &path, "application/json", "", "")
        .await
    {
        Ok(_) => screen::result(&format!("{} \"{name}\" deleted", resource.printed())),
        Err(error) if ignore_not_found && is_not_found(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn namespace_of<'a>(document: &'a Value, namespace: &'a str) -> &'a str {
    document["metadata"]["namespace"]
        .as_str()
        .unwrap_or(namespace)
}

fn manifests(files: &[String]) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for file in files {
        let text = if file == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        } else {
            std::fs::read_to_string(file).with_context(|| format!("error: read {file}"))?
        };
        documents.extend(split(&text).with_context(|| format!("error: {file}"))?);
    }
    Ok(documents)
}

/// The documents of a YAML text, with the items of a `List` taken out of it.
fn split(text: &str) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        match value["items"].as_array() {
            Some(items) if value["kind"] == "List" => documents.extend(items.clone()),
            _ if value.is_null() => {}
            _ => documents.push(value),
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let kinds = |text: &str| -> Vec<String> {
            let documents = split(text).unwrap();
            documents
                .iter()
                .map(|d| d["kind"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(kinds("kind: A\n---\n# nothing\n---\nkind: B\n"), ["A", "B"]);
        assert_eq!(
            kinds("kind: List\nitems: [{kind: A}, {kind: B}]"),
            ["A", "B"]
        );
        assert!(split("a: [").is_err());
    }
}
