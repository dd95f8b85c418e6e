//! Documents as YAML text, in the form that people know from Kubernetes' own tools.
//!
//! Readers of YAML 1.1 are common: what such a reader would take for a time, a number or a truth value stands in quotes.
//! Keys are sorted, as the documents' are; lists stand in the column of their key.

use serde_json::Value;

/// The text of one document, with a line break at its end.
#[must_use]
pub fn text(document: &Value) -> String {
    let mut out = String::new();
    node(document, 0, &mut out);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Writes a value that begins at the current position; `column` is where its further lines begin.
fn node(value: &Value, column: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    indent(column, out);
                }
                out.push_str(&flow(key));
                out.push(':');
                below(value, column, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    indent(column, out);
                }
                out.push_str("- ");
                scalar_or_node(item, column + 2, out);
            }
        }
        other => scalar_or_node(other, column, out),
    }
}

/// What follows a key.
fn below(value: &Value, column: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            indent(column + 2, out);
            node(value, column + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            indent(column, out);
            node(value, column, out);
        }
        _ => {
            out.push(' ');
            scalar_or_node(value, column + 2, out);
        }
    }
}

fn scalar_or_node(value: &Value, column: usize, out: &mut String) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str("{}\n"),
        Value::Array(items) if items.is_empty() => out.push_str("[]\n"),
        Value::Object(_) | Value::Array(_) => node(value, column, out),
        Value::String(text) if is_block(text) => block(text, column, out),
        Value::String(text) => {
            out.push_str(&flow(text));
            out.push('\n');
        }
        other => {
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

fn indent(column: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', column));
}

/// Several lines that can stand as they are.
fn is_block(text: &str) -> bool {
    text.contains('\n') && is_printable(text) && !text.starts_with([' ', '\t', '\n'])
}

fn is_printable(text: &str) -> bool {
    text.chars()
        .all(|char| matches!(char, '\n' | '\t') || !(char.is_control() || is_break(char)))
}

/// Characters that end a line for some reader, or nothing at all.
fn is_break(char: char) -> bool {
    matches!(char, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn block(text: &str, column: usize, out: &mut String) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-\n",
        1 => "|\n",
        _ => "|+\n",
    });
    // Blocks must be deeper than what holds them; the document itself has column 0.
    let column = column.max(2);
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            indent(column, out);
        }
        out.push_str(line);
        out.push('\n');
    }
}

/// A text in one line: plain, in single quotes when it looks like syntax, in double quotes otherwise.
fn flow(text: &str) -> String {
    if !is_printable(text) || text.contains(['\n', '\t']) || is_other_type(text) {
        return double_quoted(text);
    }
    if looks_like_syntax(text) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            char if char.is_control() || is_break(char) => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(char)));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

fn looks_like_syntax(text: &str) -> bool {
    let starts = text.starts_with([
        ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`',
    ]);
    let marks = |mark: char| {
        text.strip_prefix(mark)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let is_marked = ['-', '?', ':'].into_iter().any(marks) || text.starts_with("---");
    starts
        || is_marked
        || text.contains(": ")
        || text.contains(" #")
        || text.ends_with(':')
        || text.starts_with(' ')
        || text.ends_with(' ')
}

/// What a reader would not take for a text, by the rules of YAML 1.1 and 1.2.
fn is_other_type(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "", "~", "null", "true", "false", "y", "n", "yes", "no", "on", "off", "<<", "=", ".inf",
        "-.inf", "+.inf", ".nan",
    ];
    let lower = text.to_ascii_lowercase();
    WORDS.contains(&lower.as_str()) || is_number(&lower) || is_time(text)
}

fn is_number(lower: &str) -> bool {
    let digits = lower.strip_prefix(['+', '-']).unwrap_or(lower);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return false;
    }
    let bare = digits.replace('_', "");
    if bare.parse::<f64>().is_ok() {
        return true;
    }
    let of_base = |prefix: &str, radix: u32| {
        bare.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|one| one.is_digit(radix)))
    };
    // The last: minutes and seconds.
    let is_sexagesimal = bare.contains(':')
        && bare.split(':').all(|part| {
            !part.is_empty() && part.chars().all(|one| one.is_ascii_digit() || one == '.')
        });
    of_base("0x", 16) || of_base("0o", 8) || of_base("0b", 2) || is_sexagesimal
}

/// `2026-11-21` and what may follow it.
fn is_time(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let is_part = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.chars().all(|one| one.is_ascii_digit())
    };
    matches!(parts.as_slice(), [year, month, day]
        if year.len() == 4 && is_part(year, 4) && is_part(month, 2) && is_part(day, 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use serde_json::json;

    #[test]
    fn documents_look_as_people_know_them() {
        let document = json!({
            "kind": "ConfigMap",
            "data": {"a": "x\ny\n", "b": "1", "c": "10.0.0.1", "한글": "값", "yes": "no"},
            "list": [{"a": 1, "b": []}, "2026-11-21T05:00:00Z", [1, {"x": {}}]],
            "none": null,
            "text": "a: b",
        });
        let expected = "data:\n  a: |\n    x\n    y\n  b: \"1\"\n  c: 10.0.0.1\n  \"yes\": \"no\"\n  한글: 값\nkind: ConfigMap\nlist:\n- a: 1\n  b: []\n- \"2026-11-21T05:00:00Z\"\n- - 1\n  - x: {}\nnone: null\ntext: 'a: b'\n";
        assert_eq!(text(&document), expected);
    }

    #[test]
    fn every_text_is_read_as_itself() {
        let texts = [
            "",
            " ",
            "a",
            "~",
            "y",
            "Off",
            "1",
            "-1.5e3",
            "0x1F",
            "1_000",
            "12:30",
            "1.2.3.4",
            "- a",
            "-a",
            "--- a",
            "a:",
            "a: b",
            "a #b",
            "#",
            "'",
            "\"",
            "it's",
            "a\nb",
            "a\n",
            "\na",
            "a\n\n",
            " a\nb",
            "a\n\n b\n",
            "\t",
            "a\tb",
            "\u{7}",
            "\u{2028}",
            "{}",
            "[",
            "!x",
            "%",
            "@",
            "`",
            "한글",
            "2026-01-01",
            "a\r\nb",
            "null",
            "=",
            "k8s.io/a",
            "*",
            "&",
            "? x",
            ": x",
            "|",
            ">",
            "\n",
            "\n\n",
            "\\",
            "a\\nb",
            ".5",
            "+1",
            "1e",
            "0b12",
        ];
        for one in texts {
            let document = json!({"a": one, "b": [one, {one: one}]});
            let written = text(&document);
            let read = decode::yaml(written.as_bytes());
            assert_eq!(
                read.map(|read| read.value),
                Ok(document),
                "{one:?}:\n{written}"
            );
        }
        for whole in [
            json!("a\nb"),
            json!([]),
            json!({}),
            json!([[["x"]]]),
            json!(1),
        ] {
            let read = decode::yaml(text(&whole).as_bytes()).unwrap();
            assert_eq!(read.value, whole);
        }
    }
}
