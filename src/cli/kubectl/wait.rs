//! `wait`: for creation, deletion or a condition, by watching.

use super::{
    arguments::WaitOptions,
    connection::{Answer, Connection},
    resource::{Catalogue, Resource, targets},
};
use crate::cli::screen;
use anyhow::{Context, Result, bail};
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use std::time::Duration;

/// What is waited for.
#[derive(Debug, PartialEq, Eq)]
enum Goal {
    Create,
    Delete,
    Condition { name: String, status: String },
}

fn goal(text: &str) -> Result<Goal> {
    match text {
        "create" => Ok(Goal::Create),
        "delete" => Ok(Goal::Delete),
        _ => match text.strip_prefix("condition=") {
            Some(condition) => {
                let (name, status) = condition.split_once('=').unwrap_or((condition, "true"));
                Ok(Goal::Condition {
                    name: name.to_owned(),
                    status: status.to_owned(),
                })
            }
            None => bail!("error: unrecognized condition: \"{text}\""),
        },
    }
}

impl Goal {
    /// `None` stands for an object that is not there.
    fn is_reached(&self, object: Option<&Value>) -> bool {
        match (self, object) {
            (Goal::Create, object) => object.is_some(),
            (Goal::Delete, object) => object.is_none(),
            (Goal::Condition { .. }, None) => false,
            (Goal::Condition { name, status }, Some(object)) => {
                let conditions = object["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|condition| {
                    let is = |field: &str, wanted: &str| {
                        condition[field]
                            .as_str()
                            .is_some_and(|text| text.eq_ignore_ascii_case(wanted))
                    };
                    is("type", name) && is("status", status)
                })
            }
        }
    }
}

pub async fn run(connection: &Connection, namespace: &str, options: &WaitOptions) -> Result<()> {
    let goal = goal(&options.what)?;
    let patience = duration(&options.timeout)?;
    let catalogue = Catalogue::fetch(connection).await?;
    for target in targets(&options.targets)? {
        let resource = catalogue.one(&target.word)?;
        if target.names.is_empty() {
            bail!("error: say which {} to wait for", resource.printed());
        }
        for name in &target.names {
            let one = until(connection, resource, namespace, name, &goal);
            let Ok(outcome) = tokio::time::timeout(patience, one).await else {
                bail!(
                    "error: timed out waiting for the condition on {}/{name}",
                    resource.plural
                );
            };
            outcome?;
            screen::result(&format!("{}/{name} condition met", resource.printed()));
        }
    }
    Ok(())
}

async fn until(
    connection: &Connection,
    resource: &Resource,
    namespace: &str,
    name: &str,
    goal: &Goal,
) -> Result<()> {
    loop {
        let collection = resource.path(Some(namespace), None);
        let query = format!("{collection}?fieldSelector=metadata.name%3D{name}");
        let list = connection.get(&query).await?;
        if goal.is_reached(list["items"].get(0)) {
            return Ok(());
        }
        let revision = list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default();
        let watch = format!("{query}&watch=true&resourceVersion={revision}");
        let answer = connection
            .send(Method::GET, &watch, "application/json", "", "")
            .await?;
        if follow(answer, goal).await? {
            return Ok(());
        }
    }
}

/// Whether the goal was reached before the server ended the watch.
async fn follow(mut answer: Answer, goal: &Goal) -> Result<bool> {
    let mut text = Vec::new();
    while let Some(frame) = answer.response.body_mut().frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        text.extend_from_slice(&data);
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).context("read a watch event")?;
            let reached = match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => goal.is_reached(Some(&event["object"])),
                Some("DELETED") => goal.is_reached(None),
                Some("ERROR") => return Ok(false),
                _ => false,
            };
            if reached {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// `90s`, `2m`, `1h30m`.
fn duration(text: &str) -> Result<Duration> {
    let mut total = Duration::ZERO;
    let mut number = String::new();
    for c in text.chars() {
        let seconds = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            digit => {
                number.push(digit);
                continue;
            }
        };
        let count: u32 = number
            .parse()
            .with_context(|| format!("error: invalid duration \"{text}\""))?;
        total += Duration::from_secs(seconds) * count;
        number.clear();
    }
    if number.is_empty() {
        Ok(total)
    } else {
        bail!("error: missing unit in duration \"{text}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn goals_are_judged_by_the_object() {
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let cases = [
            ("create", Some(&ready), true),
            ("create", None, false),
            ("delete", None, true),
            ("delete", Some(&ready), false),
            ("condition=ready", Some(&ready), true),
            ("condition=Ready=false", Some(&ready), false),
            ("condition=Available", Some(&ready), false),
        ];
        for (text, object, reached) in cases {
            assert_eq!(goal(text).unwrap().is_reached(object), reached, "{text}");
        }
        assert!(goal("jsonpath={.a}").is_err());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1h2m3s").unwrap(), Duration::from_secs(3723));
        assert!(duration("5").is_err() && duration("xs").is_err());
    }
}
