//! Fits wanted endpoints into slices with as few writes as possible.
//!
//! Endpoints stay in the slice they are in; new ones fill slices with room; a slice that would be deleted while
//! another is created is rewritten instead. Of each address type asked for one slice remains, empty if need be.

use super::target::Port;
use crate::{api::object::Object, controllers::framework::Write};
use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Endpoints of one slice.
pub const SLICE_MAX: usize = 100;

/// `IPv4` or `IPv6`, and the ports all endpoints of a slice have in common.
pub type Group = (&'static str, Vec<Port>);

/// Writes that make `existing` show exactly `wanted`. `meta` is what every slice bears.
pub fn fit(
    wanted: BTreeMap<Group, Vec<Endpoint>>,
    existing: &[Arc<EndpointSlice>],
    meta: &ObjectMeta,
    address_types: &[&'static str],
) -> Vec<Write> {
    let mut spare: Vec<&EndpointSlice> = Vec::new();
    let mut slots: Vec<Slot<'_>> = Vec::new();
    for slice in existing.iter().filter(|slice| !slice.is_deleting()) {
        match wanted.keys().find(|group| is_of(slice, group)) {
            Some(group) => slots.push(Slot::of(slice, group)),
            None => spare.push(slice),
        }
    }
    let mut fresh: VecDeque<(Group, Vec<Endpoint>)> = VecDeque::new();
    for (group, endpoints) in wanted {
        let left = place(&group, endpoints, &mut slots);
        let chunks = left
            .chunks(SLICE_MAX)
            .map(|chunk| (group.clone(), chunk.to_vec()));
        fresh.extend(chunks);
    }
    let (kept, emptied): (Vec<_>, Vec<_>) = slots
        .into_iter()
        .partition(|slot| !slot.endpoints.is_empty());
    spare.extend(emptied.iter().map(|slot| slot.slice));
    for address_type in address_types {
        let has = |slice: &EndpointSlice| slice.address_type == *address_type;
        let is_shown = kept.iter().any(|slot| has(slot.slice))
            || fresh.iter().any(|(group, _)| group.0 == *address_type);
        if !is_shown {
            fresh.push_back(((address_type, Vec::new()), Vec::new()));
        }
    }
    let mut writes = Vec::new();
    for slot in kept {
        writes.extend(rewrite(slot.slice, &slot.group, slot.endpoints, meta));
    }
    for slice in spare {
        // The address type of a slice never changes.
        let at = fresh
            .iter()
            .position(|(group, _)| group.0 == slice.address_type);
        match at.and_then(|at| fresh.remove(at)) {
            Some((group, endpoints)) => writes.extend(rewrite(slice, &group, endpoints, meta)),
            None => writes.push(Write::delete(slice)),
        }
    }
    writes.extend(
        fresh
            .into_iter()
            .map(|(group, endpoints)| create(&group, endpoints, meta)),
    );
    writes
}

struct Slot<'a> {
    slice: &'a EndpointSlice,
    group: Group,
    endpoints: Vec<Endpoint>,
}

impl<'a> Slot<'a> {
    fn of(slice: &'a EndpointSlice, group: &Group) -> Slot<'a> {
        Slot {
            slice,
            group: group.clone(),
            endpoints: Vec::new(),
        }
    }
}

/// What does not fit into the slices of the group.
fn place(group: &Group, endpoints: Vec<Endpoint>, slots: &mut [Slot<'_>]) -> Vec<Endpoint> {
    let mut mine: Vec<&mut Slot<'_>> = slots
        .iter_mut()
        .filter(|slot| slot.group == *group)
        .collect();
    let mut homes: BTreeMap<String, usize> = BTreeMap::new();
    for (number, slot) in mine.iter().enumerate() {
        for endpoint in slot.slice.endpoints.iter().flatten() {
            homes.insert(identity(endpoint), number);
        }
    }
    let mut homeless = Vec::new();
    for endpoint in endpoints {
        match homes.get(&identity(&endpoint)) {
            Some(&number) => mine[number].endpoints.push(endpoint),
            None => homeless.push(endpoint),
        }
    }
    // Order within a slice means nothing: what was there keeps its place, so that nothing is written for it.
    for slot in &mut mine {
        let order: BTreeMap<String, usize> = slot
            .slice
            .endpoints
            .iter()
            .flatten()
            .enumerate()
            .map(|(at, one)| (identity(one), at))
            .collect();
        slot.endpoints
            .sort_by_key(|one| order.get(&identity(one)).copied());
    }
    let mut homeless = homeless.into_iter();
    for slot in mine {
        let room = SLICE_MAX.saturating_sub(slot.endpoints.len());
        slot.endpoints.extend(homeless.by_ref().take(room));
    }
    homeless.collect()
}

fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint
        .target_ref
        .as_ref()
        .and_then(|target| target.uid.clone());
    let address = endpoint.addresses.first().cloned().unwrap_or_default();
    format!("{} {address}", target.unwrap_or_default())
}

fn is_of(slice: &EndpointSlice, (address_type, ports): &Group) -> bool {
    slice.address_type == *address_type && read_ports(slice) == *ports
}

fn read_ports(slice: &EndpointSlice) -> Vec<Port> {
    let mut ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .map(|port| Port {
            name: port.name.clone().unwrap_or_default(),
            number: port.port.unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    ports.sort();
    ports
}

fn write_ports(ports: &[Port]) -> Option<Vec<EndpointPort>> {
    let all = ports.iter().map(|port| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    });
    let all: Vec<EndpointPort> = all.collect();
    (!all.is_empty()).then_some(all)
}

/// `None` when the slice is right already.
fn rewrite(
    slice: &EndpointSlice,
    group: &Group,
    endpoints: Vec<Endpoint>,
    meta: &ObjectMeta,
) -> Option<Write> {
    let mut new = slice.clone();
    new.metadata.labels.clone_from(&meta.labels);
    // Absent and empty are one.
    if !(endpoints.is_empty() && new.endpoints.as_ref().is_none_or(Vec::is_empty)) {
        new.endpoints = Some(endpoints);
    }
    if !is_of(slice, group) {
        new.ports = write_ports(&group.1);
    }
    (new != *slice).then(|| Write::update(&new))
}

fn create(group: &Group, endpoints: Vec<Endpoint>, meta: &ObjectMeta) -> Write {
    Write::create(&EndpointSlice {
        metadata: meta.clone(),
        address_type: group.0.to_owned(),
        endpoints: Some(endpoints),
        ports: write_ports(&group.1),
    })
}
