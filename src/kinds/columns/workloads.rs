//! Columns of what runs pods, and of what guards and scales it.

use super::cell::{
    AGE, NAME, NONE, UNKNOWN, UNSET, age_or, boolean, container_images, container_names, field,
    flag, has_condition, instant, integer, labels, list, number, scalar, selector, string, text_or,
    wide,
};
use crate::{
    api::{duration, quantity::Quantity},
    kinds::Column,
};
use jiff::Timestamp;
use serde_json::Value;

const CONTAINERS: &str = "/spec/template/spec/containers";

const TEMPLATE_CONTAINERS: Column = wide("Containers", |set, _| container_names(set, CONTAINERS));
const TEMPLATE_IMAGES: Column = wide("Images", |set, _| container_images(set, CONTAINERS));
const SELECTOR: Column = wide("Selector", |set, _| {
    selector(set.pointer("/spec/selector")).into()
});

pub const DEPLOYMENT: &[Column] = &[
    NAME,
    string("Ready", |set, _| ready(set)),
    integer("Up-to-date", |set, _| {
        number(set, "/status/updatedReplicas").into()
    }),
    integer("Available", |set, _| {
        number(set, "/status/availableReplicas").into()
    }),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    SELECTOR,
];

pub const REPLICA_SET: &[Column] = &[
    NAME,
    integer("Desired", |set, _| number(set, "/spec/replicas").into()),
    integer("Current", |set, _| number(set, "/status/replicas").into()),
    integer("Ready", |set, _| {
        number(set, "/status/readyReplicas").into()
    }),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    SELECTOR,
];

/// Its selector is a plain map.
pub const REPLICATION_CONTROLLER: &[Column] = &[
    NAME,
    integer("Desired", |set, _| number(set, "/spec/replicas").into()),
    integer("Current", |set, _| number(set, "/status/replicas").into()),
    integer("Ready", |set, _| {
        number(set, "/status/readyReplicas").into()
    }),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    wide("Selector", |set, _| {
        labels(set.pointer("/spec/selector")).into()
    }),
];

pub const STATEFUL_SET: &[Column] = &[
    NAME,
    string("Ready", |set, _| ready(set)),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
];

pub const DAEMON_SET: &[Column] = &[
    NAME,
    integer("Desired", |set, _| {
        number(set, "/status/desiredNumberScheduled").into()
    }),
    integer("Current", |set, _| {
        number(set, "/status/currentNumberScheduled").into()
    }),
    integer("Ready", |set, _| number(set, "/status/numberReady").into()),
    integer("Up-to-date", |set, _| {
        number(set, "/status/updatedNumberScheduled").into()
    }),
    integer("Available", |set, _| {
        number(set, "/status/numberAvailable").into()
    }),
    string("Node Selector", |set, _| {
        labels(set.pointer("/spec/template/spec/nodeSelector")).into()
    }),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    SELECTOR,
];

pub const CONTROLLER_REVISION: &[Column] = &[
    NAME,
    string("Controller", |revision, _| {
        let owners = list(revision, "/metadata/ownerReferences");
        match owners.iter().find(|owner| owner["controller"] == true) {
            None => NONE.into(),
            Some(owner) => {
                let group = field(owner, "/apiVersion")
                    .split_once('/')
                    .map(|(group, _)| format!(".{group}"));
                let kind = field(owner, "/kind").to_lowercase();
                format!(
                    "{kind}{}/{}",
                    group.unwrap_or_default(),
                    field(owner, "/name")
                )
                .into()
            }
        }
    }),
    integer("Revision", |revision, _| {
        number(revision, "/revision").into()
    }),
    AGE,
];

pub const JOB: &[Column] = &[
    NAME,
    string("Status", |job, _| job_status(job).into()),
    string("Completions", |job, _| {
        let done = number(job, "/status/succeeded");
        let parallelism = number(job, "/spec/parallelism");
        match job.pointer("/spec/completions").and_then(Value::as_i64) {
            Some(wanted) => format!("{done}/{wanted}").into(),
            None if parallelism > 1 => format!("{done}/1 of {parallelism}").into(),
            None => format!("{done}/1").into(),
        }
    }),
    string("Duration", |job, now| duration_of(job, now).into()),
    AGE,
    TEMPLATE_CONTAINERS,
    TEMPLATE_IMAGES,
    SELECTOR,
];

const JOB_CONTAINERS: &str = "/spec/jobTemplate/spec/template/spec/containers";

pub const CRON_JOB: &[Column] = &[
    NAME,
    string("Schedule", |job, _| field(job, "/spec/schedule").into()),
    string("Timezone", |job, _| text_or(job, "/spec/timeZone", NONE)),
    boolean("Suspend", |job, _| {
        let word = if flag(job, "/spec/suspend") {
            "True"
        } else {
            "False"
        };
        word.into()
    }),
    integer("Active", |job, _| list(job, "/status/active").len().into()),
    string("Last Schedule", |job, now| {
        age_or(job, "/status/lastScheduleTime", now, NONE)
    }),
    AGE,
    wide("Containers", |job, _| container_names(job, JOB_CONTAINERS)),
    wide("Images", |job, _| container_images(job, JOB_CONTAINERS)),
    wide("Selector", |job, _| {
        selector(job.pointer("/spec/jobTemplate/spec/selector")).into()
    }),
];

pub const POD_TEMPLATE: &[Column] = &[
    NAME,
    string("Containers", |template, _| {
        container_names(template, "/template/spec/containers")
    }),
    string("Images", |template, _| {
        container_images(template, "/template/spec/containers")
    }),
    string("Pod Labels", |template, _| {
        labels(template.pointer("/template/metadata/labels")).into()
    }),
];

pub const POD_DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    string("Min Available", |budget, _| {
        or_na(budget, "/spec/minAvailable")
    }),
    string("Max Unavailable", |budget, _| {
        or_na(budget, "/spec/maxUnavailable")
    }),
    integer("Allowed Disruptions", |budget, _| {
        number(budget, "/status/disruptionsAllowed").into()
    }),
    AGE,
];

pub const HORIZONTAL_POD_AUTOSCALER: &[Column] = &[
    NAME,
    string("Reference", |scaler, _| {
        let part = |name| field(scaler, name);
        format!(
            "{}/{}",
            part("/spec/scaleTargetRef/kind"),
            part("/spec/scaleTargetRef/name")
        )
        .into()
    }),
    string("Targets", |scaler, _| targets(scaler).into()),
    string("MinPods", |scaler, _| {
        scalar(scaler.pointer("/spec/minReplicas"))
            .unwrap_or_else(|| UNSET.to_owned())
            .into()
    }),
    integer("MaxPods", |scaler, _| {
        number(scaler, "/spec/maxReplicas").into()
    }),
    integer("Replicas", |scaler, _| {
        number(scaler, "/status/currentReplicas").into()
    }),
    AGE,
];

/// In version 1 there is only the processor.
pub const HORIZONTAL_POD_AUTOSCALER_V1: &[Column] = &[
    NAME,
    HORIZONTAL_POD_AUTOSCALER[1],
    string("Targets", |scaler, _| {
        let percent = |pointer| {
            scalar(scaler.pointer(pointer)).map_or(UNKNOWN.to_owned(), |value| format!("{value}%"))
        };
        match scaler.pointer("/spec/targetCPUUtilizationPercentage") {
            None => NONE.into(),
            Some(_) => format!(
                "cpu: {}/{}",
                percent("/status/currentCPUUtilizationPercentage"),
                percent("/spec/targetCPUUtilizationPercentage")
            )
            .into(),
        }
    }),
    HORIZONTAL_POD_AUTOSCALER[3],
    HORIZONTAL_POD_AUTOSCALER[4],
    HORIZONTAL_POD_AUTOSCALER[5],
    AGE,
];

pub const PRIORITY_CLASS: &[Column] = &[
    NAME,
    integer("Value", |class, _| number(class, "/value").into()),
    boolean("Global-Default", |class, _| {
        flag(class, "/globalDefault").into()
    }),
    AGE,
    string("PreemptionPolicy", |class, _| {
        field(class, "/preemptionPolicy").into()
    }),
];

fn ready(set: &Value) -> Value {
    let wanted = number(set, "/spec/replicas");
    format!("{}/{wanted}", number(set, "/status/readyReplicas")).into()
}

fn or_na(object: &Value, pointer: &str) -> Value {
    scalar(object.pointer(pointer))
        .unwrap_or_else(|| "N/A".to_owned())
        .into()
}

fn job_status(job: &Value) -> &'static str {
    let told = ["Complete", "Failed"]
        .into_iter()
        .find(|wanted| has_condition(job, wanted));
    if let Some(told) = told {
        return told;
    }
    if job.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating";
    }
    let told = [
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ];
    let told = told
        .into_iter()
        .find(|(wanted, _)| has_condition(job, wanted));
    told.map_or("Running", |(_, shown)| shown)
}

fn duration_of(job: &Value, now: Timestamp) -> String {
    match (
        instant(job, "/status/startTime"),
        instant(job, "/status/completionTime"),
    ) {
        (None, _) => String::new(),
        (Some(start), end) => duration::human(end.unwrap_or(now).duration_since(start)),
    }
}

fn targets(scaler: &Value) -> String {
    let specs = list(scaler, "/spec/metrics");
    let current = list(scaler, "/status/currentMetrics");
    if specs.is_empty() {
        return NONE.to_owned();
    }
    let texts: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| target(spec, current.get(index)))
        .collect();
    match texts.len() {
        more if more > 2 => format!("{} + {} more...", texts[..2].join(", "), more - 2),
        _ => texts.join(", "),
    }
}

/// One metric: what is, over what is wanted.
fn target(spec: &Value, current: Option<&Value>) -> String {
    let part = match field(spec, "/type") {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = &spec[part]["target"];
    let now = current.map(|current| &current[part]["current"]);
    let read = |name: &str| {
        now.and_then(|now| scalar(now.get(name)))
            .unwrap_or_else(|| UNKNOWN.to_owned())
    };
    let shown = if let Some(value) = scalar(wanted.get("averageUtilization")) {
        let now = match read("averageUtilization") {
            unknown if unknown == UNKNOWN => unknown,
            known => format!("{known}%"),
        };
        format!("{now}/{value}%")
    } else if let Some(value) = scalar(wanted.get("averageValue")) {
        let average = if part == "object" || part == "external" {
            " (avg)"
        } else {
            ""
        };
        format!("{}/{value}{average}", read("averageValue"))
    } else {
        let value = scalar(wanted.get("value")).unwrap_or_else(|| "<auto>".to_owned());
        format!("{}/{value}", read("value"))
    };
    match part {
        "resource" | "containerResource" => format!("{}: {shown}", field(&spec[part], "/name")),
        _ => shown,
    }
}

/// As upstream's add-on shows them: one column per resource.
pub const NODE_METRICS: &[Column] = &[
    NAME,
    string("cpu", |node, _| node["usage"]["cpu"].clone()),
    string("memory", |node, _| node["usage"]["memory"].clone()),
    WINDOW,
];

pub const POD_METRICS: &[Column] = &[
    NAME,
    string("cpu", |pod, _| containers_use(pod, "cpu").into()),
    string("memory", |pod, _| containers_use(pod, "memory").into()),
    WINDOW,
];

const WINDOW: Column = string("Window", |metrics, _| metrics["window"].clone());

fn containers_use(pod: &Value, resource: &str) -> String {
    let containers = pod["containers"].as_array().into_iter().flatten();
    let used = containers.filter_map(|one| one["usage"][resource].as_str());
    let parsed = used.filter_map(|text| Quantity::parse(text).ok());
    let sum = parsed.reduce(|sum, one| sum + one);
    sum.unwrap_or(Quantity::ZERO).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::columns::testing::row;
    use serde_json::json;

    #[test]
    fn workloads() {
        let deployment = json!({
            "metadata": {"name": "d", "creationTimestamp": "2026-11-21T09:59:00Z"},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "d"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]},
                "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "e", "image": "j"}]}},
            },
            "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
        });
        assert_eq!(
            row(DEPLOYMENT, &deployment),
            "d|2/3|3|1|60s|c,e|i,j|a in (x,y),app=d"
        );
        let job = json!({
            "metadata": {"name": "j"}, "spec": {"completions": 2},
            "status": {"succeeded": 1, "startTime": "2026-11-21T09:59:30Z"},
        });
        assert_eq!(row(JOB, &job), "j|Running|1/2|30s|<unknown>|||<none>");
        let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": "50%"}});
        assert_eq!(row(POD_DISRUPTION_BUDGET, &budget), "b|50%|N/A|0|<unknown>");
        let scaler = json!({
            "metadata": {"name": "h"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}],
            },
        });
        assert_eq!(
            row(HORIZONTAL_POD_AUTOSCALER, &scaler),
            "h|Deployment/d|cpu: <unknown>/50%|<unset>|5|0|<unknown>"
        );
    }
}
