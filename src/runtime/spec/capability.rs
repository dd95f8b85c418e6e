//! Linux capabilities: names, the default set, and Kubernetes' add and drop lists.

/// In the order of their numbers.
pub const NAMES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when it asks for nothing: containerd's fourteen.
const DEFAULT: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The bit of a name.
fn bit(name: &str) -> Option<u64> {
    NAMES
        .iter()
        .position(|known| *known == name)
        .map(|number| 1 << number)
}

fn parse(name: &str) -> Result<u64, String> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(u64::MAX);
    }
    let full = if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    };
    bit(&full).ok_or_else(|| format!("unknown capability {full:?}"))
}

/// The capabilities as a bit mask, limited to what this process itself may give away (`own`).
pub fn resolve(privileged: bool, add: &[String], drop: &[String], own: u64) -> Result<u64, String> {
    if privileged {
        return Ok(own);
    }
    let is_all = |name: &&String| name.eq_ignore_ascii_case("ALL");
    let mut mask = DEFAULT.iter().filter_map(|name| bit(name)).sum();
    // `ALL` first, in both lists: it is the ground the other names stand on.
    if add.iter().any(|name| is_all(&name)) {
        mask = u64::MAX;
    }
    if drop.iter().any(|name| is_all(&name)) {
        mask = 0;
    }
    for name in add.iter().filter(|name| !is_all(name)) {
        mask |= parse(name)?;
    }
    for name in drop.iter().filter(|name| !is_all(name)) {
        mask &= !parse(name)?;
    }
    Ok(mask & own)
}

/// The names of a mask.
pub fn names(mask: u64) -> Vec<&'static str> {
    let is_set = |(number, _): &(usize, &&'static str)| mask & (1 << number) != 0;
    NAMES
        .iter()
        .enumerate()
        .filter(is_set)
        .map(|(_, name)| *name)
        .collect()
}

/// The permitted set in the text of `/proc/self/status`.
pub fn permitted(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(add: &[&str], drop: &[&str], expected: usize, has: &[&str], lacks: &[&str]) {
        let owned = |list: &[&str]| {
            list.iter()
                .map(|s| (*s).to_owned())
                .collect::<Vec<String>>()
        };
        let all = (1 << NAMES.len()) - 1;
        let names = names(resolve(false, &owned(add), &owned(drop), all).unwrap());
        assert_eq!(names.len(), expected, "{names:?}");
        assert!(has.iter().all(|name| names.contains(name)), "{names:?}");
        assert!(!lacks.iter().any(|name| names.contains(name)), "{names:?}");
    }

    #[test]
    fn add_and_drop() {
        check(
            &[],
            &[],
            14,
            &["CAP_CHOWN", "CAP_AUDIT_WRITE"],
            &["CAP_SYS_ADMIN"],
        );
        check(
            &["net_admin"],
            &["CAP_KILL"],
            14,
            &["CAP_NET_ADMIN"],
            &["CAP_KILL"],
        );
        check(&[], &["ALL"], 0, &[], &[]);
        check(
            &["NET_BIND_SERVICE"],
            &["ALL"],
            1,
            &["CAP_NET_BIND_SERVICE"],
            &[],
        );
        check(
            &["ALL"],
            &["SYS_ADMIN"],
            NAMES.len() - 1,
            &["CAP_BPF"],
            &["CAP_SYS_ADMIN"],
        );
        assert!(resolve(false, &["FLY".to_owned()], &[], 0).is_err());
    }

    #[test]
    fn nobody_gives_what_he_has_not() {
        assert_eq!(resolve(true, &[], &[], 0b101), Ok(0b101));
        assert_eq!(
            permitted("Name:\tx\nCapPrm:\t000001fffeffffff\n"),
            0x1ff_feff_ffff
        );
    }
}
