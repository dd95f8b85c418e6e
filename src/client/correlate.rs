//! Decides what becomes of an occurrence: a new event, a higher count, or nothing. Pure; client-go's numbers.

use super::events::EventKind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
};

/// Entries remembered per table; the oldest are forgotten first.
const MEMORY: usize = 4096;
/// Different texts for one reason before they are combined …
const TEXTS_MAX: usize = 10;
/// … if each came within this time of the one before.
const GATHER_WITHIN: SignedDuration = SignedDuration::from_secs(600);
/// Events about one object: that many at once, then one per refill.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

#[derive(Clone, Debug)]
pub struct Occurrence {
    pub about: ObjectReference,
    pub kind: EventKind,
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
}

#[derive(Debug)]
pub enum Step {
    Create(Box<Event>),
    /// The event exists already; its count, time and text have changed.
    Count(Box<Event>),
    Drop,
}

/// What makes occurrences similar: everything but the text.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Topic {
    object: Subject,
    kind: EventKind,
    reason: String,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Subject {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    field_path: String,
}

struct Gathering {
    texts: HashSet<String>,
    last: Timestamp,
}

struct Told {
    name: String,
    first: Timestamp,
    count: i32,
}

struct Tokens {
    left: f64,
    at: Timestamp,
}

pub struct Correlator {
    component: &'static str,
    host: Option<String>,
    gatherings: Memory<Topic, Gathering>,
    /// `None` as text: the combined event of the topic.
    told: Memory<(Topic, Option<String>), Told>,
    tokens: Memory<Subject, Tokens>,
}

impl Correlator {
    pub fn new(component: &'static str, host: Option<String>) -> Correlator {
        Correlator {
            component,
            host,
            gatherings: Memory::default(),
            told: Memory::default(),
            tokens: Memory::default(),
        }
    }

    pub fn observe(&mut self, mut occurrence: Occurrence) -> Step {
        let topic = Topic {
            object: subject(&occurrence.about),
            kind: occurrence.kind,
            reason: occurrence.reason.clone(),
        };
        let combined = self.gather(&topic, &occurrence);
        let text = (!combined).then(|| occurrence.message.clone());
        if combined {
            occurrence.message = format!("(combined from similar events): {}", occurrence.message);
        }
        let name = format!(
            "{}.{:x}",
            occurrence.about.name.as_deref().unwrap_or_default(),
            occurrence.at.as_nanosecond()
        );
        let told = self.told.entry((topic.clone(), text), || Told {
            name,
            first: occurrence.at,
            count: 0,
        });
        told.count = told.count.saturating_add(1);
        let known = told.count > 1;
        let event = Box::new(event(self.component, self.host.as_ref(), &occurrence, told));
        if !self.may_tell(topic.object, occurrence.at) {
            return Step::Drop;
        }
        if known {
            Step::Count(event)
        } else {
            Step::Create(event)
        }
    }

    /// Whether the occurrence is one too many of its topic and joins the combined event.
    fn gather(&mut self, topic: &Topic, occurrence: &Occurrence) -> bool {
        let gathering = self.gatherings.entry(topic.clone(), || Gathering {
            texts: HashSet::new(),
            last: occurrence.at,
        });
        if occurrence.at.duration_since(gathering.last) > GATHER_WITHIN {
            gathering.texts.clear();
        }
        gathering.last = occurrence.at;
        if gathering.texts.len() >= TEXTS_MAX && !gathering.texts.contains(&occurrence.message) {
            return true;
        }
        gathering.texts.insert(occurrence.message.clone());
        gathering.texts.len() >= TEXTS_MAX
    }

    fn may_tell(&mut self, object: Subject, now: Timestamp) -> bool {
        let tokens = self.tokens.entry(object, || Tokens {
            left: BURST,
            at: now,
        });
        let refill = now.duration_since(tokens.at).as_secs_f64() / REFILL_SECONDS;
        tokens.left = (tokens.left + refill.max(0.0)).min(BURST);
        tokens.at = now;
        let may = tokens.left >= 1.0;
        if may {
            tokens.left -= 1.0;
        }
        may
    }
}

fn subject(about: &ObjectReference) -> Subject {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Subject {
        kind: text(&about.kind),
        namespace: text(&about.namespace),
        name: text(&about.name),
        uid: text(&about.uid),
        field_path: text(&about.field_path),
    }
}

fn event(
    component: &'static str,
    host: Option<&String>,
    occurrence: &Occurrence,
    told: &Told,
) -> Event {
    let namespace = occurrence.about.namespace.clone();
    Event {
        metadata: ObjectMeta {
            name: Some(told.name.clone()),
            // Events about cluster-scoped objects live in `default`.
            namespace: Some(
                namespace
                    .filter(|namespace| !namespace.is_empty())
                    .unwrap_or_else(|| "default".to_owned()),
            ),
            ..ObjectMeta::default()
        },
        involved_object: occurrence.about.clone(),
        reason: Some(occurrence.reason.clone()),
        message: Some(occurrence.message.clone()),
        type_: Some(occurrence.kind.as_str().to_owned()),
        source: Some(EventSource {
            component: Some(component.to_owned()),
            host: host.cloned(),
        }),
        first_timestamp: Some(Time(told.first)),
        last_timestamp: Some(Time(occurrence.at)),
        count: Some(told.count),
        reporting_component: Some(component.to_owned()),
        reporting_instance: Some(host.cloned().unwrap_or_default()),
        ..Event::default()
    }
}

/// A map that forgets its oldest entries.
struct Memory<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Memory<K, V> {
        Memory {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V> Memory<K, V> {
    fn entry(&mut self, key: K, fresh: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            if self.order.len() >= MEMORY
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.entries.entry(key).or_insert_with(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(message: &str, second: i64) -> Occurrence {
        Occurrence {
            about: ObjectReference {
                name: Some("web".into()),
                ..ObjectReference::default()
            },
            kind: EventKind::Warning,
            reason: "Failed".into(),
            message: message.into(),
            at: Timestamp::from_second(1_000_000 + second).unwrap(),
        }
    }

    fn tell(step: &Step) -> String {
        match step {
            Step::Create(event) => format!("new {}", event.message.as_ref().unwrap()),
            Step::Count(event) => {
                format!(
                    "{} {}",
                    event.count.unwrap(),
                    event.message.as_ref().unwrap()
                )
            }
            Step::Drop => "drop".into(),
        }
    }

    #[test]
    fn the_same_text_is_counted() {
        let mut correlator = Correlator::new("tester", None);
        assert_eq!(tell(&correlator.observe(occurrence("no", 0))), "new no");
        assert_eq!(tell(&correlator.observe(occurrence("no", 1))), "2 no");
    }

    #[test]
    fn many_texts_for_one_reason_are_combined() {
        let mut correlator = Correlator::new("tester", None);
        let told: Vec<String> = (0..12)
            .map(|n| tell(&correlator.observe(occurrence(&format!("no {n}"), n))))
            .collect();
        assert_eq!(told[8], "new no 8");
        assert_eq!(told[9], "new (combined from similar events): no 9");
        assert_eq!(told[11], "3 (combined from similar events): no 11");
        let later = correlator.observe(occurrence("no 12", 2000));
        assert_eq!(tell(&later), "new no 12");
    }

    #[test]
    fn one_object_may_not_flood() {
        let mut correlator = Correlator::new("tester", None);
        let told: Vec<String> = (0..30)
            .map(|_| tell(&correlator.observe(occurrence("no", 0))))
            .collect();
        assert_eq!(told[24], "25 no");
        assert_eq!(told[25], "drop");
        assert_eq!(tell(&correlator.observe(occurrence("no", 301))), "31 no");
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for n in 0..MEMORY + 10 {
            memory.entry(n, || ());
        }
        assert_eq!(memory.entries.len(), MEMORY);
        assert!(!memory.entries.contains_key(&0));
    }
}
