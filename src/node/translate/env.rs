//! The environment of a container: services, then `envFrom`, then `env`; later ones win.
//!
//! Pure: objects come from snapshots. The image's own variables lie below all of this and are added by the runtime.

use super::{ConfigError, Facts, env_file, expand::expand, field};
use crate::{api::name::Key, client::Snapshot};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvFromSource, EnvVarSource, FileKeySelector, Pod, Secret, Service,
};
use std::collections::BTreeMap;

/// The objects that variables are made of.
#[derive(Clone, Default)]
pub struct Sources {
    pub config_maps: Snapshot<ConfigMap>,
    pub secrets: Snapshot<Secret>,
    pub services: Snapshot<Service>,
    /// Texts of the files that `fileKeyRef`s of the container name, or why they could not be read.
    pub files: BTreeMap<FileName, Result<String, String>>,
}

/// Volume, and path in it.
pub type FileName = (String, String);

/// The files that a container's variables come from.
#[must_use]
pub fn files(container: &Container) -> Vec<FileName> {
    let variables = container.env.iter().flatten();
    let references = variables.filter_map(|one| one.value_from.as_ref()?.file_key_ref.as_ref());
    references
        .map(|file| (file.volume_name.clone(), file.path.clone()))
        .collect()
}

#[derive(Debug, Default, PartialEq)]
pub struct Environment {
    pub variables: Vec<(String, String)>,
    /// Messages for `InvalidEnvironmentVariableNames` events.
    pub skipped: Vec<String>,
}

impl Environment {
    fn set(&mut self, name: &str, value: String) {
        match self.variables.iter_mut().find(|(old, _)| old == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }
}

pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    facts: &Facts,
) -> Result<Environment, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
    let mut env = Environment::default();
    for (name, value) in services(&sources.services, namespace, links != Some(false)) {
        env.set(&name, value);
    }
    for from in container.env_from.iter().flatten() {
        add_all(&mut env, from, namespace, sources)?;
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value_from, &variable.value) {
            (Some(from), _) => match value_from(pod, container, from, sources, facts)? {
                Some(value) => value,
                None => continue,
            },
            (None, value) => expand(value.as_deref().unwrap_or_default(), |name| env.get(name)),
        };
        env.set(&variable.name, value);
    }
    Ok(env)
}

fn add_all(
    env: &mut Environment,
    from: &EnvFromSource,
    namespace: &str,
    sources: &Sources,
) -> Result<(), ConfigError> {
    let (kind, name, data) = if let Some(source) = &from.config_map_ref {
        let found = config_map(sources, namespace, &source.name, source.optional)?;
        let data = found.and_then(|map| map.data.clone()).unwrap_or_default();
        ("ConfigMap", &source.name, data)
    } else if let Some(source) = &from.secret_ref {
        let found = secret(sources, namespace, &source.name, source.optional)?;
        let data = found.and_then(|secret| secret.data.clone());
        let data = data.into_iter().flatten();
        let data = data.map(|(key, value)| (key, text(&value.0))).collect();
        ("Secret", &source.name, data)
    } else {
        return Ok(());
    };
    let prefix = from.prefix.as_deref().unwrap_or_default();
    let mut skipped = Vec::new();
    for (key, value) in data {
        let variable = format!("{prefix}{key}");
        if is_name(&variable) {
            env.set(&variable, value);
        } else {
            skipped.push(key);
        }
    }
    if !skipped.is_empty() {
        let keys = skipped.join(", ");
        env.skipped.push(format!(
            "Keys [{keys}] from the EnvFrom {kind} {namespace}/{name} were skipped since they are considered invalid environment variable names."
        ));
    }
    Ok(())
}

/// Since 1.34 nearly everything printable is a name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

fn value_from(
    pod: &Pod,
    container: &Container,
    from: &EnvVarSource,
    sources: &Sources,
    facts: &Facts,
) -> Result<Option<String>, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(reference) = &from.field_ref {
        let path = &reference.field_path;
        let value = field::field(pod, path, facts);
        return value
            .map(Some)
            .ok_or_else(|| ConfigError(format!("unsupported fieldPath: {path}")));
    }
    if let Some(reference) = &from.resource_field_ref {
        let value = field::resource(pod, Some(container), reference, facts);
        let unsupported = || {
            ConfigError(format!(
                "unsupported container resource : {}",
                reference.resource
            ))
        };
        return value.map(Some).ok_or_else(unsupported);
    }
    if let Some(reference) = &from.config_map_key_ref {
        let (name, key) = (&reference.name, &reference.key);
        let found = config_map(sources, namespace, name, reference.optional)?;
        let data = found.and_then(|map| map.data.as_ref()?.get(key).cloned());
        return if data.is_none() && reference.optional != Some(true) {
            let message = format!("couldn't find key {key} in ConfigMap {namespace}/{name}");
            Err(ConfigError(message))
        } else {
            Ok(data)
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let (name, key) = (&reference.name, &reference.key);
        let found = secret(sources, namespace, name, reference.optional)?;
        let data = found.and_then(|secret| Some(text(&secret.data.as_ref()?.get(key)?.0)));
        return if data.is_none() && reference.optional != Some(true) {
            let message = format!("couldn't find key {key} in Secret {namespace}/{name}");
            Err(ConfigError(message))
        } else {
            Ok(data)
        };
    }
    match &from.file_key_ref {
        Some(reference) => from_file(reference, sources),
        None => Ok(None),
    }
}

fn from_file(
    reference: &FileKeySelector,
    sources: &Sources,
) -> Result<Option<String>, ConfigError> {
    let FileKeySelector {
        volume_name,
        path,
        key,
        optional,
    } = reference;
    let Some(text) = sources.files.get(&(volume_name.clone(), path.clone())) else {
        let message = format!("cannot find the volume {volume_name:?} referenced by FileKeyRef");
        return Err(ConfigError(message));
    };
    let found = text.clone().and_then(|text| env_file::value(&text, key));
    match found.map_err(|_| ConfigError("couldn't parse env file".to_owned()))? {
        None if *optional != Some(true) => Err(ConfigError(format!(
            "environment variable key {key:?} not found in file {path:?}"
        ))),
        found => Ok(found),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn config_map<'a>(
    sources: &'a Sources,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a ConfigMap>, ConfigError> {
    let found = sources.config_maps.get(&Key::new(namespace, name));
    if found.is_none() && optional != Some(true) {
        return Err(ConfigError(format!("configmap \"{name}\" not found")));
    }
    Ok(found.map(AsRef::as_ref))
}

fn secret<'a>(
    sources: &'a Sources,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a Secret>, ConfigError> {
    let found = sources.secrets.get(&Key::new(namespace, name));
    if found.is_none() && optional != Some(true) {
        return Err(ConfigError(format!("secret \"{name}\" not found")));
    }
    Ok(found.map(AsRef::as_ref))
}

/// Docker-style variables of the services with a cluster address: of the own namespace where links are wanted, and
/// always of `default/kubernetes`.
fn services(
    all: &Snapshot<Service>,
    namespace: &str,
    with_links: bool,
) -> BTreeMap<String, String> {
    let api = Key::new("default", "kubernetes");
    let linked = all.in_namespace(namespace).filter(|_| with_links);
    let mut variables = BTreeMap::new();
    for service in all.get(&api).into_iter().chain(linked) {
        of_service(service, &mut variables);
    }
    variables
}

fn of_service(service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let is_headless =
        ip.is_empty() || ip == "None" || spec.type_.as_deref() == Some("ExternalName");
    let (false, [first, ..]) = (is_headless, ports) else {
        return;
    };
    let upper = |name: &str| name.to_uppercase().replace(['-', '.'], "_");
    let name = upper(service.metadata.name.as_deref().unwrap_or_default());
    let mut set = |suffix: String, value: String| {
        variables.insert(format!("{name}_{suffix}"), value);
    };
    set("SERVICE_HOST".to_owned(), ip.to_owned());
    set("SERVICE_PORT".to_owned(), first.port.to_string());
    for (index, port) in ports.iter().enumerate() {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let suffix = format!("SERVICE_PORT_{}", upper(port_name));
            set(suffix, port.port.to_string());
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{ip}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            set("PORT".to_owned(), url.clone());
        }
        let stem = format!("PORT_{}_{}", port.port, protocol.to_uppercase());
        set(format!("{stem}_PROTO"), protocol.to_lowercase());
        set(format!("{stem}_PORT"), port.port.to_string());
        set(format!("{stem}_ADDR"), ip.to_owned());
        set(stem, url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sources() -> Sources {
        let map = json!({"metadata": {"namespace": "n", "name": "m"}, "data": {"k": "v", "a=b": "x", "한글": "y"}});
        let secret =
            json!({"metadata": {"namespace": "n", "name": "s"}, "data": {"p": "c2VjcmV0"}});
        let service = |namespace: &str, name: &str, ip: &str| {
            let spec = json!({"clusterIP": ip, "ports": [{"port": 443, "name": "https", "protocol": "TCP"}]});
            json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec})
        };
        let services = [
            service("default", "kubernetes", "10.96.0.1"),
            service("n", "foo-bar", "10.96.0.5"),
            service("n", "headless", "None"),
            service("other", "x", "10.96.0.6"),
        ];
        Sources {
            config_maps: [serde_json::from_value(map).unwrap()].into_iter().collect(),
            secrets: [serde_json::from_value(secret).unwrap()]
                .into_iter()
                .collect(),
            services: services
                .into_iter()
                .map(|service| serde_json::from_value::<Service>(service).unwrap())
                .collect(),
            files: [
                (("v".to_owned(), "f".to_owned()), Ok("A='한글'".to_owned())),
                (
                    ("v".to_owned(), "gone".to_owned()),
                    Err("no such file".to_owned()),
                ),
            ]
            .into(),
        }
    }

    fn build(container: &Value, spec: &Value) -> Result<Environment, ConfigError> {
        let mut container = container.clone();
        container["name"] = "c".into();
        let mut spec = spec.clone();
        spec["containers"] = json!([container]);
        let pod = json!({"metadata": {"namespace": "n", "name": "p"}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        environment(&pod, container, &sources(), &Facts::for_tests())
    }

    #[test]
    fn services_of_the_namespace_and_the_api() {
        let env = build(&json!({}), &json!({})).unwrap();
        let names: Vec<&str> = env
            .variables
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let of = |stem: &str| {
            let suffixes = [
                "PORT",
                "PORT_443_TCP",
                "PORT_443_TCP_ADDR",
                "PORT_443_TCP_PORT",
                "PORT_443_TCP_PROTO",
                "SERVICE_HOST",
                "SERVICE_PORT",
                "SERVICE_PORT_HTTPS",
            ];
            suffixes.map(|suffix| format!("{stem}_{suffix}")).to_vec()
        };
        assert_eq!(names, [of("FOO_BAR"), of("KUBERNETES")].concat());
        assert_eq!(
            env.get("FOO_BAR_PORT").as_deref(),
            Some("tcp://10.96.0.5:443")
        );
        let env = build(&json!({}), &json!({"enableServiceLinks": false})).unwrap();
        assert_eq!(env.get("FOO_BAR_SERVICE_HOST"), None);
        assert_eq!(
            env.get("KUBERNETES_SERVICE_HOST").as_deref(),
            Some("10.96.0.1")
        );
    }

    #[test]
    fn later_sources_win_and_values_expand() {
        let container = json!({
            "envFrom": [{"configMapRef": {"name": "m"}}, {"prefix": "S_", "secretRef": {"name": "s"}}],
            "env": [
                {"name": "A", "value": "$(k)-$(S_p)-$(LATER)-$$(k)"},
                {"name": "k", "value": "own"},
                {"name": "LATER", "value": "$(A)"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k", "optional": true}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}],
        });
        let env = build(&container, &json!({})).unwrap();
        #[rustfmt::skip]
        let cases = [
            ("A", Some("v-secret-$(LATER)-$(k)")), ("k", Some("own")), ("LATER", Some("v-secret-$(LATER)-$(k)")),
            ("IP", Some("10.244.0.9")), ("OPT", None), ("KEY", Some("secret")),
        ];
        for (name, expected) in cases {
            assert_eq!(env.get(name).as_deref(), expected, "{name}");
        }
        assert_eq!(
            env.skipped,
            [
                "Keys [a=b, 한글] from the EnvFrom ConfigMap n/m were skipped since they are considered invalid environment variable names."
            ]
        );
    }

    #[test]
    fn files_of_volumes_are_sources() {
        let from = |volume: &str, path: &str, key: &str, optional: bool| {
            let file =
                json!({"volumeName": volume, "path": path, "key": key, "optional": optional});
            let env = build(
                &json!({"env": [{"name": "E", "valueFrom": {"fileKeyRef": file}}]}),
                &json!({}),
            );
            env.map(|env| env.get("E")).map_err(|failure| failure.0)
        };
        assert_eq!(from("v", "f", "A", false), Ok(Some("한글".to_owned())));
        assert_eq!(from("v", "f", "B", true), Ok(None));
        let refused = |text: &str| Err(text.to_owned());
        let missing = "environment variable key \"B\" not found in file \"f\"";
        assert_eq!(from("v", "f", "B", false), refused(missing));
        assert_eq!(
            from("v", "gone", "A", true),
            refused("couldn't parse env file")
        );
        let volume = "cannot find the volume \"w\" referenced by FileKeyRef";
        assert_eq!(from("w", "f", "A", false), refused(volume));
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = |kind: &str, name: &str| json!({"env": [{"name": "A", "valueFrom": {kind: {"name": name, "key": "q"}}}]});
        #[rustfmt::skip]
        let cases = [
            (key("configMapKeyRef", "no"), "configmap \"no\" not found"),
            (key("secretKeyRef", "no"), "secret \"no\" not found"),
            (key("configMapKeyRef", "m"), "couldn't find key q in ConfigMap n/m"),
            (key("secretKeyRef", "s"), "couldn't find key q in Secret n/s"),
            (json!({"envFrom": [{"secretRef": {"name": "no"}}]}), "secret \"no\" not found"),
        ];
        for (container, expected) in cases {
            let failure = build(&container, &json!({})).unwrap_err();
            assert_eq!(failure, ConfigError(expected.to_owned()), "{container}");
        }
    }
}
