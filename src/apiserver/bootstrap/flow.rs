//! Priority and fairness: the mandatory and suggested objects. Nothing here is enforced; clients read and edit them.

use super::Seed;
use serde_json::{Value, json};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const ANNOTATION: &str = "apf.kubernetes.io/autoupdate-spec";

/// Queues, hand size and queue length; without them requests are rejected.
type Queuing = Option<(u32, u32, u32)>;

/// Name, nominal shares, lendable percent.
const LEVELS: &[(&str, u32, u32, Queuing)] = &[
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: u32,
    distinguisher: &'static str,
    subjects: &'static [(&'static str, &'static str)],
    /// API groups and resources; none: everything.
    resources: Option<(&'static [&'static str], &'static [&'static str])>,
    paths: &'static [&'static str],
}

const ANY: &[&str] = &["*"];
const LEASES: Option<(&[&str], &[&str])> = Some((&["coordination.k8s.io"], &["leases"]));
const ALL: Option<(&[&str], &[&str])> = Some((ANY, ANY));
const ACCOUNTS: &[(&str, &str)] = &[("Group", "system:serviceaccounts")];
const EVERYBODY: &[(&str, &str)] = &[
    ("Group", "system:unauthenticated"),
    ("Group", "system:authenticated"),
];

const SCHEMAS: &[Schema] = &[
    schema(
        "exempt",
        "exempt",
        1,
        "",
        &[("Group", "system:masters")],
        ALL,
        ANY,
    ),
    schema(
        "probes",
        "exempt",
        2,
        "",
        EVERYBODY,
        None,
        &["/healthz", "/readyz", "/livez"],
    ),
    schema(
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        &[
            ("User", "system:kube-controller-manager"),
            ("User", "system:kube-scheduler"),
            ("ServiceAccount", "*"),
        ],
        LEASES,
        &[],
    ),
    schema(
        "system-node-high",
        "node-high",
        400,
        "ByUser",
        &[("Group", "system:nodes")],
        Some((
            &["", "coordination.k8s.io"],
            &["nodes", "nodes/status", "leases"],
        )),
        &[],
    ),
    schema(
        "system-nodes",
        "system",
        500,
        "ByUser",
        &[("Group", "system:nodes")],
        ALL,
        ANY,
    ),
    schema(
        "kube-controller-manager",
        "workload-high",
        800,
        "ByNamespace",
        &[("User", "system:kube-controller-manager")],
        ALL,
        ANY,
    ),
    schema(
        "kube-scheduler",
        "workload-high",
        800,
        "ByNamespace",
        &[("User", "system:kube-scheduler")],
        ALL,
        ANY,
    ),
    schema(
        "kube-system-service-accounts",
        "workload-high",
        900,
        "ByNamespace",
        &[("ServiceAccount", "*")],
        ALL,
        ANY,
    ),
    schema(
        "service-accounts",
        "workload-low",
        9000,
        "ByUser",
        ACCOUNTS,
        ALL,
        ANY,
    ),
    schema(
        "global-default",
        "global-default",
        9900,
        "ByUser",
        EVERYBODY,
        ALL,
        ANY,
    ),
    schema(
        "catch-all",
        "catch-all",
        10000,
        "ByUser",
        EVERYBODY,
        ALL,
        ANY,
    ),
];

const fn schema(
    name: &'static str,
    level: &'static str,
    precedence: u32,
    distinguisher: &'static str,
    subjects: &'static [(&'static str, &'static str)],
    resources: Option<(&'static [&'static str], &'static [&'static str])>,
    paths: &'static [&'static str],
) -> Schema {
    Schema {
        name,
        level,
        precedence,
        distinguisher,
        subjects,
        resources,
        paths,
    }
}

pub fn seeds() -> Vec<Seed> {
    let mut seeds = vec![level(
        "exempt",
        &json!({
            "type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
        }),
    )];
    for (name, shares, lendable, queuing) in LEVELS {
        let response = match queuing {
            None => json!({"type": "Reject"}),
            Some((queues, hand, length)) => json!({"type": "Queue", "queuing": {
                "queues": queues, "handSize": hand, "queueLengthLimit": length,
            }}),
        };
        seeds.push(level(
            name,
            &json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": shares, "lendablePercent": lendable,
                "limitResponse": response,
            }}),
        ));
    }
    seeds.extend(SCHEMAS.iter().map(Schema::seed));
    seeds
}

fn level(name: &str, spec: &Value) -> Seed {
    seed("prioritylevelconfigurations", name, spec)
}

fn seed(plural: &'static str, name: &str, spec: &Value) -> Seed {
    Seed {
        group: GROUP,
        version: "v1",
        plural,
        namespace: String::new(),
        object: json!({
            "metadata": {"name": name, "annotations": {ANNOTATION: "true"}},
            "spec": spec, "status": {},
        }),
    }
}

impl Schema {
    fn seed(&self) -> Seed {
        let subjects = self.subjects.iter().map(|(kind, name)| match *kind {
            "Group" => json!({"kind": kind, "group": {"name": name}}),
            "User" => json!({"kind": kind, "user": {"name": name}}),
            _ => {
                json!({"kind": kind, "serviceAccount": {"name": name, "namespace": "kube-system"}})
            }
        });
        let subjects = subjects.collect::<Vec<Value>>();
        let mut rule = json!({"subjects": subjects});
        if let Some((groups, resources)) = self.resources {
            rule["resourceRules"] = json!([{
                "verbs": ["*"], "apiGroups": groups, "resources": resources,
                "clusterScope": true, "namespaces": ["*"],
            }]);
        }
        if !self.paths.is_empty() {
            rule["nonResourceRules"] = json!([{"verbs": ["*"], "nonResourceURLs": self.paths}]);
        }
        let mut spec = json!({
            "matchingPrecedence": self.precedence,
            "priorityLevelConfiguration": {"name": self.level},
            "rules": [rule],
        });
        if !self.distinguisher.is_empty() {
            spec["distinguisherMethod"] = json!({"type": self.distinguisher});
        }
        seed("flowschemas", self.name, &spec)
    }
}
