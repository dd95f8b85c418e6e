//! Addons: what is turned on and off while a cluster runs. The table is in `config`; here is what each row does.
//!
//! Turning on what is on and off what is off does nothing. One that cannot start does not keep the cluster from
//! starting: it is logged, and the command that turns it on says why.

use super::bootstrap;
use crate::{
    api::{ApiError, call::PatchKind, name::Key, object::typed},
    client::Client,
    config::{ADDONS, ClusterConfig, Layout, Switch, find_addon},
    distribution,
    runtime::image::Images,
    task::Tasks,
};
use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    core::v1::ConfigMap, networking::v1::IngressClass, storage::v1::StorageClass,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tokio::sync::Mutex;
use tracing::warn;

const STOP_DEADLINE: Duration = Duration::from_secs(2);
const DEFAULT_CLASS: &str = "standard";
const INGRESS_CLASS: &str = "nginx";
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kubik");
/// KEP-1755: where tools look for a registry they may push to.
const HOSTING: (&str, &str) = ("kube-public", "local-registry-hosting");

pub struct Addons {
    registry: PathBuf,
    registry_port: u16,
    client: Client,
    images: Images,
    /// The tasks of those that run.
    running: Mutex<BTreeMap<&'static str, Tasks>>,
}

impl Addons {
    pub fn new(
        config: &ClusterConfig,
        layout: &Layout,
        client: &Client,
        images: &Images,
    ) -> Addons {
        Addons {
            registry: layout.registry(),
            registry_port: config.registry_port,
            client: client.clone(),
            images: images.clone(),
            running: Mutex::default(),
        }
    }

    /// Brings every addon to what the configuration says. Answers what to tell whoever starts the cluster.
    pub async fn start(&self, config: &ClusterConfig) -> Vec<String> {
        let mut notes = Vec::new();
        for addon in ADDONS {
            let is_enabled = config.is_enabled(addon);
            // Objects keep what was chosen; they need no look at every start.
            let needs_nothing = match addon.name {
                "default-storageclass" | "ingress" => !config.addons.contains_key(addon.name),
                _ => false,
            };
            if matches!(addon.switch, Switch::Live { .. })
                && !needs_nothing
                && let Err(error) = self.set(addon.name, is_enabled).await
            {
                warn!(addon = addon.name, "start addon: {error:#}");
                notes.push(format!("the addon \"{}\" is off: {error:#}", addon.name));
            }
        }
        notes
    }

    /// Turns one on or off.
    pub async fn set(&self, name: &str, is_enabled: bool) -> Result<()> {
        let addon = find_addon(name).with_context(|| format!("there is no addon \"{name}\""))?;
        match addon.name {
            "registry" => self.set_registry(addon.name, is_enabled).await,
            "default-storageclass" => self.set_default_class(is_enabled).await,
            "ingress" => self.set_ingress(is_enabled).await,
            other => bail!("the addon \"{other}\" cannot be turned on or off"),
        }
    }

    pub async fn stop(&self) {
        for (_, tasks) in std::mem::take(&mut *self.running.lock().await) {
            tasks.shutdown(STOP_DEADLINE).await;
        }
    }

    async fn set_registry(&self, name: &'static str, is_enabled: bool) -> Result<()> {
        let mut running = self.running.lock().await;
        match (is_enabled, running.contains_key(name)) {
            (true, false) => {
                let tasks = Tasks::new();
                distribution::start(&self.registry, self.registry_port, &self.images, &tasks)
                    .await?;
                running.insert(name, tasks);
            }
            (false, true) => {
                if let Some(tasks) = running.remove(name) {
                    tasks.shutdown(STOP_DEADLINE).await;
                }
            }
            _ => {}
        }
        self.announce(is_enabled)
            .await
            .context("announce the registry")
    }

    /// The ConfigMap is there exactly while the registry is.
    async fn announce(&self, is_enabled: bool) -> Result<(), ApiError> {
        let key = Key::new(HOSTING.0, HOSTING.1);
        if !is_enabled {
            return match self.client.delete::<ConfigMap>(&key, "").await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            };
        }
        let document = hosting(self.registry_port);
        let wanted: ConfigMap = typed(&document).map_err(ApiError::internal)?;
        match self.client.create(&wanted).await {
            Err(error) if error.is_already_exists() => {
                let patch = json!({ "data": document["data"] });
                let kind = PatchKind::Merge;
                self.client
                    .patch::<ConfigMap>(&key, None, kind, &patch)
                    .await
                    .map(drop)
            }
            other => other.map(drop),
        }
    }

    /// The proxy serves the Ingresses of its class, and listens only while there is one: without the class it is off.
    /// Another controller's class of that name stays.
    async fn set_ingress(&self, is_enabled: bool) -> Result<()> {
        if is_enabled {
            return bootstrap::ingress_class(&self.client).await;
        }
        let key = Key::new("", INGRESS_CLASS);
        let found = match self.client.get::<IngressClass>(&key).await {
            Err(error) if error.is_not_found() => return Ok(()),
            found => found.context("look for the ingress class")?,
        };
        let labels = found.metadata.labels.unwrap_or_default();
        if labels.get(MANAGED_BY.0).map(String::as_str) != Some(MANAGED_BY.1) {
            return Ok(());
        }
        let uid = found.metadata.uid.unwrap_or_default();
        match self.client.delete::<IngressClass>(&key, &uid).await {
            Err(error) if !error.is_not_found() => Err(error).context("delete the ingress class"),
            _ => Ok(()),
        }
    }

    async fn set_default_class(&self, is_enabled: bool) -> Result<()> {
        let annotation = "storageclass.kubernetes.io/is-default-class";
        let value = if is_enabled { "true" } else { "false" };
        let patch = json!({ "metadata": { "annotations": { annotation: value } } });
        let key = Key::new("", DEFAULT_CLASS);
        let patched = self
            .client
            .patch::<StorageClass>(&key, None, PatchKind::Merge, &patch);
        match patched.await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() && !is_enabled => Ok(()),
            Err(error) => Err(error).with_context(|| format!("patch StorageClass {DEFAULT_CLASS}")),
        }
    }
}

fn hosting(port: u16) -> Value {
    let text =
        format!("host: \"localhost:{port}\"\nhostFromContainerRuntime: \"localhost:{port}\"\n");
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": HOSTING.0, "name": HOSTING.1 },
        "data": { "localRegistryHosting.v1": text },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_announced_as_tools_expect_it() {
        let document = hosting(5001);
        let text = document["data"]["localRegistryHosting.v1"]
            .as_str()
            .unwrap();
        let parsed: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).unwrap();
        assert_eq!(parsed["host"], "localhost:5001");
    }
}
