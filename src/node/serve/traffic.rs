//! What went through the interfaces of a network namespace, from the kernel's table. Pure.

/// One interface's counters since it was made. Loopback is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub interface: String,
    pub received: Count,
    pub sent: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// Of `/proc/PID/net/dev`: two lines of headings, then one per interface.
#[must_use]
pub fn parse(table: &str) -> Vec<Traffic> {
    table.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Traffic> {
    let (name, counters) = line.split_once(':')?;
    let interface = name.trim();
    let counters: Vec<u64> = counters
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    // Eight columns each way; what follows the first four is seldom counted at all.
    let [received, sent] = [counters.get(..4)?, counters.get(8..12)?];
    (interface != "lo").then(|| Traffic {
        interface: interface.to_owned(),
        received: count(received),
        sent: count(sent),
    })
}

fn count(four: &[u64]) -> Count {
    Count {
        bytes: four[0],
        packets: four[1],
        errors: four[2],
        dropped: four[3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0: 1296 16 1 2 0 0 0 0 1438 17 3 4 0 0 0 0
  odd: 1 2
";
        let found = parse(table);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].interface, "eth0");
        let numbers = |count: Count| [count.bytes, count.packets, count.errors, count.dropped];
        assert_eq!(numbers(found[0].received), [1296, 16, 1, 2]);
        assert_eq!(numbers(found[0].sent), [1438, 17, 3, 4]);
    }
}
