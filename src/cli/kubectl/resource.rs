//! From what people type (`po`, `deployment/web`, `svc a b`) to paths of the API, by the server's own discovery.

use super::connection::Connection;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A resource type the server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub short: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Resource {
    /// Path of the collection, or of one object.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str(&format!("/namespaces/{namespace}"));
        }
        path.push_str(&format!("/{}", self.plural));
        if let Some(name) = name {
            path.push_str(&format!("/{name}"));
        }
        path
    }

    /// `deployment.apps`, as kubectl prints it in front of names.
    pub fn printed(&self) -> String {
        let singular = if self.singular.is_empty() {
            self.kind.to_lowercase()
        } else {
            self.singular.clone()
        };
        match self.group.as_str() {
            "" => singular,
            group => format!("{singular}.{group}"),
        }
    }

    fn answers_to(&self, word: &str) -> bool {
        let (name, group) = word.split_once('.').unwrap_or((word, ""));
        let group_fits = group.is_empty()
            || group == self.group
            || group == format!("{}.{}", self.version, self.group);
        let name_fits = [&self.plural, &self.singular]
            .into_iter()
            .chain(&self.short)
            .any(|own| own == name)
            || self.kind.eq_ignore_ascii_case(name);
        name_fits && group_fits
    }
}

/// Everything the server serves, in the order that decides between equal names.
pub struct Catalogue(Vec<Resource>);

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

impl Catalogue {
    pub async fn fetch(connection: &Connection) -> Result<Catalogue> {
        let mut resources = Vec::new();
        for path in ["/api", "/apis"] {
            let list = connection
                .json(http::Method::GET, path, AGGREGATED, "", "")
                .await?;
            resources.extend(parse(&list));
        }
        Ok(Catalogue(resources))
    }

    /// The types a word stands for: one, or several for a category such as `all`.
    pub fn find(&self, word: &str) -> Result<Vec<&Resource>> {
        let word = word.to_lowercase();
        if let Some(one) = self.0.iter().find(|resource| resource.answers_to(&word)) {
            return Ok(vec![one]);
        }
        let category: Vec<&Resource> = self
            .0
            .iter()
            .filter(|resource| resource.categories.contains(&word))
            .collect();
        if category.is_empty() {
            bail!("error: the server doesn't have a resource type \"{word}\"");
        }
        Ok(category)
    }

    pub fn one(&self, word: &str) -> Result<&Resource> {
        Ok(self.find(word)?[0])
    }

    /// The type of a manifest.
    pub fn of_manifest(&self, manifest: &Value) -> Result<&Resource> {
        let text = |field: &str| manifest[field].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = crate::api::name::split_api_version(api_version);
        self.0
            .iter()
            .find(|r| r.group == group && r.version == version && r.kind == kind)
            .with_context(|| {
                format!("error: no matches for kind \"{kind}\" in version \"{api_version}\"")
            })
    }
}

fn parse(list: &Value) -> Vec<Resource> {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| array(value).iter().map(&text).collect::<Vec<String>>();
    let mut found = Vec::new();
    for group in array(&list["items"]) {
        // The first version is the preferred one; the others are still served under their own names.
        for version in array(&group["versions"]) {
            for resource in array(&version["resources"]) {
                found.push(Resource {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    plural: text(&resource["resource"]),
                    singular: text(&resource["singularResource"]),
                    kind: text(&resource["responseKind"]["kind"]),
                    short: texts(&resource["shortNames"]),
                    categories: texts(&resource["categories"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: texts(&resource["verbs"]),
                });
            }
        }
    }
    found
}

/// What was asked for: types with the names wanted of each (none: all).
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    pub word: String,
    pub names: Vec<String>,
}

/// `pods`, `deploy,svc`, `pod/a svc/b`, `pod a b`.
pub fn targets(words: &[String]) -> Result<Vec<Target>> {
    let [first, rest @ ..] = words else {
        bail!("error: you must say which type of object");
    };
    if first.contains('/') {
        return words.iter().map(|word| slashed(word)).collect();
    }
    if let Some(odd) = rest.iter().find(|word| word.contains('/')) {
        bail!("error: there is no need to say a type twice: {first} {odd}");
    }
    let target = |word: &str| Target {
        word: word.to_owned(),
        names: rest.to_vec(),
    };
    Ok(first.split(',').map(target).collect())
}

fn slashed(word: &str) -> Result<Target> {
    match word.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(Target {
            word: kind.to_owned(),
            names: vec![name.to_owned()],
        }),
        _ => bail!(
            "error: arguments in resource/name form must have a single resource and name: {word}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn target(word: &str, names: &[&str]) -> Target {
        Target {
            word: word.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn targets_are_read_as_kubectl_does() {
        let read = |text: &str| targets(&words(text)).unwrap();
        assert_eq!(read("pods"), [target("pods", &[])]);
        assert_eq!(read("po,svc"), [target("po", &[]), target("svc", &[])]);
        assert_eq!(read("pod a b"), [target("pod", &["a", "b"])]);
        assert_eq!(
            read("pod/a svc/b"),
            [target("pod", &["a"]), target("svc", &["b"])]
        );
        assert!(targets(&words("pod/a b")).is_err());
        assert!(targets(&words("pod svc/b")).is_err());
    }

    #[test]
    fn names_short_names_and_groups_find_a_type() {
        let list = serde_json::json!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1",
            "resources": [{"resource": "deployments", "singularResource": "deployment", "scope": "Namespaced",
            "responseKind": {"kind": "Deployment"}, "shortNames": ["deploy"], "categories": ["all"]}]}]}]});
        let catalogue = Catalogue(parse(&list));
        for word in [
            "deployments",
            "deployment",
            "deploy",
            "Deployment",
            "deployments.apps",
            "deployments.v1.apps",
            "all",
        ] {
            assert_eq!(
                catalogue.one(word).unwrap().printed(),
                "deployment.apps",
                "{word}"
            );
        }
        assert!(catalogue.one("pods").is_err());
        assert!(catalogue.one("deployments.batch").is_err());
    }
}
