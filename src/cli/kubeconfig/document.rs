//! A kubeconfig as a YAML document: named entries in three lists and a current context. Pure.

use serde_yaml_ng::{Mapping, Value};

const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

#[derive(Clone, Debug, PartialEq)]
pub struct Kubeconfig(Mapping);

impl Kubeconfig {
    /// An empty text is an empty configuration.
    pub fn parse(text: &str) -> Result<Kubeconfig, String> {
        match serde_yaml_ng::from_str(text).map_err(|error| error.to_string())? {
            Value::Null => Ok(Kubeconfig(Mapping::new())),
            Value::Mapping(mapping) => Ok(Kubeconfig(mapping)),
            _ => Err("the document is not a mapping".to_owned()),
        }
    }

    pub fn to_text(&self) -> String {
        serde_yaml_ng::to_string(&self.0).unwrap_or_default()
    }

    pub fn current_context(&self) -> String {
        let value = self.0.get("current-context").and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    }

    pub fn set_current_context(&mut self, name: &str) {
        self.0.insert("current-context".into(), name.into());
    }

    pub fn has_context(&self, name: &str) -> bool {
        !name.is_empty()
            && self
                .entries("contexts")
                .iter()
                .any(|entry| is_named(entry, name))
    }

    /// Takes over the entries called `name`, replacing ours of an earlier start in place. The namespace that a person
    /// chose for a context stays.
    pub fn adopt(&mut self, from: &Kubeconfig, name: &str) {
        self.0
            .entry("apiVersion".into())
            .or_insert_with(|| "v1".into());
        self.0
            .entry("kind".into())
            .or_insert_with(|| "Config".into());
        for list in LISTS {
            let Some(entry) = from
                .entries(list)
                .iter()
                .find(|entry| is_named(entry, name))
            else {
                continue;
            };
            let target = self.0.entry(list.into()).or_insert(Value::Null);
            if !target.is_sequence() {
                *target = Value::Sequence(Vec::new());
            }
            if let Some(entries) = target.as_sequence_mut() {
                match entries.iter_mut().find(|old| is_named(old, name)) {
                    Some(old) => replace(old, entry),
                    None => entries.push(entry.clone()),
                }
            }
        }
    }

    pub fn remove(&mut self, name: &str) {
        for list in LISTS {
            if let Some(entries) = self.0.get_mut(list).and_then(Value::as_sequence_mut) {
                entries.retain(|entry| !is_named(entry, name));
            }
        }
    }

    /// Where the cluster called `name` is, if there is one.
    pub fn server(&self, name: &str) -> Option<&str> {
        self.cluster(name)?.get("server")?.as_str()
    }

    /// Whether both have the cluster called `name`, with the same authority: it is one cluster, at whatever port.
    pub fn shares(&self, other: &Kubeconfig, name: &str) -> bool {
        let authority = |config: &Kubeconfig| {
            let cluster = config.cluster(name)?;
            cluster.get("certificate-authority-data").cloned()
        };
        authority(self).is_some_and(|ours| authority(other) == Some(ours))
    }

    fn cluster(&self, name: &str) -> Option<&Value> {
        let mut clusters = self.entries("clusters").iter();
        clusters.find(|entry| is_named(entry, name))?.get("cluster")
    }

    /// Nothing is left that anybody could use.
    pub fn is_bare(&self) -> bool {
        let known = ["apiVersion", "kind", "current-context", "preferences"];
        self.0.iter().all(|(key, value)| {
            let key = key.as_str().unwrap_or_default();
            let list = LISTS.contains(&key) && value.as_sequence().is_none_or(Vec::is_empty);
            let preferences =
                key != "preferences" || value.as_mapping().is_none_or(Mapping::is_empty);
            list || (known.contains(&key) && preferences)
        })
    }

    fn entries(&self, list: &str) -> &[Value] {
        let entries = self.0.get(list).and_then(Value::as_sequence);
        entries.map(Vec::as_slice).unwrap_or_default()
    }
}

fn replace(old: &mut Value, entry: &Value) {
    let chosen = old
        .get("context")
        .and_then(|context| context.get("namespace"));
    let chosen = chosen.cloned();
    *old = entry.clone();
    let context = old.get_mut("context").and_then(Value::as_mapping_mut);
    if let (Some(chosen), Some(context)) = (chosen, context) {
        context.insert("namespace".into(), chosen);
    }
}

fn is_named(entry: &Value, name: &str) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "
clusters: [{name: kubik, cluster: {server: 'https://127.0.0.1:8443'}}]
contexts: [{name: kubik, context: {cluster: kubik, user: kubik}}]
users: [{name: kubik, user: {}}]
";
    const THEIRS: &str = "
apiVersion: v1
kind: Config
current-context: work
contexts: [{name: work, context: {cluster: work, user: me}, extra: kept}]
clusters: null
x-unknown: 1
";

    #[test]
    fn entries_of_others_survive_a_round_trip() {
        let ours = Kubeconfig::parse(OURS).unwrap();
        let mut config = Kubeconfig::parse(THEIRS).unwrap();
        config.adopt(&ours, "kubik");
        config.adopt(&ours, "kubik");
        assert!(config.has_context("kubik") && config.has_context("work"));
        assert_eq!(config.entries("contexts").len(), 2);
        config.remove("kubik");
        assert!(!config.has_context("kubik") && !config.is_bare());
        let text = config.to_text();
        assert!(
            text.contains("extra: kept") && text.contains("x-unknown: 1"),
            "{text}"
        );
    }

    #[test]
    fn the_namespace_somebody_chose_stays() {
        let ours = OURS.replace("user: kubik}", "user: kubik, namespace: default}");
        let ours = Kubeconfig::parse(&ours).unwrap();
        let mut config = Kubeconfig::parse("").unwrap();
        config.adopt(&ours, "kubik");
        assert!(config.to_text().contains("namespace: default"));
        let chosen = config
            .to_text()
            .replace("namespace: default", "namespace: team");
        let mut config = Kubeconfig::parse(&chosen).unwrap();
        config.adopt(&ours, "kubik");
        assert!(config.to_text().contains("namespace: team"));
    }

    #[test]
    fn a_file_that_was_only_ours_becomes_bare() {
        let mut config = Kubeconfig::parse("").unwrap();
        config.adopt(&Kubeconfig::parse(OURS).unwrap(), "kubik");
        config.set_current_context("kubik");
        assert!(!config.is_bare());
        config.remove("kubik");
        assert!(config.is_bare());
    }

    #[test]
    fn clusters_are_told_apart_by_their_authority() {
        let config = |authority: &str, port: u16| {
            let text = format!(
                "clusters: [{{name: kubik, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority-data: {authority}}}}}]"
            );
            Kubeconfig::parse(&text).unwrap()
        };
        assert!(config("a", 1).shares(&config("a", 2), "kubik"));
        assert!(!config("a", 1).shares(&config("b", 1), "kubik"));
        assert!(!config("a", 1).shares(&Kubeconfig::parse(OURS).unwrap(), "kubik"));
        assert_eq!(config("a", 7).server("kubik"), Some("https://127.0.0.1:7"));
        assert_eq!(config("a", 7).server("other"), None);
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        assert!(Kubeconfig::parse("- a").is_err());
        assert!(Kubeconfig::parse("a: [").is_err());
    }
}
