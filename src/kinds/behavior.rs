//! The hooks of each built-in kind, named by its row in the catalogue.

use super::{
    Hooks, defaults,
    validate::{
        access, config, endpoints, event, job, network, node, pod, quota, scaling, service,
        storage, webhook, workload,
    },
};

pub const POD: Hooks = Hooks {
    default: Some(defaults::pod::pod),
    prepare_create: Some(defaults::pod::new_pod),
    validate: Some(pod::pod),
    validate_update: Some(pod::update),
    ..Hooks::NONE
};

pub const EVENT: Hooks = Hooks {
    validate: Some(event::core_event),
    ..Hooks::NONE
};

pub const NEW_EVENT: Hooks = Hooks {
    validate: Some(event::new_event),
    validate_update: Some(event::new_event_update),
    ..Hooks::NONE
};

pub const POD_TEMPLATE: Hooks = Hooks {
    default: Some(defaults::pod::pod_template),
    validate: Some(pod::pod_template_object),
    ..Hooks::NONE
};

pub const REPLICATION_CONTROLLER: Hooks = Hooks {
    default: Some(defaults::workload::replication_controller),
    prepare_create: Some(defaults::workload::new_replica_set),
    validate: Some(workload::replication_controller),
    ..Hooks::NONE
};

pub const REPLICA_SET: Hooks = Hooks {
    default: Some(defaults::workload::replica_set),
    prepare_create: Some(defaults::workload::new_replica_set),
    validate: Some(workload::replica_set),
    validate_update: Some(workload::fixed_selector),
    ..Hooks::NONE
};

pub const DEPLOYMENT: Hooks = Hooks {
    default: Some(defaults::workload::deployment),
    validate: Some(workload::deployment),
    validate_update: Some(workload::fixed_selector),
    ..Hooks::NONE
};

pub const STATEFUL_SET: Hooks = Hooks {
    default: Some(defaults::workload::stateful_set),
    prepare_create: Some(defaults::workload::new_stateful_set),
    validate: Some(workload::stateful_set),
    validate_update: Some(workload::stateful_set_update),
    ..Hooks::NONE
};

pub const DAEMON_SET: Hooks = Hooks {
    default: Some(defaults::workload::daemon_set),
    prepare_create: Some(defaults::workload::new_daemon_set),
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
    default: Some(defaults::workload::job),
    prepare_create: Some(defaults::workload::new_job),
    validate: Some(job::job),
    validate_update: Some(job::job_update),
    ..Hooks::NONE
};

pub const CRON_JOB: Hooks = Hooks {
    default: Some(defaults::workload::cron_job),
    validate: Some(job::cron_job),
    ..Hooks::NONE
};

pub const SERVICE: Hooks = Hooks {
    default: Some(defaults::network::service),
    prepare_create: Some(defaults::network::new_service),
    validate: Some(service::service),
    validate_update: Some(service::service_update),
    ..Hooks::NONE
};

pub const ENDPOINTS: Hooks = Hooks {
    default: Some(defaults::network::endpoints),
    validate: Some(endpoints::endpoints),
    ..Hooks::NONE
};

pub const ENDPOINT_SLICE: Hooks = Hooks {
    default: Some(defaults::network::slice),
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
    default: Some(defaults::config::secret),
    validate: Some(config::secret),
    validate_update: Some(config::secret_update),
    ..Hooks::NONE
};

pub const NAMESPACE: Hooks = Hooks {
    default: Some(defaults::config::namespace),
    prepare_create: Some(defaults::config::new_namespace),
    validate: Some(config::namespace),
    validate_update: Some(config::namespace_update),
    ..Hooks::NONE
};

pub const PERSISTENT_VOLUME: Hooks = Hooks {
    default: Some(defaults::storage::volume),
    prepare_create: Some(defaults::storage::new_unbound),
    validate: Some(storage::volume),
    validate_update: Some(storage::volume_update),
    ..Hooks::NONE
};

pub const PERSISTENT_VOLUME_CLAIM: Hooks = Hooks {
    default: Some(defaults::storage::claim),
    prepare_create: Some(defaults::storage::new_unbound),
    validate: Some(storage::claim),
    validate_update: Some(storage::claim_update),
    ..Hooks::NONE
};

pub const STORAGE_CLASS: Hooks = Hooks {
    default: Some(defaults::storage::class),
    validate: Some(storage::class),
    validate_update: Some(storage::class_update),
    ..Hooks::NONE
};

pub const INGRESS: Hooks = Hooks {
    prepare_create: Some(defaults::network::new_ingress),
    validate: Some(network::ingress),
    ..Hooks::NONE
};

pub const INGRESS_CLASS: Hooks = Hooks {
    default: Some(defaults::network::ingress_class),
    validate: Some(network::ingress_class),
    validate_update: Some(network::ingress_class_update),
    ..Hooks::NONE
};

pub const IP_ADDRESS: Hooks = Hooks {
    validate: Some(network::ip_address),
    validate_update: Some(network::ip_address_update),
    ..Hooks::NONE
};

pub const SERVICE_CIDR: Hooks = Hooks {
    validate: Some(network::service_cidr),
    validate_update: Some(network::service_cidr_update),
    ..Hooks::NONE
};

pub const NETWORK_POLICY: Hooks = Hooks {
    default: Some(defaults::network::network_policy),
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
    default: Some(defaults::policy::binding),
    validate: Some(access::role_binding),
    validate_update: Some(access::binding_update),
    ..Hooks::NONE
};

pub const CLUSTER_ROLE_BINDING: Hooks = Hooks {
    default: Some(defaults::policy::binding),
    validate: Some(access::cluster_role_binding),
    validate_update: Some(access::binding_update),
    ..Hooks::NONE
};

pub const CERTIFICATE_SIGNING_REQUEST: Hooks = Hooks {
    prepare_update: Some(defaults::keep_spec),
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
    default: Some(defaults::policy::priority_class),
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
    default: Some(defaults::policy::limit_range),
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
    default: Some(defaults::policy::autoscaler),
    validate: Some(scaling::autoscaler),
    ..Hooks::NONE
};

pub const CSI_DRIVER: Hooks = Hooks {
    default: Some(defaults::storage::driver),
    ..Hooks::NONE
};

pub const MUTATING_WEBHOOK_CONFIGURATION: Hooks = Hooks {
    default: Some(defaults::policy::mutating_webhooks),
    validate: Some(webhook::mutating),
    ..Hooks::NONE
};

pub const VALIDATING_WEBHOOK_CONFIGURATION: Hooks = Hooks {
    default: Some(defaults::policy::webhooks),
    validate: Some(webhook::validating),
    ..Hooks::NONE
};

pub const VALIDATING_ADMISSION_POLICY: Hooks = Hooks {
    default: Some(defaults::policy::admission_policy),
    ..Hooks::NONE
};

pub const MUTATING_ADMISSION_POLICY: Hooks = Hooks {
    default: Some(defaults::policy::admission_policy),
    ..Hooks::NONE
};

pub const VALIDATING_ADMISSION_POLICY_BINDING: Hooks = Hooks {
    default: Some(defaults::policy::admission_binding),
    ..Hooks::NONE
};

pub const MUTATING_ADMISSION_POLICY_BINDING: Hooks = Hooks {
    default: Some(defaults::policy::admission_binding),
    ..Hooks::NONE
};
