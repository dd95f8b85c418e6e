//! Garbage collection of images: when the disk is nearly full, those that nobody has used for longest go.
//!
//! Runs after every pull, and every five minutes while the node has pods. By default a disk counts as nearly full only
//! if little is left in absolute terms too: people's disks are full of other things, and their images are theirs.

use super::{host::Host, machine};
use crate::{
    client::EventKind,
    runtime::model::ImageInfo,
    task::{Tasks, clock},
};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;
use tracing::{info, warn};

const PERIOD: Duration = Duration::from_secs(300);
const HIGH_PERCENT: u8 = 85;
const LOW_PERCENT: u8 = 80;
const TTL_SECONDS: u64 = 120;
/// With so much left nothing is collected, unless people have set a threshold of their own.
const PLENTY_BYTES: i64 = 10 << 30;

/// What is known of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    /// Images that were here before us count as old.
    detected: Timestamp,
    used: Timestamp,
}

#[derive(Default)]
pub struct Collector {
    /// By image id.
    records: HashMap<String, Record>,
    has_looked: bool,
    due: Option<Instant>,
    failures: u32,
}

impl Collector {
    pub async fn collect_if_due(&mut self, host: &Host) {
        let now = Instant::now();
        if self.due.is_none_or(|due| due <= now) {
            self.due = Some(now + PERIOD);
            self.collect(host).await;
        }
    }

    /// Makes room if the disk is nearly full.
    pub async fn collect(&mut self, host: &Host) {
        let config = &host.cluster.kubelet;
        let high = config.image_gc_high_threshold_percent;
        let low = config.image_gc_low_threshold_percent;
        let low = low.unwrap_or(LOW_PERCENT).min(high.unwrap_or(HIGH_PERCENT));
        let (capacity, available) = space(host).await;
        let has_plenty = high.is_none() && available >= PLENTY_BYTES;
        let wanted = wanted(capacity, available, high.unwrap_or(HIGH_PERCENT), low);
        let Some(wanted) = wanted.filter(|_| !has_plenty) else {
            self.failures = 0;
            return;
        };
        info!(node = host.name(), wanted, "make room by removing images");
        let freed = self.free(host, wanted).await;
        if freed >= wanted {
            self.failures = 0;
            return;
        }
        let text = format!(
            "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
        );
        host.node_event(EventKind::Warning, "FreeDiskSpaceFailed", &text);
        self.failures += 1;
        if self.failures > 1 {
            host.node_event(EventKind::Warning, "ImageGCFailed", &text);
        }
    }

    /// Removes every image that is not used, however young.
    pub async fn collect_all(&mut self, host: &Host) {
        let now = clock::now();
        let (images, in_use) = self.detect(host, now).await;
        for image in victims(&images, &in_use, &self.records, now, SignedDuration::ZERO) {
            remove(host, image).await;
        }
    }

    /// Removes images until that much is free; what was freed.
    async fn free(&mut self, host: &Host, wanted: i64) -> i64 {
        let ttl = host.cluster.kubelet.minimum_image_ttl_seconds;
        let ttl = i64::try_from(ttl.unwrap_or(TTL_SECONDS)).unwrap_or(i64::MAX);
        let now = clock::now();
        let (images, in_use) = self.detect(host, now).await;
        let ttl = SignedDuration::from_secs(ttl);
        let before = space(host).await.1;
        let mut freed = 0;
        for image in victims(&images, &in_use, &self.records, now, ttl) {
            if freed >= wanted {
                break;
            }
            if remove(host, image).await {
                // What others write meanwhile is not ours to count as a loss.
                freed = (space(host).await.1 - before).max(freed);
            }
        }
        freed
    }

    /// Brings the records up to date. The images there are, and those in use.
    async fn detect(&mut self, host: &Host, now: Timestamp) -> (Vec<ImageInfo>, BTreeSet<String>) {
        let images = host.runtime.images().await.unwrap_or_default();
        let in_use = in_use(host).await;
        let first = if self.has_looked {
            now
        } else {
            Timestamp::UNIX_EPOCH
        };
        self.has_looked = true;
        self.records
            .retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in &images {
            let fresh = Record {
                detected: first,
                used: Timestamp::UNIX_EPOCH,
            };
            let record = self.records.entry(image.id.clone()).or_insert(fresh);
            if in_use.contains(&image.id) {
                record.used = now;
            }
        }
        (images, in_use)
    }
}

async fn space(host: &Host) -> (i64, i64) {
    let folder = host.layout.state.clone();
    let space = Tasks::blocking(move || machine::space(&folder)).await;
    space.unwrap_or_default()
}

async fn remove(host: &Host, image: &ImageInfo) -> bool {
    match host.runtime.remove_image(&image.id).await {
        Ok(()) => {
            let tag = image.tags.first().unwrap_or(&image.id);
            info!(node = host.name(), image = %tag, "removed an unused image");
            host.node_changed.notify_one();
            true
        }
        Err(failure) => {
            warn!(node = host.name(), image = %image.id, %failure, "remove an unused image");
            false
        }
    }
}

/// Ids of images that containers stand on, or will: those of the pods of the node in every role.
async fn in_use(host: &Host) -> BTreeSet<String> {
    let sandboxes = host.runtime.sandboxes().await.unwrap_or_default();
    let containers = sandboxes.into_iter().flat_map(|sandbox| sandbox.containers);
    let mut ids: BTreeSet<String> = containers.map(|container| container.image).collect();
    let references = {
        let admitted = host.admitted.lock().expect("no panic while locked");
        let mut references = BTreeSet::new();
        for pod in admitted.values() {
            let spec = super::spec::of(pod);
            let containers = super::spec::containers(&spec);
            let images = containers
                .iter()
                .filter_map(|wanted| wanted.container.image.clone());
            references.extend(images);
            let volumes = spec.volumes.iter().flatten();
            references
                .extend(volumes.filter_map(|volume| volume.image.as_ref()?.reference.clone()));
        }
        references
    };
    for reference in references {
        if let Ok(Some(image)) = host.runtime.image(&reference).await {
            ids.insert(image.id);
        }
    }
    ids
}

/// How many bytes to free so that the disk is filled to `low` percent; nothing below `high`.
fn wanted(capacity: i64, available: i64, high: u8, low: u8) -> Option<i64> {
    if capacity <= 0 {
        return None;
    }
    let used_percent = 100 - i128::from(available) * 100 / i128::from(capacity);
    let target = i128::from(capacity) * i128::from(100 - low.min(100)) / 100;
    let wanted = i64::try_from(target - i128::from(available)).unwrap_or(i64::MAX);
    (used_percent >= i128::from(high) && wanted > 0).then_some(wanted)
}

/// The images that may go, the one that was not used for longest first.
fn victims<'a>(
    images: &'a [ImageInfo],
    in_use: &BTreeSet<String>,
    records: &HashMap<String, Record>,
    now: Timestamp,
    ttl: SignedDuration,
) -> Vec<&'a ImageInfo> {
    let record = |image: &ImageInfo| records.get(&image.id).copied();
    let may_go = |image: &&ImageInfo| {
        let age = record(image).map(|record| now.duration_since(record.detected));
        !in_use.contains(&image.id) && age.is_some_and(|age| age >= ttl)
    };
    let mut victims: Vec<&ImageInfo> = images.iter().filter(may_go).collect();
    victims.sort_by_key(|image| record(image).map(|record| (record.used, record.detected)));
    victims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_down_to_the_low_mark() {
        let cases = [
            ((100, 16), (85, 80), None),
            ((100, 15), (85, 80), Some(5)),
            ((100, 0), (85, 80), Some(20)),
            ((0, 0), (85, 80), None),
            ((100, 99), (1, 0), Some(1)),
            ((100, 100), (0, 100), None),
        ];
        for ((capacity, available), (high, low), expected) in cases {
            let found = wanted(capacity, available, high, low);
            assert_eq!(found, expected, "{available} of {capacity}");
        }
    }

    #[test]
    fn unused_images_go_by_last_use() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let rows = [
            ("young", 990, 0),
            ("new", 500, 900),
            ("old", 100, 300),
            ("never", 200, 0),
            ("used", 1, 1000),
        ];
        let image = |id: &str| ImageInfo {
            id: id.to_owned(),
            ..ImageInfo::default()
        };
        let images: Vec<ImageInfo> = rows.iter().map(|(id, ..)| image(id)).collect();
        let records = rows.iter().map(|(id, detected, used)| {
            let record = Record {
                detected: at(*detected),
                used: at(*used),
            };
            ((*id).to_owned(), record)
        });
        let records: HashMap<String, Record> = records.collect();
        let in_use = BTreeSet::from(["used".to_owned()]);
        let ttl = SignedDuration::from_secs(120);
        let found = victims(&images, &in_use, &records, at(1000), ttl);
        let ids: Vec<&str> = found.iter().map(|image| image.id.as_str()).collect();
        assert_eq!(ids, ["never", "old", "new"]);
        let all = victims(&images, &in_use, &records, at(1000), SignedDuration::ZERO);
        assert_eq!(all.len(), 4);
    }
}
