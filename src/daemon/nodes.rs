//! The nodes of a running cluster: each an agent with tasks of its own, so that one can be stopped and started.
//!
//! A stopped node is what a machine without power is: its containers are gone, its pods' objects stay, nobody renews
//! its lease. It tells the API that it goes, as a kubelet does on a graceful shutdown. A start of the cluster starts all
//! nodes.

use super::parts::Directory;
use crate::{
    api::{
        call::{PatchKind, User},
        name::Key,
        time,
    },
    client::{Client, Informers},
    config::{ClusterConfig, Layout},
    net::linux::LinuxNetwork,
    node::{Agent, NodeContext},
    runtime::linux::LinuxRuntime,
    task::{Tasks, clock},
};
use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
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
    pub async fn start_all(&self) -> Result<()> {
        for node in &self.config.nodes {
            self.start(&node.name).await?;
        }
        Ok(())
    }

    /// A node that runs already is left alone.
    pub async fn start(&self, name: &str) -> Result<()> {
        let config = self.config.nodes.iter().find(|node| node.name == name);
        let config = config.with_context(|| format!("the cluster has no node {name:?}"))?;
        let mut running = self.running.lock().await;
        if running.contains_key(name) {
            return Ok(());
        }
        let tasks = Tasks::new();
        let agent = Agent::start(NodeContext {
            config: config.clone(),
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
        if self.config.nodes.iter().all(|node| node.name != name) {
            bail!("the cluster has no node {name:?}");
        }
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
