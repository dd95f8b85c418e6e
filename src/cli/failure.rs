//! How a command fails in front of a person: an id, a sentence, an advice, and an exit code of minikube's families.
//!
//! Code = family × 10 + kind. Families: 1 program, 2 resources, 3 host, 4 internet, 7 local network, 8 cluster,
//! 9 runtime, 10 control plane, 11 service. Kinds: 0 error, 1 conflict, 2 timeout, 3 not running, 4 usage,
//! 5 not found, 6 unsupported, 7 permission, 8 configuration, 9 unavailable.

use super::{event, screen};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub id: &'static str,
    pub code: u8,
    pub message: String,
    pub advice: Option<String>,
}

impl Failure {
    pub fn new(id: &'static str, code: u8, message: impl Into<String>) -> Failure {
        Failure {
            id,
            code,
            message: message.into(),
            advice: None,
        }
    }

    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Failure {
        self.advice = Some(advice.into());
        self
    }

    /// A file or process of ours could not be dealt with.
    pub fn host(what: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure::new("HOST_ERROR", 30, format!("{what}: {error}"))
    }

    pub fn not_root() -> Failure {
        Failure::new(
            "HOST_PERMISSION",
            37,
            "kubik makes namespaces, links and cgroups, which needs root",
        )
        .advise("Run it with sudo.")
    }

    pub fn no_cluster(profile: &str) -> Failure {
        Failure::new(
            "GUEST_NOT_FOUND",
            85,
            format!("there is no cluster \"{profile}\""),
        )
        .advise(format!(
            "Create it with: kubik start{}",
            for_profile(profile)
        ))
    }

    pub fn not_running(profile: &str) -> Failure {
        Failure::new(
            "GUEST_NOT_RUNNING",
            83,
            format!("the cluster \"{profile}\" is not running"),
        )
        .advise(format!(
            "Start it with: kubik start{}",
            for_profile(profile)
        ))
    }

    pub fn no_node(profile: &str, name: &str) -> Failure {
        let text = format!("the cluster \"{profile}\" has no node \"{name}\"");
        let advice = format!("List them with: kubik node list{}", for_profile(profile));
        Failure::new("GUEST_NODE_RETRIEVE", 85, text).advise(advice)
    }

    pub fn print(&self) {
        if screen::prints_events() {
            let advice = self.advice.as_deref().unwrap_or_default();
            screen::result(&event::error(self.id, self.code, &self.message, advice));
            return;
        }
        screen::error(&format!("Exiting due to {}: {}", self.id, self.message));
        if let Some(advice) = &self.advice {
            screen::advice(advice);
        }
    }
}

/// ` -p NAME`, or nothing for the default profile.
pub fn for_profile(profile: &str) -> String {
    match profile {
        super::place::DEFAULT_PROFILE => String::new(),
        other => format!(" -p {other}"),
    }
}
