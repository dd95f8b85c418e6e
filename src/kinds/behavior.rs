//! The hooks of each built-in kind, named by its row in the catalogue.

use super::{
    Hooks,
    validate::{
        access, config, endpoints, job, network, node, pod, quota, scaling, service, storage,
        workload,
    },
};

pub const POD: Hooks = Hooks {
    validate: Some(pod::pod),
    validate_update: Some(pod::update),
    ..Hooks::NONE
};

pub const POD_TEMPLATE: Hooks = Hooks {
    validate: Some(pod::pod_template_object),
    ..Hooks::NONE
};

pub const REPLICATION_CONTROLLER: Hooks = Hooks {
    validate: Some(workload::replication_controller),
    ..Hooks::NONE
};

pub const REPLICA_SET: Hooks = Hooks {
    validate: Some(workload::replica_set),
    validate_update: Some(workload::fixed_selector),
    ..Hooks::NONE
};

pub const DEPLOYMENT: Hooks = Hooks {
    validate: Some(workload::deployment),
    validate_update: Some(workload::fixed_selector),
    ..Hooks::NONE
};

pub const STATEFUL_SET: Hooks = Hooks {
    validate: Some(workload::stateful_set),
    validate_update: Some(workload::stateful_set_update),
    ..Hooks::NONE
};

pub const DAEMON_SET: Hooks = Hooks {
    validate: Some(workload::daemon_set),
    validate_update: Some(workload::fixed_selector),
    ..Hooks::NONE
};

pub const CONTROLLER_REVISION: Hooks = Hooks {
    validate: Some(workload::controller_revision),
    validate_update: Some(workload::controller_revision_update),
    ..Hooks::NONE
};

pub const JOB: Hooks = Hooks {
    validate: Some(job::job),
    validate_update: Some(job::job_update),
    ..Hooks::NONE
};

pub const CRON_JOB: Hooks = Hooks {
    validate: Some(job::cron_job),
    ..Hooks::NONE
};

pub const SERVICE: Hooks = Hooks {
    validate: Some(service::service),
    validate_update: Some(service::service_update),
    ..Hooks::NONE
};

pub const ENDPOINTS: Hooks = Hooks {
    validate: Some(endpoints::endpoints),
    ..Hooks::NONE
};

pub const ENDPOINT_SLICE: Hooks = Hooks {
    validate: Some(endpoints::slice),
    validate_update: Some(endpoints::slice_update),
    ..Hooks::NONE
};

pub const CONFIG_MAP: Hooks = Hooks {
    validate: Some(config::config_map),
    validate_update: Some(config::config_map_update),
    ..Hooks::NONE
};

pub const SECRET: Hooks = Hooks {
    validate: Some(config::secret),
    validate_update: Some(config::secret_update),
    ..Hooks::NONE
};

pub const NAMESPACE: Hooks = Hooks {
    validate: Some(config::namespace),
    validate_update: Some(config::namespace_update),
    ..Hooks::NONE
};

pub const PERSISTENT_VOLUME: Hooks = Hooks {
    validate: Some(storage::volume),
    validate_update: Some(storage::volume_update),
    ..Hooks::NONE
};

pub const PERSISTENT_VOLUME_CLAIM: Hooks = Hooks {
    validate: Some(storage::claim),
    validate_update: Some(storage::claim_update),
    ..Hooks::NONE
};

pub const STORAGE_CLASS: Hooks = Hooks {
    validate: Some(storage::class),
    validate_update: Some(storage::class_update),
    ..Hooks::NONE
};

pub const INGRESS: Hooks = Hooks {
    validate: Some(network::ingress),
    ..Hooks::NONE
};

pub const INGRESS_CLASS: Hooks = Hooks {
    validate: Some(network::ingress_class),
    validate_update: Some(network::ingress_class_update),
    ..Hooks::NONE
};

pub const NETWORK_POLICY: Hooks = Hooks {
    validate: Some(network::network_policy),
    ..Hooks::NONE
};

pub const ROLE: Hooks = Hooks {
    validate: Some(access::role),
    ..Hooks::NONE
};

pub const CLUSTER_ROLE: Hooks = Hooks {
    validate: Some(access::cluster_role),
    ..Hooks::NONE
};

pub const ROLE_BINDING: Hooks = Hooks {
    validate: Some(access::role_binding),
    validate_update: Some(access::binding_update),
    ..Hooks::NONE
};

pub const CLUSTER_ROLE_BINDING: Hooks = Hooks {
    validate: Some(access::cluster_role_binding),
    validate_update: Some(access::binding_update),
    ..Hooks::NONE
};

pub const CERTIFICATE_SIGNING_REQUEST: Hooks = Hooks {
    validate: Some(access::certificate_request),
    validate_update: Some(access::certificate_request_update),
    ..Hooks::NONE
};

pub const NODE: Hooks = Hooks {
    validate: Some(node::node),
    validate_update: Some(node::node_update),
    ..Hooks::NONE
};

pub const LEASE: Hooks = Hooks {
    validate: Some(node::lease),
    ..Hooks::NONE
};

pub const PRIORITY_CLASS: Hooks = Hooks {
    validate: Some(node::priority_class),
    validate_update: Some(node::priority_class_update),
    ..Hooks::NONE
};

pub const RUNTIME_CLASS: Hooks = Hooks {
    validate: Some(node::runtime_class),
    validate_update: Some(node::runtime_class_update),
    ..Hooks::NONE
};

pub const LIMIT_RANGE: Hooks = Hooks {
    validate: Some(quota::limit_range),
    ..Hooks::NONE
};

pub const RESOURCE_QUOTA: Hooks = Hooks {
    validate: Some(quota::resource_quota),
    validate_update: Some(quota::resource_quota_update),
    ..Hooks::NONE
};

pub const POD_DISRUPTION_BUDGET: Hooks = Hooks {
    validate: Some(scaling::disruption_budget),
    ..Hooks::NONE
};

pub const HORIZONTAL_POD_AUTOSCALER: Hooks = Hooks {
    validate: Some(scaling::autoscaler),
    ..Hooks::NONE
};
