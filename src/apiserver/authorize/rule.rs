//! One RBAC rule: what it allows, what it covers, how messages print it.

use super::Attributes;
use serde::Deserialize;
use std::fmt;

/// `PolicyRule` of rbac.authorization.k8s.io/v1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    #[must_use]
    pub fn allows(&self, wanted: &Attributes<'_>) -> bool {
        if !has(&self.verbs, wanted.verb) {
            return false;
        }
        match wanted.path {
            Some(path) => self
                .non_resource_urls
                .iter()
                .any(|url| url_covers(url, path)),
            None => {
                has(&self.api_groups, wanted.group)
                    && self.has_resource(wanted.resource, wanted.subresource)
                    && self.has_name(wanted.name)
            }
        }
    }

    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources
            .iter()
            .any(|allowed| match allowed.split_once('/') {
                None => allowed == "*" || (subresource.is_empty() && allowed == resource),
                Some((main, sub)) => {
                    !subresource.is_empty()
                        && sub == subresource
                        && (main == "*" || main == resource)
                }
            })
    }

    fn has_name(&self, name: &str) -> bool {
        self.resource_names.is_empty() || self.resource_names.iter().any(|allowed| allowed == name)
    }

    /// Splits the rule into rules of one verb and one resource (or path) each.
    #[must_use]
    pub fn atoms(&self) -> Vec<Rule> {
        let mut atoms = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                atoms.push(Rule {
                    verbs: vec![verb.clone()],
                    non_resource_urls: vec![url.clone()],
                    ..Rule::default()
                });
            }
        }
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let atom = Rule {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Rule::default()
                    };
                    if self.resource_names.is_empty() {
                        atoms.push(atom);
                        continue;
                    }
                    atoms.extend(self.resource_names.iter().map(|name| Rule {
                        resource_names: vec![name.clone()],
                        ..atom.clone()
                    }));
                }
            }
        }
        atoms
    }

    /// Whether everything the atom allows is allowed by this rule.
    #[must_use]
    pub fn covers(&self, atom: &Rule) -> bool {
        let verbs = atom.verbs.iter().all(|verb| has(&self.verbs, verb));
        let groups = atom
            .api_groups
            .iter()
            .all(|group| has(&self.api_groups, group));
        let resources = atom
            .resources
            .iter()
            .all(|resource| self.covers_resource(resource));
        let names = if atom.resource_names.is_empty() {
            self.resource_names.is_empty()
        } else {
            atom.resource_names.iter().all(|name| self.has_name(name))
        };
        let urls = atom.non_resource_urls.iter().all(|url| {
            self.non_resource_urls
                .iter()
                .any(|held| url_covers(held, url))
        });
        verbs && groups && resources && names && urls
    }

    fn covers_resource(&self, resource: &str) -> bool {
        self.resources.iter().any(|held| {
            held == "*"
                || held == resource
                || match (held.strip_prefix("*/"), resource.split_once('/')) {
                    (Some(held), Some((_, wanted))) => held == wanted,
                    _ => false,
                }
        })
    }
}

/// The atoms of `wanted` that no rule of `held` covers.
#[must_use]
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted
        .iter()
        .flat_map(Rule::atoms)
        .filter(|atom| !held.iter().any(|rule| rule.covers(atom)))
        .collect()
}

/// Joins atoms that differ in their verbs only, and sorts: the form in which refusals list them.
#[must_use]
pub fn compact(atoms: Vec<Rule>) -> Vec<Rule> {
    let mut compacted: Vec<Rule> = Vec::new();
    for atom in atoms {
        let same = compacted.iter_mut().find(|known| {
            known.api_groups == atom.api_groups
                && known.resources == atom.resources
                && known.resource_names == atom.resource_names
                && known.non_resource_urls == atom.non_resource_urls
        });
        match same {
            Some(known) => known.verbs.extend(atom.verbs),
            None => compacted.push(atom),
        }
    }
    compacted.sort_by_cached_key(ToString::to_string);
    compacted
}

fn has(allowed: &[String], wanted: &str) -> bool {
    allowed.iter().any(|one| one == "*" || one == wanted)
}

fn url_covers(held: &str, wanted: &str) -> bool {
    held == "*"
        || held == wanted
        || held
            .strip_suffix('*')
            .is_some_and(|prefix| wanted.starts_with(prefix))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        f.write_str("{")?;
        let mut first = true;
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            let separator = if first { "" } else { ", " };
            first = false;
            write!(f, "{separator}{name}:{}", quoted(list))?;
        }
        f.write_str("}")
    }
}

/// As Go prints a list of strings with `%q`: `["a" "b"]`.
#[must_use]
pub fn quoted(list: &[String]) -> String {
    let texts: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &str, resources: &str, verbs: &str, names: &str) -> Rule {
        let list = |text: &str| -> Vec<String> {
            if text == "-" {
                return Vec::new();
            }
            text.split(',').map(str::to_owned).collect()
        };
        Rule {
            api_groups: list(groups),
            resources: list(resources),
            verbs: list(verbs),
            resource_names: list(names),
            ..Rule::default()
        }
    }

    fn wanted<'a>(verb: &'a str, resource: &'a str, sub: &'a str, name: &'a str) -> Attributes<'a> {
        Attributes {
            verb,
            resource,
            subresource: sub,
            name,
            ..Attributes::default()
        }
    }

    #[test]
    fn rules_allow_what_they_say() {
        let cases = [
            (
                rule("", "pods", "get", "-"),
                wanted("get", "pods", "", "x"),
                true,
            ),
            (
                rule("", "pods", "get", "-"),
                wanted("get", "pods", "log", "x"),
                false,
            ),
            (
                rule("", "pods/log", "get", "-"),
                wanted("get", "pods", "log", "x"),
                true,
            ),
            (
                rule("", "*/log", "get", "-"),
                wanted("get", "pods", "log", "x"),
                true,
            ),
            (
                rule("*", "*", "*", "-"),
                wanted("get", "pods", "log", "x"),
                true,
            ),
            (
                rule("apps", "pods", "get", "-"),
                wanted("get", "pods", "", "x"),
                false,
            ),
            (
                rule("", "pods", "get", "a"),
                wanted("get", "pods", "", "x"),
                false,
            ),
            (
                rule("", "pods", "create", "a"),
                wanted("create", "pods", "", ""),
                false,
            ),
        ];
        for (rule, wanted, expected) in cases {
            assert_eq!(rule.allows(&wanted), expected, "{rule} {wanted:?}");
        }
    }

    #[test]
    fn paths_match_exactly_or_by_trailing_star() {
        let rule = Rule {
            verbs: vec!["get".into()],
            non_resource_urls: vec!["/healthz".into(), "/apis/*".into()],
            ..Rule::default()
        };
        for (path, expected) in [
            ("/healthz", true),
            ("/healthz/x", false),
            ("/apis/apps", true),
        ] {
            let wanted = Attributes {
                verb: "get",
                path: Some(path),
                ..Attributes::default()
            };
            assert_eq!(rule.allows(&wanted), expected, "{path}");
        }
    }

    #[test]
    fn missing_rules_are_listed_as_upstream_prints_them() {
        let held = [rule("", "pods", "get", "-")];
        let wanted = [rule("", "pods,secrets", "get,list", "-")];
        let texts: Vec<String> = compact(missing(&held, &wanted))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#,
            ]
        );
    }
}
