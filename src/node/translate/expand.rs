//! `$(VAR)` in environment values, commands and arguments.

/// Replaces `$(name)` where `value_of` knows the name; `$$` stands for one `$`, so that `$$(name)` stays `$(name)`.
#[must_use]
pub fn expand(text: &str, value_of: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            expanded.push('$');
            rest = escaped;
        } else if let Some((name, tail)) = after
            .strip_prefix('(')
            .and_then(|inside| inside.split_once(')'))
        {
            match value_of(name) {
                Some(value) => expanded.push_str(&value),
                None => {
                    expanded.push_str("$(");
                    expanded.push_str(name);
                    expanded.push(')');
                }
            }
            rest = tail;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_escapes() {
        #[rustfmt::skip]
        let cases = [
            ("$(A)", "1"), ("x$(A)y$(B)z", "x1y2z"), ("$(NO)", "$(NO)"), ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"), ("$$$$(A)", "$$(A)"), ("$A", "$A"), ("$(A", "$(A"), ("5$", "5$"), ("$()", "$()"),
            ("$(A)$", "1$"), ("é$(A)", "é1"),
        ];
        for (text, expected) in cases {
            let value_of = |name: &str| match name {
                "A" => Some("1".to_owned()),
                "B" => Some("2".to_owned()),
                _ => None,
            };
            assert_eq!(expand(text, value_of), expected, "{text}");
        }
    }
}
