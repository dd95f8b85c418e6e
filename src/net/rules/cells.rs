//! Overlapping gates as cells that do not overlap (pure): the kernel's sets of ranges refuse anything else.
//!
//! A cell is a range of addresses, of protocols and of ports. Neighbors that are open alike become one cell.

use super::fence::PortRange;
use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    ops::RangeInclusive,
    sync::Arc,
};

/// First and last address.
pub type Span = RangeInclusive<u32>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub addresses: Span,
    pub protocols: RangeInclusive<u8>,
    pub ports: RangeInclusive<u16>,
}

/// Protocols and ports that are open together.
type Openings = Vec<(RangeInclusive<u8>, RangeInclusive<u16>)>;

/// What any of the gates lets through. A gate without ports lets everything through.
pub fn cells(gates: &[(Vec<Span>, &[PortRange])]) -> Vec<Cell> {
    // Gates that begin and end at an address.
    let mut turns: BTreeMap<u64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (number, (spans, _)) in gates.iter().enumerate() {
        for span in spans {
            let (first, end) = (u64::from(*span.start()), u64::from(*span.end()) + 1);
            turns.entry(first).or_default().0.push(number);
            turns.entry(end).or_default().1.push(number);
        }
    }
    // How often each gate is open here: its spans may overlap.
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    let mut known: HashMap<Vec<usize>, Arc<Openings>> = HashMap::new();
    let mut found: Vec<(Span, Arc<Openings>)> = Vec::new();
    let mut turns = turns.into_iter().peekable();
    while let Some((at, (begin, end))) = turns.next() {
        for gate in begin {
            *open.entry(gate).or_default() += 1;
        }
        for gate in end {
            if let Some(count) = open.get_mut(&gate) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&gate);
                }
            }
        }
        let Some((next, _)) = turns.peek().filter(|_| !open.is_empty()) else {
            continue;
        };
        let gates_here: Vec<usize> = open.keys().copied().collect();
        let openings = known
            .entry(gates_here)
            .or_insert_with_key(|all| Arc::new(union(all.iter().map(|&one| gates[one].1))));
        let address = |point: u64| u32::try_from(point).expect("spans end below 2^32");
        let span = address(at)..=address(next - 1);
        match found.last_mut() {
            Some((last, same)) if same == openings && u64::from(*last.end()) + 1 == at => {
                *last = *last.start()..=*span.end();
            }
            _ => found.push((span, Arc::clone(openings))),
        }
    }
    let cell = |span: &Span, (protocols, ports): &(RangeInclusive<u8>, RangeInclusive<u16>)| Cell {
        addresses: span.clone(),
        protocols: protocols.clone(),
        ports: ports.clone(),
    };
    found
        .iter()
        .flat_map(|(span, openings)| openings.iter().map(move |one| cell(span, one)))
        .collect()
}

fn union<'a>(gates: impl Iterator<Item = &'a [PortRange]>) -> Openings {
    let mut by_protocol: BTreeMap<u8, Vec<RangeInclusive<u16>>> = BTreeMap::new();
    for ports in gates {
        if ports.is_empty() {
            return vec![(0..=u8::MAX, 0..=u16::MAX)];
        }
        for port in ports {
            let ranges = by_protocol.entry(port.protocol.number()).or_default();
            ranges.push(port.ports.clone());
        }
    }
    let mut all = Openings::new();
    for (protocol, mut ranges) in by_protocol {
        ranges.sort_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=(*last.end()).max(*range.end());
                }
                _ => merged.push(range),
            }
        }
        all.extend(merged.into_iter().map(|ports| (protocol..=protocol, ports)));
    }
    all
}

pub fn single(address: Ipv4Addr) -> Span {
    let address = u32::from(address);
    address..=address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rules::Protocol;

    /// Spans and ports.
    type Gate<'a> = (&'a [(u32, u32)], &'a [(u16, u16)]);

    /// `first-last tcp:80-90`; no port: all.
    fn shown(gates: &[Gate<'_>]) -> Vec<String> {
        let ports: Vec<Vec<PortRange>> = gates
            .iter()
            .map(|(_, ports)| {
                let ports = ports.iter();
                let range = |(first, last): &(u16, u16)| PortRange {
                    protocol: Protocol::Tcp,
                    ports: *first..=*last,
                };
                ports.map(range).collect()
            })
            .collect();
        let gates: Vec<(Vec<Span>, &[PortRange])> = gates
            .iter()
            .zip(&ports)
            .map(|((spans, _), ports)| {
                let spans = spans.iter().map(|(first, last)| *first..=*last);
                (spans.collect(), ports.as_slice())
            })
            .collect();
        let text = |cell: &Cell| {
            let (addresses, ports) = (&cell.addresses, &cell.ports);
            let what = match (*cell.protocols.start(), *cell.protocols.end()) {
                (0, 255) => "all".to_owned(),
                (first, last) => format!("{first}-{last}"),
            };
            format!(
                "{}-{} {what}:{}-{}",
                addresses.start(),
                addresses.end(),
                ports.start(),
                ports.end()
            )
        };
        cells(&gates).iter().map(text).collect()
    }

    #[test]
    fn cells_never_overlap() {
        let none: [&str; 0] = [];
        assert_eq!(shown(&[]), none);
        assert_eq!(shown(&[(&[(5, 5)], &[])]), ["5-5 all:0-65535"]);
        assert_eq!(
            shown(&[(&[(0, 9)], &[(80, 80)]), (&[(5, 5)], &[])]),
            ["0-4 6-6:80-80", "5-5 all:0-65535", "6-9 6-6:80-80"]
        );
        assert_eq!(
            shown(&[
                (&[(0, 9)], &[(80, 85)]),
                (&[(5, 12)], &[(84, 90), (443, 443)])
            ]),
            [
                "0-4 6-6:80-85",
                "5-9 6-6:80-90",
                "5-9 6-6:443-443",
                "10-12 6-6:84-90",
                "10-12 6-6:443-443"
            ]
        );
    }

    #[test]
    fn neighbors_that_are_open_alike_are_one_cell() {
        assert_eq!(
            shown(&[(&[(1, 1), (2, 2), (3, 3), (5, 5)], &[(1, 2)])]),
            ["1-3 6-6:1-2", "5-5 6-6:1-2"]
        );
        assert_eq!(
            shown(&[(&[(0, u32::MAX), (7, 9)], &[])]),
            ["0-4294967295 all:0-65535"]
        );
        assert_eq!(
            shown(&[(&[(1, 4)], &[(1, 9)]), (&[(5, 9)], &[(1, 3), (4, 9)])]),
            ["1-9 6-6:1-9"]
        );
    }
}
