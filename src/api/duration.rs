//! Durations as people read them in tables, and as Go prints them in documents.

use jiff::{SignedDuration, Timestamp};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Two units at most: `119s`, `9m59s`, `3h`, `7d23h`, `2y5d`.
pub fn human(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    // Clocks of two machines may be a little apart.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let one = |unit: i64, name: &str| format!("{}{name}", seconds / unit);
    let two = |unit: i64, name: &str, small: i64, small_name: &str| {
        let rest = seconds % unit / small;
        if rest == 0 {
            one(unit, name)
        } else {
            format!("{}{rest}{small_name}", one(unit, name))
        }
    };
    match seconds {
        ..120 => one(1, "s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => one(MINUTE, "m"),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => one(HOUR, "h"),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        691_200..63_072_000 => one(DAY, "d"),
        63_072_000..252_288_000 => two(YEAR, "y", DAY, "d"),
        _ => one(YEAR, "y"),
    }
}

/// The age cell of a table; `None` is a time that was never set.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    match since {
        Some(since) => human(now.duration_since(since)),
        None => "<unknown>".to_owned(),
    }
}

/// `1h0m5s`, `1.5s`, `250ms`: Go's print.
pub fn go(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(nanos, 1_000_000, "ms"),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

fn fraction(nanos: u128, unit: u128, name: &str) -> String {
    let digits = unit.ilog10() as usize;
    let rest = format!("{:0digits$}", nanos % unit);
    match rest.trim_end_matches('0') {
        "" => format!("{}{name}", nanos / unit),
        rest => format!("{}.{rest}{name}", nanos / unit),
    }
}

/// Reads what Go prints and a little more: numbers with units, one after another. `None` for anything else.
pub fn parse_go(text: &str) -> Option<SignedDuration> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanos: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, tail) = tail.split_at(unit_end.unwrap_or(tail.len()));
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(scaled(number, unit)?)?;
        rest = tail;
    }
    let nanos = i64::try_from(nanos).ok()?;
    let duration = SignedDuration::from_nanos(nanos);
    Some(if is_negative { -duration } else { duration })
}

/// `number`, which may have a fraction, times `unit`.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || number.len() > 36 {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut nanos = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.chars() {
        place /= 10;
        nanos += place * i128::from(digit.to_digit(10)?);
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (28_799, "7h59m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_199, "7d23h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(
                human(SignedDuration::from_secs(seconds)),
                expected,
                "{seconds}"
            );
        }
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }

    #[test]
    fn go_durations_print_and_parse() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (300_000_000_000, "5m0s"),
            (3_605_000_000_000, "1h0m5s"),
            (-60_000_000_000, "-1m0s"),
        ];
        for (nanos, text) in cases {
            let duration = SignedDuration::from_nanos(nanos);
            assert_eq!(go(duration), text);
            assert_eq!(parse_go(text), Some(duration));
        }
        for text in [
            "",
            "-",
            "1",
            "1x",
            "s",
            ".s",
            "1h-1m",
            "99999999999999999999h",
        ] {
            assert_eq!(parse_go(text), None, "{text}");
        }
        assert_eq!(parse_go("1.5h"), Some(SignedDuration::from_mins(90)));
    }
}
