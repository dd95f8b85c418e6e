//! Files of variables that a pod's own containers write: `NAME='value'`, a small part of what a shell reads.
//!
//! Pure. Values stand in single quotes, are taken as they are and may go on over several lines; blank lines and
//! comments are skipped. Anything else is an error that names its line.

/// The value of a key; `None` when the file does not have it.
pub fn value(text: &str, key: &str) -> Result<Option<String>, String> {
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let wrong = |what: &str| {
            Err(format!(
                "invalid environment variable format at line {}: {what}",
                index + 1
            ))
        };
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, rest)) = line.split_once('=') else {
            return wrong("missing '='");
        };
        if name.trim().is_empty() {
            return wrong("empty variable name");
        }
        if name.ends_with([' ', '\t']) {
            return wrong("whitespace before '=' is not allowed");
        }
        if rest.starts_with([' ', '\t']) {
            // To a shell this is an empty value.
            if name == key {
                return Ok(None);
            }
            continue;
        }
        let Some(mut rest) = rest.strip_prefix('\'') else {
            return wrong("value must be enclosed in single quotes");
        };
        let mut value = String::new();
        let after = loop {
            if let Some((end, after)) = rest.split_once('\'') {
                value.push_str(end);
                break after;
            }
            value.push_str(rest);
            value.push('\n');
            let Some((_, next)) = lines.next() else {
                return wrong("unclosed single quote");
            };
            rest = next;
        };
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with('#') {
            return wrong("unexpected content after closing quote");
        }
        if name == key {
            return Ok((!value.is_empty()).then_some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_strictly() {
        #[rustfmt::skip]
        let cases: &[(&str, Result<Option<&str>, &str>)] = &[
            ("A='1'", Ok(Some("1"))),
            ("# c\n\n  A='한글 $x \"y\"' # why\n", Ok(Some("한글 $x \"y\""))),
            ("B='2'\nA='two\nlines'\n", Ok(Some("two\nlines"))),
            ("B='2'\n", Ok(None)),
            ("A= '1'", Ok(None)),
            ("A=''", Ok(None)),
            ("A=1", Err("at line 1: value must be enclosed in single quotes")),
            ("\nA ='1'", Err("at line 2: whitespace before '=' is not allowed")),
            ("A", Err("at line 1: missing '='")),
            ("='1'", Err("at line 1: empty variable name")),
            ("A='1' b", Err("at line 1: unexpected content after closing quote")),
            ("B='1", Err("at line 1: unclosed single quote")),
        ];
        for (text, expected) in cases {
            let found = value(text, "A");
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected.map(str::to_owned)), "{text}"),
                Err(why) => assert!(
                    found.clone().unwrap_err().ends_with(why),
                    "{text}: {found:?}"
                ),
            }
        }
    }
}
