//! Times on the wire: RFC 3339 with seconds, and with microseconds where upstream says `MicroTime`.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const LAYOUT_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Fractions are accepted and lost when the time is written again. The error is upstream's text.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    parse_rfc3339(text).ok_or_else(|| refuse(text, LAYOUT))
}

/// Microseconds are kept; further digits are accepted and lost.
pub fn parse_micro(text: &str) -> Result<Timestamp, String> {
    let has_fraction = text.get(19..20) == Some(".");
    match parse_rfc3339(text) {
        Some(time) if has_fraction => Ok(time),
        _ => Err(refuse(text, LAYOUT_MICRO)),
    }
}

/// `2026-11-21T05:00:00Z`.
pub fn format(time: Timestamp) -> String {
    let utc = civil(time);
    utc.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-21T05:00:00.000000Z`.
pub fn format_micro(time: Timestamp) -> String {
    let utc = civil(time);
    utc.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn civil(time: Timestamp) -> DateTime {
    Offset::UTC.to_datetime(time)
}

/// Strict: jiff alone would also take spaces, lower case and missing seconds.
fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let shaped = text.is_ascii()
        && "dddd-dd-ddTdd:dd:dd"
            .bytes()
            .enumerate()
            .all(|(at, wanted)| match wanted {
                b'd' => is_digit(at),
                wanted => bytes.get(at) == Some(&wanted),
            });
    if !shaped {
        return None;
    }
    let rest = &text[19..];
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 9 {
                return None;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    let offset = match zone.as_bytes() {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    };
    if !offset {
        return None;
    }
    text.parse().ok()
}

fn refuse(text: &str, layout: &str) -> String {
    format!("parsing time \"{text}\" as \"{layout}\": cannot parse \"{text}\" as \"2006\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rewritten_in_utc() {
        let cases = [
            ("2026-11-21T05:00:00Z", "2026-11-21T05:00:00Z"),
            ("2026-11-21T05:00:00.999Z", "2026-11-21T05:00:00Z"),
            ("2026-11-21T05:00:00+02:00", "2026-11-21T03:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ];
        for (input, expected) in cases {
            assert_eq!(format(parse(input).unwrap()), expected);
        }
        let micro = parse_micro("2026-11-21T05:00:00.1234567Z").unwrap();
        assert_eq!(format_micro(micro), "2026-11-21T05:00:00.123456Z");
    }

    #[test]
    fn malformed_times_are_refused_in_upstreams_words() {
        for text in [
            "",
            "x",
            "2026-11-21",
            "2026-11-21 05:00:00Z",
            "2026-13-21T05:00:00Z",
            "2026-11-21T05:00:00",
            "2026-11-21T05:00:00z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse("x").unwrap_err(),
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""
        );
        assert!(parse_micro("2026-11-21T05:00:00Z").is_err());
    }
}
