//! Tables: rows of cells for `kubectl get`, computed on the server.

use crate::{
    api::ApiError,
    kinds::{Column, ColumnType, Kind, columns},
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What a row carries besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    pub fn parse(text: Option<&str>) -> Result<Include, ApiError> {
        match text.unwrap_or_default() {
            "None" => Ok(Include::None),
            "" | "Metadata" => Ok(Include::Metadata),
            "Object" => Ok(Include::Object),
            other => Err(ApiError::bad_request(format!(
                "unrecognized includeObject value: {other:?}"
            ))),
        }
    }
}

/// Makes the tables of one kind.
#[derive(Clone, Copy)]
pub struct Table {
    pub kind: &'static Kind,
    /// `meta.k8s.io/v1`.
    pub api_version: &'static str,
    pub include: Include,
}

impl Table {
    /// Everything up to the rows.
    pub fn header(&self, meta: &Value, with_columns: bool) -> Value {
        let columns = columns::of(self.kind).iter().map(definition);
        json!({
            "kind": "Table", "apiVersion": self.api_version, "metadata": meta,
            "columnDefinitions": if with_columns { columns.collect() } else { Value::Null },
        })
    }

    pub fn row(&self, object: Value, now: Timestamp) -> Value {
        let cells: Vec<Value> = columns::of(self.kind)
            .iter()
            .map(|column| (column.cell)(&object, now))
            .collect();
        let mut row = json!({ "cells": cells });
        if let Some(condition) = completed(self.kind, &object) {
            row["conditions"] = json!([condition]);
        }
        row["object"] = match self.include {
            Include::None => Value::Null,
            Include::Metadata => metadata_only(object, self.api_version),
            Include::Object => object,
        };
        row
    }
}

/// `PartialObjectMetadata` of a document.
pub fn metadata_only(mut object: Value, api_version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": object["metadata"].take(),
    })
}

fn definition(column: &Column) -> Value {
    let column_type = match column.column_type {
        ColumnType::String => "string",
        ColumnType::Integer => "integer",
        ColumnType::Boolean => "boolean",
        ColumnType::Date => "date",
    };
    json!({
        "name": column.title, "type": column_type, "format": column.format, "description": "",
        "priority": i32::from(column.wide),
    })
}

/// Lets clients hide pods that have ended.
fn completed(kind: &Kind, object: &Value) -> Option<Value> {
    let phase = object["status"]["phase"].as_str()?;
    let ended = kind.storage == "pods" && matches!(phase, "Succeeded" | "Failed");
    ended.then(|| json!({"type": "Completed", "status": "True", "reason": phase, "message": message(phase)}))
}

fn message(phase: &str) -> &'static str {
    match phase {
        "Succeeded" => "The pod has completed successfully.",
        _ => "The pod failed.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn table(include: &str) -> Table {
        Table {
            kind: kinds::find("", "v1", "pods").unwrap(),
            api_version: "meta.k8s.io/v1",
            include: Include::parse(Some(include)).unwrap(),
        }
    }

    #[test]
    fn rows_have_as_many_cells_as_columns() {
        for kind in kinds::all() {
            let table = Table { kind, ..table("") };
            let header = table.header(&json!({}), true);
            let columns = header["columnDefinitions"].as_array().unwrap().len();
            let row = table.row(json!({"metadata": {"name": "x"}}), Timestamp::UNIX_EPOCH);
            assert_eq!(
                row["cells"].as_array().unwrap().len(),
                columns,
                "{}",
                kind.name
            );
        }
    }

    #[test]
    fn rows_carry_what_was_asked_for() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "x"}, "status": {"phase": "Failed"}});
        let row = |include| table(include).row(pod.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!(row("None")["object"], Value::Null);
        assert_eq!(row("")["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(row("Object")["object"], pod);
        assert_eq!(row("")["conditions"][0]["reason"], "Failed");
        let refusal = Include::parse(Some("All")).unwrap_err();
        assert_eq!(refusal.message, "unrecognized includeObject value: \"All\"");
    }
}
