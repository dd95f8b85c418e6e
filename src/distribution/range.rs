//! `Range` of requests and `Content-Range` of chunks. Pure.

/// What a GET of `size` bytes asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    All,
    /// First and last byte.
    Part(u64, u64),
    Unsatisfiable,
}

/// Only one range of bytes is known; anything else means everything, as RFC 9110 allows.
pub fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(range) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Asked::All;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Asked::All;
    };
    let end = size.saturating_sub(1);
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= size => Asked::Unsatisfiable,
        (Ok(first), Ok(last)) if first <= last => Asked::Part(first, last.min(end)),
        (Ok(first), Err(_)) if last.is_empty() => Asked::Part(first, end),
        (Err(_), Ok(0)) if first.is_empty() => Asked::Unsatisfiable,
        (Err(_), Ok(count)) if first.is_empty() => Asked::Part(size.saturating_sub(count), end),
        _ => Asked::All,
    }
}

/// First and last byte of a chunk: `0-1023`, also written `bytes 0-1023/*`. `None` when malformed.
pub fn chunk(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").unwrap_or(text);
    let text = text.trim_start_matches(['=', ' ']);
    let (first, last) = text.split('/').next()?.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

/// How much of an upload is here. Nothing is written as `0-0`, as the reference implementation does.
pub fn received(done: u64) -> String {
    format!("0-{}", done.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_blob() {
        let cases = [
            (None, Asked::All),
            (Some("bytes=0-"), Asked::Part(0, 9)),
            (Some("bytes=3-5"), Asked::Part(3, 5)),
            (Some("bytes=3-99"), Asked::Part(3, 9)),
            (Some("bytes=-4"), Asked::Part(6, 9)),
            (Some("bytes=-40"), Asked::Part(0, 9)),
            (Some("bytes=10-"), Asked::Unsatisfiable),
            (Some("bytes=-0"), Asked::Unsatisfiable),
            (Some("bytes=5-3"), Asked::All),
            (Some("bytes=0-1,3-4"), Asked::All),
            (Some("lines=1-2"), Asked::All),
        ];
        for (header, expected) in cases {
            assert_eq!(asked(header, 10), expected, "{header:?}");
        }
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Unsatisfiable);
    }

    #[test]
    fn ranges_of_a_chunk() {
        assert_eq!(chunk("0-1023"), Some((0, 1023)));
        assert_eq!(chunk("bytes 5-6/*"), Some((5, 6)));
        for odd in ["", "5", "6-5", "a-b", "-5", "99999999999999999999-1"] {
            assert_eq!(chunk(odd), None, "{odd}");
        }
        assert_eq!((received(0), received(10)), ("0-0".into(), "0-9".into()));
    }
}
