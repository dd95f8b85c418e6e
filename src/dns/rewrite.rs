//! Names that are looked up under another name: `rewrite name …` of a Corefile. Pure.
//!
//! Who asked gets the answer under the name that was asked for.

use super::corefile::{Directive, labels, wrong_count};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Exact,
    Prefix,
    Suffix,
    Substring,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    how: How,
    /// Lower-case, without the last dot.
    from: String,
    to: String,
    /// Rules after this one are looked at too.
    goes_on: bool,
}

/// The inner error is a complaint about a rule that is right but not understood.
pub(super) fn read(directive: &Directive) -> Result<Result<Rewrite, String>, String> {
    let mut words: Vec<&str> = directive.arguments().iter().map(String::as_str).collect();
    let goes_on = words.first() == Some(&"continue");
    if matches!(words.first(), Some(&("continue" | "stop"))) {
        words.remove(0);
    }
    match words.first() {
        Some(&"name") => words.remove(0),
        Some(other) if ["type", "class", "edns0", "ttl", "cname", "rcode"].contains(other) => {
            return Ok(Err(format!(
                "rewrite: only names are rewritten, not {other}"
            )));
        }
        _ => return Err(wrong_count(directive)),
    };
    let how = match words.first() {
        Some(&"exact") => Some(How::Exact),
        Some(&"prefix") => Some(How::Prefix),
        Some(&"suffix") => Some(How::Suffix),
        Some(&"substring") => Some(How::Substring),
        Some(&"regex") => {
            return Ok(Err(
                "rewrite: regular expressions are not understood".to_owned()
            ));
        }
        _ => None,
    };
    if how.is_some() {
        words.remove(0);
    }
    // What follows says how names in answers are turned back; that is done in any case.
    let &[from, to, ..] = words.as_slice() else {
        return Err(wrong_count(directive));
    };
    Ok(Ok(Rewrite {
        how: how.unwrap_or(How::Exact),
        from: bare(from),
        to: bare(to),
        goes_on,
    }))
}

fn bare(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// The name that is looked up instead of this one; `None`: itself.
pub fn rewritten(rewrites: &[Rewrite], name: &[String]) -> Option<Vec<String>> {
    let mut text = name.join(".");
    let mut is_changed = false;
    for rule in rewrites {
        let Some(new) = rule.apply(&text) else {
            continue;
        };
        text = new;
        is_changed = true;
        if !rule.goes_on {
            break;
        }
    }
    is_changed.then(|| labels(&text))
}

impl Rewrite {
    fn apply(&self, name: &str) -> Option<String> {
        let (from, to) = (self.from.as_str(), self.to.as_str());
        match self.how {
            How::Exact => (name == from).then(|| to.to_owned()),
            How::Prefix => Some(format!("{to}{}", name.strip_prefix(from)?)),
            How::Suffix => Some(format!("{}{to}", name.strip_suffix(from)?)),
            How::Substring => name.contains(from).then(|| name.replacen(from, to, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(rules: &[&str], name: &str) -> String {
        let rules: Vec<Rewrite> = rules
            .iter()
            .map(|rule| {
                let words = rule.split_whitespace().map(str::to_owned).collect();
                let directive = Directive {
                    words,
                    ..Directive::default()
                };
                read(&directive).unwrap().unwrap()
            })
            .collect();
        rewritten(&rules, &labels(name)).map_or_else(|| "same".to_owned(), |name| name.join("."))
    }

    #[test]
    fn names_are_rewritten_by_the_first_rule_that_fits() {
        let cases: &[(&[&str], &str, &str)] = &[
            (
                &["rewrite name foo.example. web.default.svc.cluster.local."],
                "Foo.example.",
                "web.default.svc.cluster.local",
            ),
            (&["rewrite name exact a.example b"], "x.a.example", "same"),
            (
                &["rewrite name suffix .my.example .default.svc.cluster.local answer auto"],
                "web.my.example",
                "web.default.svc.cluster.local",
            ),
            (
                &["rewrite stop name prefix dev- prod-"],
                "dev-web.x",
                "prod-web.x",
            ),
            (
                &["rewrite name substring old new"],
                "a-old-b.x",
                "a-new-b.x",
            ),
            (
                &["rewrite name exact a b", "rewrite name exact b c"],
                "a",
                "b",
            ),
            (
                &["rewrite continue name exact a b", "rewrite name exact b c"],
                "a",
                "c",
            ),
        ];
        for (rules, name, expected) in cases {
            assert_eq!(apply(rules, name), *expected, "{rules:?} {name}");
        }
    }
}
