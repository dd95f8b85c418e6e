//! Short stable names for templates: the `pod-template-hash` and the names of controller revisions.
//!
//! Upstream hashes a dump of Go structures, which nobody recomputes; ours is over the canonical JSON, in which absent
//! fields do not appear, so that new fields in later versions leave old hashes alone.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;

/// Without vowels and look-alikes: no bad words, no misreading.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template; `collisions` moves it away from names that are taken.
pub fn of_template(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    safe(fnv32a(&[&canonical(template), &salt(collisions)]))
}

/// The hash of a revision's data.
pub fn of_data(data: &str, collisions: Option<i32>) -> String {
    safe(fnv32a(&[data.as_bytes(), &salt(collisions)]))
}

fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    // Through `Value`, whose keys are sorted.
    let value = serde_json::to_value(value).expect("our own types have string keys only");
    value.to_string().into_bytes()
}

fn salt(collisions: Option<i32>) -> Vec<u8> {
    match collisions {
        None => Vec::new(),
        Some(count) => i64::from(count).to_le_bytes().to_vec(),
    }
}

fn fnv32a(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn safe(hash: u32) -> String {
    let digits = hash.to_string();
    digits
        .bytes()
        .map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stable_and_move_with_collisions() {
        let template = PodTemplateSpec::default();
        assert_eq!(fnv32a(&[b"a"]), 0xe40c_292c);
        let plain = of_template(&template, None);
        assert_eq!(plain, of_template(&template, None));
        assert_ne!(plain, of_template(&template, Some(1)));
        assert!(plain.bytes().all(|byte| SAFE.contains(&byte)), "{plain}");
    }
}
