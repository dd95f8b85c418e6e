//! Limits as the files and values of a control group.

use crate::runtime::model::Resources;

/// Whose group it is. Pods' and containers' CPU weights are mapped differently upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Pod,
    Container,
}

/// Controller, file, value.
pub type Setting = (&'static str, &'static str, String);

/// Every limit that is set.
pub fn settings(unified: bool, limits: &Resources, level: Level) -> Vec<Setting> {
    let mut settings = Vec::new();
    let period = match limits.cpu_period_us {
        0 => 100_000,
        period => period,
    };
    if limits.cpu_shares > 0 {
        settings.push(if unified {
            let weight = weight(limits.cpu_shares, level);
            ("cpu", "cpu.weight", weight.to_string())
        } else {
            ("cpu", "cpu.shares", limits.cpu_shares.to_string())
        });
    }
    if limits.cpu_quota_us > 0 {
        let quota = limits.cpu_quota_us;
        if unified {
            settings.push(("cpu", "cpu.max", format!("{quota} {period}")));
        } else {
            settings.push(("cpu", "cpu.cfs_period_us", period.to_string()));
            settings.push(("cpu", "cpu.cfs_quota_us", quota.to_string()));
        }
    }
    if limits.memory_limit_bytes > 0 {
        let file = memory_file(unified);
        settings.push(("memory", file, limits.memory_limit_bytes.to_string()));
    }
    if limits.pids_limit > 0 {
        settings.push(("pids", "pids.max", limits.pids_limit.to_string()));
    }
    settings
}

/// What lifts every limit that is not set.
pub fn unlimited(unified: bool, limits: &Resources) -> Vec<Setting> {
    let none = |text: &str| if unified { "max" } else { text }.to_owned();
    let mut settings = Vec::new();
    if limits.cpu_quota_us <= 0 {
        let file = if unified {
            "cpu.max"
        } else {
            "cpu.cfs_quota_us"
        };
        settings.push(("cpu", file, none("-1")));
    }
    if limits.memory_limit_bytes <= 0 {
        settings.push(("memory", memory_file(unified), none("-1")));
    }
    if limits.pids_limit <= 0 {
        settings.push(("pids", "pids.max", "max".to_owned()));
    }
    settings
}

fn memory_file(unified: bool) -> &'static str {
    if unified {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    }
}

/// v1 shares (2 to 262144) as a v2 weight (1 to 10000): the kubelet's straight line for pods, the curve of current
/// OCI runtimes (100 for 1024) for containers.
fn weight(shares: u64, level: Level) -> u64 {
    let shares = shares.clamp(2, 262_144);
    match level {
        Level::Pod => 1 + (shares - 2) * 9999 / 262_142,
        Level::Container => {
            #[expect(clippy::cast_precision_loss, reason = "shares end at 2^18")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 10000"
            )]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight.min(10_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(settings: Vec<Setting>) -> Vec<String> {
        settings
            .into_iter()
            .map(|(_, file, value)| format!("{file}={value}"))
            .collect()
    }

    #[test]
    fn limits_become_settings() {
        let limits = Resources {
            cpu_shares: 256,
            cpu_quota_us: 50_000,
            memory_limit_bytes: 64 << 20,
            ..Resources::default()
        };
        assert_eq!(
            text(settings(true, &limits, Level::Pod)),
            [
                "cpu.weight=10",
                "cpu.max=50000 100000",
                "memory.max=67108864"
            ]
        );
        assert_eq!(
            text(settings(false, &limits, Level::Pod)),
            [
                "cpu.shares=256",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=67108864"
            ]
        );
        assert_eq!(text(unlimited(true, &limits)), ["pids.max=max"]);
        let none = Resources::default();
        assert!(settings(true, &none, Level::Pod).is_empty());
        assert_eq!(
            text(unlimited(false, &none)),
            [
                "cpu.cfs_quota_us=-1",
                "memory.limit_in_bytes=-1",
                "pids.max=max"
            ]
        );
    }

    #[test]
    fn weights_follow_upstream() {
        let both = |shares| (weight(shares, Level::Pod), weight(shares, Level::Container));
        assert_eq!(both(2), (1, 1));
        assert_eq!(both(256), (10, 35));
        assert_eq!(both(1024), (39, 100));
        assert_eq!(both(262_144), (10_000, 10_000));
    }
}
