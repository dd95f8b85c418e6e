//! `describe`: the object without the server's bookkeeping, then its events.

use super::{
    arguments::TargetOptions,
    connection::Connection,
    resource::{Catalogue, targets},
};
use crate::{api::yaml, cli::screen};
use anyhow::Result;
use serde_json::Value;

pub async fn run(connection: &Connection, namespace: &str, options: &TargetOptions) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    for target in targets(&options.targets)? {
        let resource = catalogue.one(&target.word)?;
        let mut documents = Vec::new();
        if target.names.is_empty() {
            let list = connection
                .get(&resource.path(Some(namespace), None))
                .await?;
            documents.extend(list["items"].as_array().cloned().unwrap_or_default());
        }
        for name in &target.names {
            documents.push(
                connection
                    .get(&resource.path(Some(namespace), Some(name)))
                    .await?,
            );
        }
        for document in documents {
            let uid = document["metadata"]["uid"].as_str().unwrap_or_default();
            let path = format!("/api/v1/events?fieldSelector=involvedObject.uid%3D{uid}");
            let events = connection.get(&path).await?;
            screen::result(&text(document.clone(), &events));
        }
    }
    Ok(())
}

fn text(mut document: Value, events: &Value) -> String {
    if let Some(meta) = document["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "uid", "generation"] {
            meta.remove(field);
        }
    }
    let mut text = yaml::text(&document);
    let events = events["items"].as_array().cloned().unwrap_or_default();
    if events.is_empty() {
        text.push_str("events: <none>\n");
        return text;
    }
    let cell = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows = vec![
        ["TYPE", "REASON", "COUNT", "FROM", "MESSAGE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for event in &events {
        rows.push(vec![
            cell(&event["type"]),
            cell(&event["reason"]),
            event["count"].as_i64().unwrap_or(1).to_string(),
            cell(&event["source"]["component"]),
            cell(&event["message"]),
        ]);
    }
    text.push_str("events:\n");
    text.push_str(&screen::table(&rows));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bookkeeping_is_left_out_and_events_are_shown() {
        let pod = json!({"metadata": {"name": "a", "uid": "u", "managedFields": []}});
        let events = json!({"items": [{"type": "Normal", "reason": "Pulled", "message": "done", "source": {"component": "kubelet"}}]});
        let shown = text(pod.clone(), &events);
        assert!(
            shown.contains("name: a") && !shown.contains("uid") && shown.contains("Pulled"),
            "{shown}"
        );
        assert!(text(pod, &json!({})).ends_with("events: <none>\n"));
    }
}
