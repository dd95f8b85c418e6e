//! What is measured of the machine, and when it is too little. Pure but for [`read`].
//!
//! The defaults are the kubelet's, with a ceiling for disks: a tenth of a laptop's disk is more than a cluster for
//! trying things out may ask for. `memory.available` is the kernel's own estimate.

use crate::{
    config::{Amount, KubeletConfig},
    node::machine,
};
use std::{collections::BTreeMap, fs, path::Path};

pub const MEMORY: &str = "memory";
pub const STORAGE: &str = "ephemeral-storage";
pub const INODES: &str = "inodes";
pub const PIDS: &str = "pids";

/// One signal: its name, the resource that people read of, and the node condition it brings about. In the order in
/// which upstream acts on them.
pub struct Signal {
    pub name: &'static str,
    pub resource: &'static str,
    pub condition: &'static str,
    /// The kubelet's threshold.
    default: Option<Amount>,
    /// The threshold is not above this, unless people say so.
    ceiling: i64,
}

const fn signal(
    name: &'static str,
    resource: &'static str,
    condition: &'static str,
    default: Option<Amount>,
    ceiling: i64,
) -> Signal {
    Signal {
        name,
        resource,
        condition,
        default,
        ceiling,
    }
}

const GIBIBYTE: i64 = 1 << 30;

#[rustfmt::skip]
pub const SIGNALS: &[Signal] = &[
    signal("memory.available", MEMORY, "MemoryPressure", Some(Amount::Absolute(100 << 20)), i64::MAX),
    signal("nodefs.available", STORAGE, "DiskPressure", Some(Amount::Part(0.10)), 2 * GIBIBYTE),
    signal("imagefs.available", STORAGE, "DiskPressure", Some(Amount::Part(0.15)), 3 * GIBIBYTE),
    signal("nodefs.inodesFree", INODES, "DiskPressure", Some(Amount::Part(0.05)), 100_000),
    signal("imagefs.inodesFree", INODES, "DiskPressure", Some(Amount::Part(0.05)), 100_000),
    signal("pid.available", PIDS, "PIDPressure", None, i64::MAX),
];

/// What there is and what of it is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    pub capacity: i64,
    pub available: i64,
}

/// By name of the signal.
pub type Supplies = BTreeMap<&'static str, Supply>;

/// A signal beyond its threshold.
#[derive(Clone, Copy)]
pub struct Met {
    pub signal: &'static Signal,
    pub threshold: i64,
    pub available: i64,
}

/// What of a supply is to stay free. `None`: nobody cares.
#[must_use]
pub fn threshold(config: &KubeletConfig, signal: &Signal, capacity: i64) -> Option<i64> {
    match &config.eviction_hard {
        Some(own) => {
            let text = own.get(signal.name)?;
            // Checked when it was given.
            Amount::parse(text).ok().map(|amount| amount.of(capacity))
        }
        None => signal
            .default
            .map(|amount| amount.of(capacity).min(signal.ceiling)),
    }
}

/// The signals beyond their thresholds. Nothing is said of what could not be measured.
#[must_use]
pub fn met(config: &KubeletConfig, supplies: &Supplies) -> Vec<Met> {
    let all = SIGNALS.iter().filter_map(|signal| {
        let supply = supplies.get(signal.name)?;
        let threshold = threshold(config, signal, supply.capacity)?;
        let available = supply.available;
        (supply.capacity > 0 && available < threshold).then_some(Met {
            signal,
            threshold,
            available,
        })
    });
    all.collect()
}

/// Looks at the machine: a handful of system calls. Images and pods share the file system of `state`.
#[must_use]
pub fn read(state: &Path) -> Supplies {
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| machine::kibibytes(&table, name) * 1024;
    let memory = Supply {
        capacity: bytes("MemTotal"),
        available: bytes("MemAvailable"),
    };
    let supply = |(capacity, available): (i64, i64)| Supply {
        capacity,
        available,
    };
    let (disk, inodes) = (
        supply(machine::space(state)),
        supply(machine::inodes(state)),
    );
    Supplies::from([
        ("memory.available", memory),
        ("nodefs.available", disk),
        ("imagefs.available", disk),
        ("nodefs.inodesFree", inodes),
        ("imagefs.inodesFree", inodes),
        ("pid.available", processes()),
    ])
}

/// Process ids: the kernel's limit less the threads there are.
fn processes() -> Supply {
    let number = |path: &str| -> Option<i64> {
        let text = fs::read_to_string(path).ok()?;
        text.trim().parse().ok()
    };
    let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
    let capacity = limits.into_iter().filter_map(number).min().unwrap_or(0);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = load.split_whitespace().nth(3);
    let running = running.and_then(|pair| pair.split_once('/')?.1.parse::<i64>().ok());
    Supply {
        capacity,
        available: capacity - running.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &str) -> KubeletConfig {
        let mut config = KubeletConfig::default();
        if !settings.is_empty() {
            config
                .set(&format!("kubelet.eviction-hard={settings}"))
                .unwrap();
        }
        config
    }

    #[test]
    fn thresholds_are_defaults_with_a_ceiling_or_exactly_what_was_given() {
        const MIB: i64 = 1 << 20;
        let supply = |capacity, available| Supply {
            capacity,
            available,
        };
        let cases = [
            ("", "memory.available", supply(8 << 30, 99 * MIB), "100Mi"),
            ("", "memory.available", supply(8 << 30, 100 * MIB), ""),
            (
                "",
                "nodefs.available",
                supply(10 << 30, 1023 * MIB),
                "1024Mi",
            ),
            ("", "nodefs.available", supply(1 << 40, 2049 * MIB), ""),
            (
                "",
                "imagefs.available",
                supply(1 << 40, 3071 * MIB),
                "3072Mi",
            ),
            ("", "pid.available", supply(100, 1), ""),
            (
                "pid.available<10%",
                "pid.available",
                supply(100 * MIB, MIB),
                "10Mi",
            ),
            (
                "pid.available<10%",
                "memory.available",
                supply(8 << 30, 1),
                "",
            ),
            (
                "memory.available<50%",
                "memory.available",
                supply(8 << 30, 1 << 30),
                "4096Mi",
            ),
        ];
        for (settings, name, supply, expected) in cases {
            let found = met(&config(settings), &Supplies::from([(name, supply)]));
            let text = found
                .first()
                .map(|met| format!("{}Mi", met.threshold / MIB));
            assert_eq!(
                text.unwrap_or_default(),
                expected,
                "{settings} {name} {supply:?}"
            );
        }
    }

    #[test]
    fn the_machine_is_read() {
        let supplies = read(Path::new("/"));
        for signal in SIGNALS {
            let supply = supplies[signal.name];
            assert!(
                supply.available <= supply.capacity,
                "{} {supply:?}",
                signal.name
            );
        }
        assert!(supplies["memory.available"].available > 0);
    }
}
