//! What people may change about node agents: the part of a kubelet's configuration that has a meaning here.
//!
//! Given at a cluster's first start as `--extra-config=kubelet.<name>=<value>`, under the names of the kubelet's flags.
//! Nothing is read from it but by the node agents.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Signals of eviction thresholds.
pub const SIGNALS: &[&str] = &[
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
];

/// Suffixes of amounts and what they stand for.
const UNITS: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("", 1.0),
];

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeletConfig {
    /// By signal. `None`: the defaults of a small machine (`node::pressure`); otherwise exactly these.
    pub eviction_hard: Option<BTreeMap<String, String>>,
    /// How long a condition stands after its signal was last seen beyond the threshold.
    pub eviction_pressure_transition_seconds: Option<u64>,
    pub image_gc_high_threshold_percent: Option<u8>,
    pub image_gc_low_threshold_percent: Option<u8>,
    pub minimum_image_ttl_seconds: Option<u64>,
    /// Per node. At the first start it decides how large the nodes' ranges of addresses are.
    pub max_pods: Option<u16>,
}

const PODS_MAX: u16 = 110;

/// An amount in the signal's unit, or a part of what there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Absolute(i64),
    /// Between 0 and 1.
    Part(f64),
}

impl Amount {
    /// `100Mi`, `10%`, `1000`.
    pub fn parse(text: &str) -> Result<Amount, String> {
        let bad = || format!("{text:?} is no quantity and no percentage");
        let number = |digits: &str| -> Result<f64, String> {
            let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            if !plain || digits.is_empty() {
                return Err(bad());
            }
            digits.parse().map_err(|_| bad())
        };
        if let Some(digits) = text.strip_suffix('%') {
            let percent = number(digits)?;
            if percent > 100.0 {
                return Err(bad());
            }
            return Ok(Amount::Part(percent / 100.0));
        }
        let unit = UNITS.iter().find(|(suffix, _)| text.ends_with(suffix));
        let (suffix, factor) = unit.ok_or_else(bad)?;
        let value = number(&text[..text.len() - suffix.len()])? * factor;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast of a float saturates"
        )]
        let value = value as i64;
        Ok(Amount::Absolute(value))
    }

    /// The amount, where there is so much in all.
    #[must_use]
    pub fn of(self, capacity: i64) -> i64 {
        match self {
            Amount::Absolute(value) => value,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "bytes of a machine are far below 2^53"
            )]
            Amount::Part(part) => (capacity as f64 * part) as i64,
        }
    }
}

impl KubeletConfig {
    /// Takes `kubelet.<name>=<value>`; an error for people says what is wrong with it. False: no setting of ours.
    pub fn set(&mut self, text: &str) -> Result<bool, String> {
        let shape = || format!("{text:?} does not read COMPONENT.NAME=VALUE");
        let (component, rest) = text.split_once('.').ok_or_else(shape)?;
        let (name, value) = rest.split_once('=').ok_or_else(shape)?;
        if component != "kubelet" {
            return Ok(false);
        }
        match name {
            "eviction-hard" => self.eviction_hard = Some(thresholds(value)?),
            "eviction-pressure-transition-period" => {
                self.eviction_pressure_transition_seconds = Some(seconds(value)?);
            }
            "image-gc-high-threshold" => {
                self.image_gc_high_threshold_percent = Some(percent(value)?);
            }
            "image-gc-low-threshold" => self.image_gc_low_threshold_percent = Some(percent(value)?),
            "max-pods" => self.max_pods = Some(count(value)?),
            "minimum-image-ttl-duration" => self.minimum_image_ttl_seconds = Some(seconds(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How many pods a node takes: upstream's number where nobody chose one.
    #[must_use]
    pub fn pods_max(&self) -> u16 {
        self.max_pods.unwrap_or(PODS_MAX)
    }
}

fn thresholds(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (signal, amount) = part
            .split_once('<')
            .ok_or_else(|| format!("{part:?} does not read SIGNAL<AMOUNT"))?;
        if !SIGNALS.contains(&signal) {
            let known = SIGNALS.join(", ");
            return Err(format!(
                "{signal:?} is no eviction signal (they are {known})"
            ));
        }
        Amount::parse(amount)?;
        all.insert(signal.to_owned(), amount.to_owned());
    }
    Ok(all)
}

/// The largest range of a node has 1,021 addresses for pods.
fn count(text: &str) -> Result<u16, String> {
    let value = text.parse().ok().filter(|value| (1..=1000).contains(value));
    value.ok_or_else(|| format!("{text:?} is no number of pods between 1 and 1000"))
}

fn percent(text: &str) -> Result<u8, String> {
    let value = text.parse().ok().filter(|value| *value <= 100);
    value.ok_or_else(|| format!("{text:?} is no percentage"))
}

/// `30s`, `5m0s`, `2m`, `1h`.
fn seconds(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no duration");
    let (mut sum, mut digits) = (0_u64, String::new());
    for letter in text.chars() {
        let factor = match letter {
            '0'..='9' => {
                digits.push(letter);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(bad()),
        };
        let number: u64 = digits.parse().map_err(|_| bad())?;
        sum = sum.saturating_add(number.saturating_mul(factor));
        digits.clear();
    }
    if text.is_empty() || !(digits.is_empty() || text == "0") {
        return Err(bad());
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_or_refused() {
        let mut config = KubeletConfig::default();
        let taken = [
            "kubelet.eviction-hard=memory.available<1Gi,nodefs.available<5%",
            "kubelet.eviction-pressure-transition-period=1m30s",
            "kubelet.image-gc-high-threshold=90",
            "kubelet.image-gc-low-threshold=0",
            "kubelet.minimum-image-ttl-duration=0",
            "kubelet.max-pods=500",
        ];
        for text in taken {
            assert_eq!(config.set(text), Ok(true), "{text}");
        }
        assert_eq!(
            config.eviction_hard.as_ref().unwrap()["nodefs.available"],
            "5%"
        );
        assert_eq!(config.eviction_pressure_transition_seconds, Some(90));
        assert_eq!(config.minimum_image_ttl_seconds, Some(0));
        let refused = [
            "kubelet.eviction-hard=memory<1Gi",
            "kubelet.eviction-hard=memory.available<much",
            "kubelet.eviction-hard=memory.available<101%",
            "kubelet.image-gc-high-threshold=101",
            "kubelet.max-pods=1001",
            "kubelet.max-pods=many",
            "nonsense",
        ];
        for text in refused {
            assert!(config.set(text).is_err(), "{text}");
        }
        for text in ["kubelet.pod-max-pids=1", "apiserver.x=1"] {
            assert_eq!(config.set(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn amounts() {
        let of = |text| Amount::parse(text).map(|amount| amount.of(1000)).ok();
        let cases = [
            ("100Mi", Some(104_857_600)),
            ("10%", Some(100)),
            ("1.5k", Some(1500)),
            ("7", Some(7)),
            ("-1", None),
            ("%", None),
            ("", None),
            ("1e3", None),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
