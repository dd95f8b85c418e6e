//! Tells of each FlowSchema whether the PriorityLevelConfiguration that it names exists.
//!
//! The objects do not queue requests here; what people read of them is true all the same. Upstream's API server does
//! this itself, as itself.

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Watches, World, Write},
};
use crate::api::{name::Key, object::Object};
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration,
};

const DANGLING: &str = "Dangling";

pub fn start(ctx: &ControllerContext) {
    let component = "api-priority-and-fairness-config-consumer";
    framework::start(ctx, super::SERVER, component, Dangling);
}

struct Dangling;

impl Controller for Dangling {
    type Primary = FlowSchema;

    fn watches(watches: &mut Watches) {
        watches.on::<PriorityLevelConfiguration>(|level, caches| {
            let name = level.metadata.name.clone();
            let all = caches.all::<FlowSchema>();
            let naming = all
                .values()
                .filter(|schema| level_of(schema) == name.as_deref());
            naming.map(|schema| schema.key()).collect::<Vec<Key>>()
        });
    }

    fn reconcile(&self, schema: &FlowSchema, world: &World) -> Decision {
        let mut decision = Decision::default();
        let name = level_of(schema).unwrap_or_default();
        let levels = world.all::<PriorityLevelConfiguration>();
        let wanted = condition(name, levels.get(&Key::new("", name)).is_some());
        let conditions = schema
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default();
        let found = conditions
            .iter()
            .find(|one| one.type_.as_deref() == Some(DANGLING));
        if found
            .is_some_and(|found| found.status == wanted.status && found.message == wanted.message)
        {
            return decision;
        }
        let since = found.filter(|found| found.status == wanted.status);
        let since = since.and_then(|found| found.last_transition_time.clone());
        let others = conditions
            .iter()
            .filter(|one| one.type_.as_deref() != Some(DANGLING));
        let mut conditions: Vec<FlowSchemaCondition> = others.cloned().collect();
        conditions.push(FlowSchemaCondition {
            last_transition_time: Some(since.unwrap_or_else(|| world.stamp())),
            ..wanted
        });
        let mut schema = schema.clone();
        schema.status.get_or_insert_default().conditions = Some(conditions);
        decision.push(Write::update_status(&schema));
        decision
    }
}

fn level_of(schema: &FlowSchema) -> Option<&str> {
    let spec = schema.spec.as_ref()?;
    Some(spec.priority_level_configuration.name.as_str())
}

fn condition(level: &str, exists: bool) -> FlowSchemaCondition {
    let about =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match exists {
        true => ("False", "Found", format!("{about} and it exists")),
        false => (
            "True",
            "NotFound",
            format!("{about} but there is no such object"),
        ),
    };
    FlowSchemaCondition {
        type_: Some(DANGLING.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::json;

    #[test]
    fn schemas_tell_whether_their_level_exists() {
        let mut stage = Stage::new(Dangling);
        let spec = json!({"matchingPrecedence": 1, "priorityLevelConfiguration": {"name": "low"}});
        stage.put::<FlowSchema>(json!({
            "metadata": {"name": "s"}, "spec": spec,
            "status": {"conditions": [{"type": "Other", "status": "True"}]},
        }));
        let told = |stage: &Stage<Dangling>| {
            let conditions = stage.get::<FlowSchema>("", "s").status.unwrap().conditions;
            let all = conditions.unwrap();
            assert_eq!(all[0].type_.as_deref(), Some("Other"));
            format!(
                "{} {}",
                all[1].status.clone().unwrap(),
                all[1].message.clone().unwrap()
            )
        };
        let about =
            "This FlowSchema references the PriorityLevelConfiguration object named \"low\"";
        stage.settle();
        assert_eq!(
            told(&stage),
            format!("True {about} but there is no such object")
        );
        stage.put::<PriorityLevelConfiguration>(
            json!({"metadata": {"name": "low"}, "spec": {"type": "Exempt"}}),
        );
        stage.settle();
        assert_eq!(told(&stage), format!("False {about} and it exists"));
    }
}
