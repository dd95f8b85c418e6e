//! The nodes of a running cluster: each an agent with tasks of its own, so that one can be stopped and started.
//!
//! A stopped node is what a machine without power is: its containers are gone, its pods' objects stay, nobody renews
//! its lease. It tells the API that it goes, as a kubelet does on a graceful shutdown. It stays stopped at later starts of
//! the cluster: the command that stops it says so in the configuration.

use super::parts::Directory;
use crate::{
    api::{
        call::{PatchKind, User},
        name::Key,
        time,
    },
    client::{Client, Informers},
    config::{ClusterConfig, Layout, NodeConfig},
    net::linux::LinuxNetwork,
    node::{Agent, NodeContext},
    runtime::linux::LinuxRuntime,
    task::{Tasks, clock},
};
use anyhow::{Context, Result};
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};
use tokio::sync::Mutex;
use tracing::{info, warn};

/// How long containers of a node that is stopped may take.
const GRACE: Duration = Duration::from_secs(5);
const TASKS_DEADLINE: Duration = Duration::from_secs(5);

/// What all agents are made of.
pub struct Nodes {
    pub config: ClusterConfig,
    pub layout: Layout,
    pub client: Client,
    pub informers: Informers,
    pub runtime: Arc<LinuxRuntime>,
    pub network: LinuxNetwork,
    pub directory: Arc<Directory>,
    pub running: Mutex<BTreeMap<String, Running>>,
}

pub struct Running {
    agent: Arc<Agent>,
    tasks: Tasks,
}

impl Nodes {
    /// All but those that were stopped.
    pub async fn start_all(&self) -> Result<()> {
        for node in self.config.nodes.iter().filter(|node| !node.stopped) {
            self.start(&node.name).await?;
        }
        Ok(())
    }

    /// A node that runs already is left alone.
    pub async fn start(&self, name: &str) -> Result<()> {
        let config = self.planned(name)?;
        let mut running = self.running.lock().await;
        if running.contains_key(name) {
            return Ok(());
        }
        // One that is new has no address yet.
        self.network
            .add_range(config.pod_cidr)
            .await
            .with_context(|| format!("make the address of node {name}"))?;
        let tasks = Tasks::new();
        let agent = Agent::start(NodeContext {
            config,
            cluster: self.config.clone(),
            layout: self.layout.clone(),
            client: self.as_node(name),
            informers: self.informers.clone(),
            runtime: Arc::<LinuxRuntime>::clone(&self.runtime),
            network: Arc::new(self.network.clone()),
            tasks: tasks.clone(),
        });
        let agent = agent.await.with_context(|| format!("start node {name}"))?;
        self.directory.add(name, Arc::<Agent>::clone(&agent));
        running.insert(name.to_owned(), Running { agent, tasks });
        Ok(())
    }

    /// A node that does not run is left alone.
    pub async fn stop(&self, name: &str) -> Result<()> {
        self.planned(name)?;
        let mut running = self.running.lock().await;
        let Some(node) = running.remove(name) else {
            return Ok(());
        };
        // First, so that nothing new comes here; and again, in case the agent has said otherwise meanwhile.
        self.say_goodbye(name).await;
        self.directory.remove(name);
        node.agent.stop_all(GRACE).await;
        node.tasks.shutdown(TASKS_DEADLINE).await;
        self.say_goodbye(name).await;
        info!(node = name, "the node is stopped");
        Ok(())
    }

    /// Stops a node and deletes its object; its pods are collected as those of a node that went away.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.stop(name).await?;
        match self.client.delete::<Node>(&Key::new("", name), "").await {
            Err(error) if !error.is_not_found() => Err(error).context("delete the node's object"),
            _ => Ok(()),
        }
    }

    /// A node as the command that asks for it has saved it.
    fn planned(&self, name: &str) -> Result<NodeConfig> {
        let path = self.layout.config();
        let read = || -> Result<ClusterConfig> { Ok(serde_json::from_slice(&fs::read(&path)?)?) };
        let saved = read().with_context(|| format!("read {}", path.display()))?;
        let mut nodes = saved.nodes.into_iter();
        let found = nodes.find(|node| node.name == name);
        found.with_context(|| format!("the cluster has no node {name:?}"))
    }

    /// Ends all pods gracefully; their objects stay.
    pub async fn stop_pods(&self, deadline: Duration) {
        let running = self.running.lock().await;
        join_all(running.values().map(|node| node.agent.stop_all(deadline))).await;
    }

    /// Ends the agents. Pods that run go on.
    pub async fn shutdown(&self, deadline: Duration) {
        let running = self.running.lock().await;
        join_all(running.values().map(|node| node.tasks.shutdown(deadline))).await;
    }

    /// Of the nodes that run.
    pub async fn agents(&self) -> Vec<Arc<Agent>> {
        let running = self.running.lock().await;
        running
            .values()
            .map(|node| Arc::clone(&node.agent))
            .collect()
    }

    fn as_node(&self, name: &str) -> Client {
        let user = User::component(&format!("system:node:{name}"), &["system:nodes"]);
        self.client.acting_as(user)
    }

    async fn say_goodbye(&self, name: &str) {
        let now = time::format(clock::now());
        let condition = json!({
            "type": "Ready",
            "status": "False",
            "reason": "KubeletNotReady",
            "message": "node is shutting down",
            "lastTransitionTime": now,
            "lastHeartbeatTime": now,
        });
        let patch = json!({"status": {"conditions": [condition]}});
        let key = Key::new("", name);
        let client = self.as_node(name);
        let patched = client
            .patch::<Node>(&key, Some("status"), PatchKind::Strategic, &patch)
            .await;
        // Without it the node is found silent later.
        if let Err(failure) = patched {
            warn!(node = name, %failure, "say that the node is not ready");
        }
    }
}
