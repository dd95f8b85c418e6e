//! A stage for one controller: a little API in memory that applies its decisions until it has nothing left to do.

use super::{
    action::{Action, Decision, Disk, Failure, Write},
    driver::Controller,
    issue,
    watches::Watches,
    world::World,
};
use crate::{
    api::{
        call::Verb,
        name::{Gvr, Key},
        object::Object,
    },
    client::Snapshot,
    kinds::{self, UpdateContext},
    pki::{Pki, ServerNames},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Passes after which a controller counts as one that never comes to rest.
const PASSES_MAX: usize = 40;

#[derive(Default)]
pub struct Objects {
    items: BTreeMap<(String, Key), Value>,
    revision: u64,
}

impl Objects {
    pub fn snapshot<T: Object>(&self) -> Snapshot<T> {
        self.list::<T>().into_iter().collect()
    }

    fn list<T: Object>(&self) -> Vec<T> {
        let kind = T::gvr().to_string();
        let items = self.items.iter().filter(|((other, _), _)| *other == kind);
        items
            .map(|(_, value)| serde_json::from_value(value.clone()).unwrap())
            .collect()
    }

    fn put(&mut self, resource: &Gvr, key: &Key, mut value: Value) {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.items
            .insert((resource.to_string(), key.clone()), value);
    }
}

pub struct Stage<C> {
    controller: C,
    pub now: Timestamp,
    pub objects: Objects,
    /// `Normal Reason message`, oldest first.
    pub events: Vec<String>,
    /// What was done on the disk.
    pub disk: Vec<String>,
    /// The last decision's wish to be asked again, of the key that wants it first.
    pub again_after: Option<Duration>,
    /// Creations of this kind are refused with this text.
    pub refuse: Option<(&'static str, String)>,
    /// Reviews that ask for this subresource are answered with yes.
    pub allow: Option<&'static str>,
    keys: Option<Pki>,
    failures: BTreeMap<Key, Failure>,
    watches: Watches,
}

impl<C: Controller> Stage<C> {
    pub fn new(controller: C) -> Stage<C> {
        let mut watches = Watches::default();
        watches.read::<C::Primary>();
        C::watches(&mut watches);
        Stage {
            controller,
            now: "2026-11-21T05:00:00Z".parse().unwrap(),
            objects: Objects::default(),
            events: Vec::new(),
            disk: Vec::new(),
            again_after: None,
            refuse: None,
            allow: None,
            keys: None,
            failures: BTreeMap::new(),
            watches,
        }
    }

    /// Made when something is issued for the first time.
    pub fn keys(&mut self) -> &Pki {
        self.keys.get_or_insert_with(|| {
            let folder = tempfile::tempdir().unwrap();
            Pki::load_or_create(folder.path(), &ServerNames::default(), self.now).unwrap()
        })
    }

    /// Stores an object written as JSON, with what a server would fill in.
    pub fn put<T: Object>(&mut self, value: Value) -> T {
        let typed: T = serde_json::from_value(with_type::<T>(value)).unwrap();
        self.create(
            &T::gvr(),
            &typed.key().namespace,
            serde_json::to_value(&typed).unwrap(),
        );
        self.get(&typed.key().namespace, &typed.key().name)
    }

    pub fn find<T: Object>(&self, namespace: &str, name: &str) -> Option<T> {
        let at = (T::gvr().to_string(), Key::new(namespace, name));
        self.objects
            .items
            .get(&at)
            .map(|value| serde_json::from_value(value.clone()).unwrap())
    }

    pub fn get<T: Object>(&self, namespace: &str, name: &str) -> T {
        self.find(namespace, name)
            .unwrap_or_else(|| panic!("no {} {namespace}/{name}", T::KIND))
    }

    pub fn all<T: Object>(&self) -> Vec<T> {
        self.objects.list()
    }

    /// Changes a stored object, status included.
    pub fn edit<T: Object>(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut T)) {
        let mut object: T = self.get(namespace, name);
        let before = serde_json::to_value(&object).unwrap();
        change(&mut object);
        let mut after = serde_json::to_value(&object).unwrap();
        if before["spec"] != after["spec"] {
            let generation = after["metadata"]["generation"].as_i64().unwrap_or_default();
            after["metadata"]["generation"] = (generation + 1).into();
        }
        self.objects.put(&T::gvr(), &object.key(), after);
    }

    /// A person's delete: marks what has finalizers, removes the rest.
    pub fn delete<T: Object>(&mut self, namespace: &str, name: &str) {
        let write = Write::delete(&self.get::<T>(namespace, name));
        self.apply(&write).unwrap();
    }

    pub fn remove<T: Object>(&mut self, namespace: &str, name: &str) {
        self.objects
            .items
            .remove(&(T::gvr().to_string(), Key::new(namespace, name)));
    }

    pub fn advance(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// What the controller would do about one key now.
    pub fn decide(&self, key: &Key) -> Decision {
        let pictures = self.watches.declared.iter();
        let pictures = pictures
            .map(|one| (one.kind, (one.picture)(&self.objects)))
            .collect();
        let world = World::new(self.now, self.failures.get(key).cloned(), pictures);
        match world.all::<C::Primary>().get(key) {
            Some(primary) => self.controller.reconcile(primary, &world),
            None => self.controller.gone(key, &world),
        }
    }

    /// One pass over every object of the primary kind; whether anything was written.
    pub fn pass(&mut self) -> bool {
        let keys: Vec<Key> = self
            .objects
            .snapshot::<C::Primary>()
            .keys()
            .cloned()
            .collect();
        self.pass_over(&keys)
    }

    pub fn pass_over(&mut self, keys: &[Key]) -> bool {
        let mut wrote = false;
        self.again_after = None;
        for key in keys {
            let decision = self.decide(key);
            self.failures.remove(key);
            if let Some(after) = decision.again_after {
                self.again_after = Some(self.again_after.map_or(after, |other| other.min(after)));
            }
            for action in decision.actions {
                match action {
                    Action::Tell(notice) => {
                        self.tell(notice.kind.as_str(), &notice.reason, &notice.message);
                    }
                    Action::Disk(disk) => self.disk.push(match disk {
                        Disk::Make(path) => format!("make {}", path.display()),
                        Disk::Remove(path) => format!("remove {}", path.display()),
                    }),
                    Action::Issue(issue) => {
                        let now = self.now;
                        let write = issue::signed(issue, self.keys(), now).unwrap();
                        wrote |= self.act(key, &write);
                    }
                    Action::Ask(question) => {
                        let mut choices = question.choices.into_iter();
                        let said = choices.find(|(review, _)| {
                            let wanted = review.spec.resource_attributes.as_ref();
                            wanted.and_then(|wanted| wanted.subresource.as_deref()) == self.allow
                        });
                        if let Some((_, write)) = said {
                            wrote |= self.act(key, &write);
                        }
                    }
                    Action::Write(write) => {
                        if self.failures.contains_key(key) && !write.is_status() {
                            continue;
                        }
                        wrote |= self.act(key, &write);
                    }
                }
            }
        }
        wrote
    }

    fn act(&mut self, key: &Key, write: &Write) -> bool {
        match self.apply(write) {
            Ok((changed, name)) => {
                if let Some(notice) = &write.on_success {
                    let name = if notice.message.ends_with(' ') {
                        name
                    } else {
                        String::new()
                    };
                    self.tell(
                        notice.kind.as_str(),
                        &notice.reason,
                        &format!("{}{name}", notice.message),
                    );
                }
                changed
            }
            Err(message) => {
                if let Some(notice) = &write.on_failure {
                    self.tell(
                        notice.kind.as_str(),
                        &notice.reason,
                        &format!("{}{message}", notice.message),
                    );
                }
                let failure = Failure {
                    verb: write.verb,
                    resource: write.resource.clone(),
                    reason: "Forbidden",
                    message,
                };
                self.failures.insert(key.clone(), failure);
                false
            }
        }
    }

    fn tell(&mut self, kind: &str, reason: &str, message: &str) {
        self.events.push(format!("{kind} {reason} {message}"));
    }

    /// Passes until nothing is written any more.
    pub fn settle(&mut self) {
        for _ in 0..PASSES_MAX {
            if !self.pass() {
                return;
            }
        }
        panic!("does not come to rest; events: {:#?}", self.events);
    }

    /// Whether it changed something, and the name of the object.
    fn apply(&mut self, write: &Write) -> Result<(bool, String), String> {
        let at = (write.resource.to_string(), write.key.clone());
        match write.verb {
            Verb::Create if write.subresource.is_some() => Ok((true, write.key.name.clone())),
            Verb::Create => {
                if let Some((_, text)) = self
                    .refuse
                    .as_ref()
                    .filter(|(kind, _)| *kind == write.resource.resource)
                {
                    return Err(text.clone());
                }
                let name = self.create(&write.resource, &write.key.namespace, write.body.clone());
                Ok((true, name))
            }
            Verb::Delete => {
                let Some(found) = self.objects.items.get(&at) else {
                    return Ok((false, String::new()));
                };
                let same = write
                    .delete
                    .uid
                    .as_deref()
                    .is_none_or(|uid| found["metadata"]["uid"] == uid);
                Ok((same && self.mark_or_remove(write), write.key.name.clone()))
            }
            _ => {
                let old = self.objects.items.get(&at).cloned().ok_or("not found")?;
                let mut new = old.clone();
                if write.patch.is_some() {
                    merge(&mut new, &write.body);
                } else if write.is_status() || write.subresource == Some("approval") {
                    new["status"] = write.body["status"].clone();
                    clean(&mut new);
                    accept_status(write, &old, &new);
                } else {
                    new = write.body.clone();
                    if !old["status"].is_null() {
                        new["status"] = old["status"].clone();
                    }
                }
                new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
                if new == old {
                    return Ok((false, write.key.name.clone()));
                }
                if new["spec"] != old["spec"] {
                    let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
                    new["metadata"]["generation"] = (generation + 1).into();
                }
                let runs = write.resource.resource == "pods"
                    && new["spec"]["nodeName"].is_string()
                    && !matches!(
                        new["status"]["phase"].as_str(),
                        Some("Succeeded" | "Failed")
                    );
                let finalizers = new["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
                if !new["metadata"]["deletionTimestamp"].is_null() && finalizers == 0 && !runs {
                    self.objects.items.remove(&at);
                } else {
                    self.objects.put(&write.resource, &write.key, new);
                }
                Ok((true, write.key.name.clone()))
            }
        }
    }

    fn create(&mut self, resource: &Gvr, namespace: &str, mut value: Value) -> String {
        let number = self.objects.revision + 1;
        let meta = &mut value["metadata"];
        if meta["name"].is_null() {
            meta["name"] = format!("{}{number:05}", meta["generateName"].as_str().unwrap()).into();
        }
        let name = meta["name"].as_str().unwrap().to_owned();
        if meta["uid"].is_null() {
            meta["uid"] = format!("uid-{number}").into();
        }
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        }
        if meta["generation"].is_null() {
            meta["generation"] = 1.into();
        }
        self.objects
            .put(resource, &Key::new(namespace, name.clone()), value);
        name
    }

    fn mark_or_remove(&mut self, write: &Write) -> bool {
        let at = (write.resource.to_string(), write.key.clone());
        let mut value = self.objects.items[&at].clone();
        let finalizers = value["metadata"]["finalizers"]
            .as_array()
            .map_or(0, Vec::len);
        let runs = write.resource.resource == "pods" && value["spec"]["nodeName"].is_string();
        if finalizers == 0 && !runs {
            self.objects.items.remove(&at);
            return true;
        }
        if !value["metadata"]["deletionTimestamp"].is_null() {
            return false;
        }
        value["metadata"]["deletionTimestamp"] =
            self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        self.objects.put(&write.resource, &write.key, value);
        true
    }
}

/// Pods' lives, as a node would write them.
impl<C: Controller> Stage<C> {
    /// Every pod that is not being deleted runs and is ready; those being deleted go, unless finalizers hold them.
    pub fn run_pods(&mut self) {
        use k8s_openapi::api::core::v1::Pod;
        for pod in self.all::<Pod>() {
            let key = pod.key();
            let held = pod
                .metadata
                .finalizers
                .as_ref()
                .is_some_and(|all| !all.is_empty());
            let ended = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref())
                .is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
            if pod.is_deleting() && !held {
                self.remove::<Pod>(&key.namespace, &key.name);
            } else if !ended {
                self.set_pod(&key.name, &key.namespace, "Running", !pod.is_deleting());
            }
        }
    }

    /// Sets a pod's phase and readiness since now, on `node1` if it has no node.
    pub fn set_pod(&mut self, name: &str, namespace: &str, phase: &str, is_ready: bool) {
        use k8s_openapi::api::core::v1::Pod;
        let ready = if is_ready { "True" } else { "False" };
        let since = self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.edit::<Pod>(namespace, name, |pod| {
            let old = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).and_then(|all| {
                all.iter().find(|one| one.type_ == "Ready" && one.status == ready).cloned()
            });
            let since = old.and_then(|old| old.last_transition_time).map_or(json!(since), |time| json!(time));
            let status = json!({"phase": phase, "podIP": "10.0.0.9", "startTime": since, "conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": since},
            ]});
            pod.status = serde_json::from_value(status).unwrap();
            pod.spec.get_or_insert_default().node_name.get_or_insert_with(|| "node1".to_owned());
        });
    }
}

fn with_type<T: Object>(mut value: Value) -> Value {
    value["apiVersion"] = T::API_VERSION.into();
    value["kind"] = T::KIND.into();
    value
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// What the API server would refuse, no controller may write.
fn accept_status(write: &Write, old: &Value, new: &Value) {
    let at = &write.resource;
    let kind = kinds::find(&at.group, &at.version, &at.resource);
    let Some(validate) = kind.and_then(|kind| kind.hooks.validate_update) else {
        return;
    };
    let subresource = write.subresource;
    let context = UpdateContext { old, subresource };
    let found = validate(new, context);
    let about_status: Vec<_> = found
        .iter()
        .filter(|cause| cause.field.starts_with("status"))
        .collect();
    assert!(about_status.is_empty(), "{about_status:?} in {new}");
}

/// Absent and null are one.
fn clean(value: &mut Value) {
    if value["status"].is_null() {
        value.as_object_mut().unwrap().remove("status");
    }
}
