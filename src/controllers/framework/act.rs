//! Carries out a decision: writes in order, creations in growing batches, and the wait until caches have seen them.

use super::{
    action::{Action, Disk, Failure, Issue, Notice, Question, Write},
    disk, issue,
    watches::Caches,
};
use crate::{
    api::{
        ApiError,
        call::{Outcome, Verb},
    },
    client::{Client, Recorder},
    pki::Pki,
    task::clock,
};
use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tracing::{debug, warn};

/// Writes of one batch that run at the same time.
const TOGETHER_MAX: usize = 16;
/// A cache that has not seen a write for that long is cut off from the server; waiting longer helps nobody.
const SIGHT_TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a decision.
#[derive(Debug, PartialEq, Eq)]
pub enum Acted {
    /// Everything was done; `wrote` tells whether there was anything.
    Done {
        wrote: bool,
    },
    /// Somebody else was faster: look again, after a pause.
    Outrun,
    Refused(Failure),
}

/// Who writes for a controller.
pub struct Actor {
    pub client: Client,
    pub recorder: Recorder,
    /// The keys of the cluster; a controller plane without them issues nothing.
    pub keys: Option<Arc<Pki>>,
}

impl Actor {
    /// After a refusal only status writes and events are still carried out: they are derived from facts.
    pub async fn act(&self, actions: Vec<Action>, caches: &Caches) -> Acted {
        let mut wrote = false;
        let mut trouble = None;
        let mut waits = Vec::new();
        for group in groups(actions) {
            match group {
                Group::Tell(notice) => self.tell(&notice),
                Group::Disk(disk) if trouble.is_none() => {
                    wrote = true;
                    trouble = disk::carry_out(disk).await.err().map(Acted::Refused);
                }
                Group::Issue(issue) if trouble.is_none() => {
                    wrote = true;
                    trouble = self.issue(issue, &mut waits).await;
                }
                Group::Ask(question) if trouble.is_none() => {
                    trouble = self.ask(*question, &mut wrote, &mut waits).await;
                }
                Group::Disk(_) | Group::Issue(_) | Group::Ask(_) => {}
                Group::Writes(writes) => {
                    if trouble.is_some() && !writes[0].is_status() {
                        continue;
                    }
                    wrote = true;
                    if let Some(found) = self.write_all(writes, &mut waits).await {
                        trouble.get_or_insert(found);
                    }
                }
            }
        }
        wait(&waits, caches).await;
        trouble.unwrap_or(Acted::Done { wrote })
    }

    pub fn tell(&self, notice: &Notice) {
        self.recorder.event(
            notice.about.clone(),
            notice.kind,
            &notice.reason,
            &notice.message,
        );
    }

    async fn issue(&self, issue: Issue, waits: &mut Vec<Wait>) -> Option<Acted> {
        let keys = self.keys.as_ref()?;
        match issue::signed(issue, keys, clock::now()) {
            Ok(write) => self.write_all(vec![write], waits).await,
            Err(failure) => {
                warn!(failure = format!("{failure:#}"), "cannot issue");
                None
            }
        }
    }

    async fn ask(
        &self,
        question: Question,
        wrote: &mut bool,
        waits: &mut Vec<Wait>,
    ) -> Option<Acted> {
        for (review, write) in question.choices {
            let call = Write::create(&review).call();
            let allowed = match self.client.call(call).await {
                Ok(reply) => match &reply.outcome {
                    Outcome::Object { bytes, .. } => is_yes(bytes),
                    _ => false,
                },
                Err(failure) => {
                    debug!(%failure, "a review was refused");
                    false
                }
            };
            if allowed {
                *wrote = true;
                return self.write_all(vec![write], waits).await;
            }
        }
        None
    }

    /// Creations start slowly (1, 2, 4 …), so that a refusal, which mostly hits all of them, is heard few times.
    async fn write_all(&self, writes: Vec<Write>, waits: &mut Vec<Wait>) -> Option<Acted> {
        let mut batch = match writes[0].verb {
            Verb::Create => 1,
            _ => TOGETHER_MAX,
        };
        let mut left = writes.as_slice();
        while !left.is_empty() {
            let (now, later) = left.split_at(batch.min(left.len()));
            let mut trouble = None;
            for result in join_all(now.iter().map(|write| self.write(write))).await {
                match result {
                    Ok(wait) => waits.extend(wait),
                    Err(found) => trouble = Some(found),
                }
            }
            if trouble.is_some() {
                return trouble;
            }
            left = later;
            batch = (batch * 2).min(TOGETHER_MAX);
        }
        None
    }

    async fn write(&self, write: &Write) -> Result<Option<Wait>, Acted> {
        match self.client.call(write.call()).await {
            Ok(reply) => Ok(Some(self.succeeded(write, &reply.outcome))),
            Err(failure) => match judge(write, &failure) {
                Verdict::Fine => Ok(gone(write)),
                Verdict::Outrun => {
                    debug!(resource = %write.resource, key = %write.key, %failure, "outrun");
                    Err(Acted::Outrun)
                }
                Verdict::Refused => {
                    if let Some(notice) = &write.on_failure {
                        let message = format!("{}{}", notice.message, failure.message);
                        self.tell(&Notice {
                            message,
                            ..notice.clone()
                        });
                    }
                    debug!(resource = %write.resource, key = %write.key, %failure, "refused");
                    Err(Acted::Refused(Failure {
                        verb: write.verb,
                        resource: write.resource.clone(),
                        reason: failure.reason,
                        message: failure.message,
                    }))
                }
            },
        }
    }

    fn succeeded(&self, write: &Write, outcome: &Outcome) -> Wait {
        let written = match outcome {
            Outcome::Object { bytes, .. } => serde_json::from_slice::<Written>(bytes).ok(),
            _ => None,
        };
        let meta = written.map(|written| written.metadata).unwrap_or_default();
        if let Some(notice) = &write.on_success {
            let name = if notice.message.ends_with(' ') {
                meta.name.as_str()
            } else {
                ""
            };
            let message = format!("{}{name}", notice.message);
            self.tell(&Notice {
                message,
                ..notice.clone()
            });
        }
        // A deleted object may be answered with the revision it had before.
        gone(write).unwrap_or_else(|| Wait::Seen {
            write: write.clone_target(),
            revision: meta.resource_version.parse().unwrap_or_default(),
        })
    }
}

fn is_yes(review: &[u8]) -> bool {
    let review: Result<SubjectAccessReview, _> = serde_json::from_slice(review);
    review.is_ok_and(|review| review.status.is_some_and(|status| status.allowed))
}

#[derive(Default, Deserialize)]
struct Written {
    metadata: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: String,
    resource_version: String,
}

enum Verdict {
    /// What was wanted is already so, or no longer wanted.
    Fine,
    Outrun,
    Refused,
}

fn judge(write: &Write, failure: &ApiError) -> Verdict {
    match write.verb {
        // Gone, or another object of that name.
        Verb::Delete if failure.is_not_found() || failure.is_conflict() => Verdict::Fine,
        // Everything in a namespace that is going away goes with it.
        Verb::Create if is_terminating(failure) => Verdict::Fine,
        Verb::Create if failure.is_already_exists() => Verdict::Outrun,
        Verb::Update | Verb::Patch if failure.is_conflict() || failure.is_not_found() => {
            Verdict::Outrun
        }
        _ => Verdict::Refused,
    }
}

fn is_terminating(failure: &ApiError) -> bool {
    let causes = failure.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the caches must show before the key is looked at again.
enum Wait {
    Seen { write: Target, revision: u64 },
    Gone { write: Target, uid: String },
}

type Target = (crate::api::name::Gvr, crate::api::name::Key);

impl Write {
    fn clone_target(&self) -> Target {
        (self.resource.clone(), self.key.clone())
    }
}

fn gone(write: &Write) -> Option<Wait> {
    let uid = write
        .delete
        .uid
        .clone()
        .filter(|_| write.verb == Verb::Delete)?;
    Some(Wait::Gone {
        write: write.clone_target(),
        uid,
    })
}

async fn wait(waits: &[Wait], caches: &Caches) {
    let all = join_all(waits.iter().filter_map(|wait| match wait {
        Wait::Seen { write, revision } => Some(caches.of(&write.0)?.seen(*revision)),
        Wait::Gone { write, uid } => Some(caches.of(&write.0)?.gone(write.1.clone(), uid.clone())),
    }));
    if tokio::time::timeout(SIGHT_TIMEOUT, all).await.is_err() {
        warn!("caches do not see what was written; going on with what they show");
    }
}

enum Group {
    Tell(Box<Notice>),
    Disk(Disk),
    Issue(Issue),
    Ask(Box<Question>),
    /// One write, or several creations, deletions or patches of one kind.
    Writes(Vec<Write>),
}

fn groups(actions: Vec<Action>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for action in actions {
        match (action, groups.last_mut()) {
            (Action::Tell(notice), _) => groups.push(Group::Tell(notice)),
            (Action::Disk(disk), _) => groups.push(Group::Disk(disk)),
            (Action::Issue(issue), _) => groups.push(Group::Issue(issue)),
            (Action::Ask(question), _) => groups.push(Group::Ask(question)),
            (Action::Write(write), Some(Group::Writes(writes)))
                if go_together(&writes[0], &write) =>
            {
                writes.push(*write);
            }
            (Action::Write(write), _) => groups.push(Group::Writes(vec![*write])),
        }
    }
    groups
}

fn go_together(first: &Write, next: &Write) -> bool {
    matches!(first.verb, Verb::Create | Verb::Delete | Verb::Patch)
        && first.verb == next.verb
        && first.resource == next.resource
        && first.subresource == next.subresource
}
