//! Completion indexes, and sets of them as statuses write them: `1,3-5,7`.

use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeSet, fmt::Write as _};

pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The index a pod works on.
pub fn of(pod: &Pod) -> Option<i32> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations
        .get(INDEX)?
        .parse()
        .ok()
        .filter(|&index| index >= 0)
}

/// Indexes below `below`; what does not parse is passed over.
pub fn parse(text: Option<&str>, below: i32) -> BTreeSet<i32> {
    let parts = text.unwrap_or_default().split(',');
    let ranges = parts.filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse::<i32>().ok()?, last.parse::<i32>().ok()?))
    });
    ranges
        .flat_map(|(first, last)| first.max(0)..=last.min(below - 1))
        .collect()
}

/// Two neighbors are listed, three or more become a range.
pub fn format(indexes: &BTreeSet<i32>) -> Option<String> {
    let mut text = String::new();
    let mut rest = indexes.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while rest.peek() == Some(&(last + 1)) {
            last += 1;
            rest.next();
        }
        if !text.is_empty() {
            text.push(',');
        }
        let written = match last - first {
            0 => write!(text, "{first}"),
            1 => write!(text, "{first},{last}"),
            _ => write!(text, "{first}-{last}"),
        };
        written.expect("a string takes everything");
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_survive_a_round_trip() {
        for text in ["0", "0,1", "1,3-5,7", "0-9"] {
            assert_eq!(format(&parse(Some(text), 10)).as_deref(), Some(text));
        }
        assert_eq!(
            format(&parse(Some("1,x,8-20"), 10)).as_deref(),
            Some("1,8,9")
        );
        assert_eq!(format(&parse(None, 10)), None);
    }
}
