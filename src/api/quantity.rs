//! Quantities: `500m`, `1Gi`, `1e3`.
//!
//! Exact: a quantity is a whole number of billionths, the smallest unit upstream keeps; smaller input is rounded away
//! from zero and values beyond 2^63-1 are capped there, as upstream does. Printing keeps the family of suffixes the
//! input had and is canonical: no fraction, largest suffix that leaves a whole number.

use std::{cmp::Ordering, fmt, ops};

const NANOS: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANOS;
/// Beyond this many digits every number is capped or rounded alike.
const DIGITS_MAX: usize = 400;

/// The family of suffixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `m`, none, `k`, `M` …
    Decimal,
    /// `Ki`, `Mi` …
    Binary,
    /// `e3`, `e6` …
    Exponent,
}

#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Upstream's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[(&str, u32)] = &[
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

impl Quantity {
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::Decimal,
    };

    pub fn from_milli(milli: i64) -> Quantity {
        Quantity {
            nanos: i128::from(milli) * (NANOS / 1000),
            format: Format::Decimal,
        }
    }

    /// A count, printed with decimal suffixes.
    pub fn from_units(units: i64) -> Quantity {
        Quantity {
            nanos: i128::from(units) * NANOS,
            format: Format::Decimal,
        }
    }

    /// A size, printed with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Quantity {
        Quantity {
            format: Format::Binary,
            ..Quantity::from_units(bytes)
        }
    }

    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number_end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(ParseError::Format);
        }
        if number.len() > DIGITS_MAX {
            return Err(ParseError::Format);
        }
        let (format, scale) = scale(suffix)?;
        let magnitude = nanos(whole, fraction, scale);
        let sign = if text.starts_with('-') { -1 } else { 1 };
        Ok(Quantity {
            nanos: sign * magnitude,
            format,
        })
    }

    pub fn format(self) -> Format {
        self.format
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whole units, rounded away from zero: bytes, counts, cores.
    pub fn units(self) -> i64 {
        clamp(round_up(self.nanos, NANOS))
    }

    /// Thousandths, rounded away from zero.
    pub fn milli(self) -> i64 {
        clamp(round_up(self.nanos, NANOS / 1000))
    }

    /// For ratios shown to people; not exact.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// No digits beyond the thousandths, as lists of resources are stored.
    #[must_use]
    pub fn rounded_to_milli(self) -> Quantity {
        let step = NANOS / 1000;
        Quantity {
            nanos: round_up(self.nanos, step) * step,
            ..self
        }
    }

    /// The value times a whole number, capped.
    #[must_use]
    pub fn times(self, factor: i64) -> Quantity {
        Quantity {
            nanos: cap(self.nanos.saturating_mul(i128::from(factor))),
            ..self
        }
    }

    /// A sum takes the suffixes of its left side, unless that is zero.
    fn plus(self, other: i128, format: Format) -> Quantity {
        Quantity {
            nanos: cap(self.nanos + other),
            format: if self.is_zero() { format } else { self.format },
        }
    }
}

fn cap(nanos: i128) -> i128 {
    nanos.clamp(-MAX, MAX)
}

fn clamp(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Division that rounds away from zero.
fn round_up(value: i128, step: i128) -> i128 {
    let rest = i128::from(value % step != 0);
    value / step + rest * value.signum()
}

#[derive(Clone, Copy)]
enum Scale {
    /// Power of ten.
    Ten(i32),
    /// Power of two.
    Two(u32),
}

fn scale(suffix: &str) -> Result<(Format, Scale), ParseError> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Decimal, Scale::Ten(*power)));
    }
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Binary, Scale::Two(*power)));
    }
    let letters = suffix
        .find(|c: char| !"eEinumkKMGTP".contains(c))
        .unwrap_or(suffix.len());
    let (letters, rest) = suffix.split_at(letters);
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    match rest.parse::<i32>() {
        Ok(power) if letters == "e" || letters == "E" => {
            Ok((Format::Exponent, Scale::Ten(power.clamp(-1000, 1000))))
        }
        _ => Err(ParseError::Suffix),
    }
}

/// Billionths of `whole.fraction` times `scale`, rounded up and capped. Works on decimal digits, so nothing is lost on
/// the way.
fn nanos(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // Least significant digit first.
    let mut digits: Vec<u8> = whole
        .bytes()
        .chain(fraction.bytes())
        .map(|byte| byte - b'0')
        .rev()
        .collect();
    let mut exponent = 9 - fraction.len() as i64;
    match scale {
        Scale::Ten(power) => exponent += i64::from(power),
        Scale::Two(shift) => (0..shift).for_each(|_| double(&mut digits)),
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.is_empty() {
        return 0;
    }
    if digits.len() as i64 + exponent > 28 {
        return MAX;
    }
    let cut = usize::try_from(-exponent)
        .unwrap_or_default()
        .min(digits.len());
    let lost = digits[..cut].iter().any(|&digit| digit != 0);
    let kept = digits[cut..]
        .iter()
        .rev()
        .fold(0i128, |value, &digit| value * 10 + i128::from(digit));
    let zeros = u32::try_from(exponent).unwrap_or_default();
    (kept * 10i128.pow(zeros) + i128::from(lost)).min(MAX)
}

fn double(digits: &mut Vec<u8>) {
    let mut carry = 0;
    for digit in digits.iter_mut() {
        let value = *digit * 2 + carry;
        *digit = value % 10;
        carry = value / 10;
    }
    if carry > 0 {
        digits.push(carry);
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Small and fractional sizes would lose digits with binary suffixes.
        let is_binary = self.format == Format::Binary
            && self.nanos.abs() >= 1024 * NANOS
            && self.nanos % NANOS == 0;
        if is_binary {
            let units = self.nanos / NANOS;
            let fits = |power: &u32| units % (1i128 << power) == 0;
            let best = BINARY.iter().rev().find(|(_, power)| fits(power));
            return match best {
                Some((suffix, power)) => write!(f, "{}{suffix}", units >> power),
                None => write!(f, "{units}"),
            };
        }
        let (suffix, power) = DECIMAL
            .iter()
            .rev()
            .find(|(_, power)| self.nanos % 10i128.pow((power + 9) as u32) == 0)
            .expect("every number is a multiple of one billionth");
        let mantissa = self.nanos / 10i128.pow((power + 9) as u32);
        match (self.format, power) {
            (Format::Exponent, 0) => write!(f, "{mantissa}"),
            (Format::Exponent, power) => write!(f, "{mantissa}e{power}"),
            _ => write!(f, "{mantissa}{suffix}"),
        }
    }
}

impl ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        self.plus(other.nanos, other.format)
    }
}

impl ops::Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        self.plus(-other.nanos, other.format)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        let cases = [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1500M", "1500M"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1000e0", "1e3"),
            ("0", "0"),
            ("0Gi", "0"),
            ("-0.5", "-500m"),
            ("+2", "2"),
            ("100000000", "100M"),
            ("1001", "1001"),
            ("512Ki", "512Ki"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("1.3Ki", "1331200m"),
            ("0.1n", "1n"),
            ("-0.1n", "-1n"),
            ("1e-12", "1e-9"),
            ("9223372036854775807", "9223372036854775807"),
            ("99999999999999999999999999999999", "9223372036854775807"),
            ("1e1000000", "9223372036854775807"),
            ("12E", "9223372036854775807"),
            ("8E", "8E"),
            ("1Ei", "1Ei"),
            (".5", "500m"),
            ("5.", "5"),
            ("100u", "100u"),
        ];
        for (input, expected) in cases {
            let parsed = Quantity::parse(input);
            let text = parsed.map(|quantity| quantity.to_string());
            assert_eq!(text.as_deref(), Ok(expected), "{input}");
        }
    }

    #[test]
    fn malformed_quantities_are_told_apart() {
        for text in [
            "", "m", "abc", "1 Gi", "1Gi ", "--1", "1.2.3", "1foo", "1e3x", "٣",
        ] {
            assert_eq!(
                Quantity::parse(text).unwrap_err(),
                ParseError::Format,
                "{text}"
            );
        }
        for text in ["1mm", "1GiB", "1K", "1ee3", "1e99999999999", "1m3"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert_eq!(Quantity::parse("1mm").unwrap_err(), ParseError::Suffix);
    }

    #[test]
    fn arithmetic_is_exact_and_keeps_the_left_format() {
        let quantity = |text| Quantity::parse(text).unwrap();
        let cases = [
            (quantity("1Gi") + quantity("1M"), "1074741824"),
            (quantity("1Gi") + quantity("1Gi"), "2Gi"),
            (quantity("0") + quantity("1Gi"), "1Gi"),
            (quantity("1") - quantity("100m"), "900m"),
            (quantity("100m").times(3), "300m"),
            (quantity("1n").rounded_to_milli(), "1m"),
        ];
        for (result, expected) in cases {
            assert_eq!(result.to_string(), expected);
        }
        assert_eq!(quantity("1500m").units(), 2);
        assert_eq!(quantity("-1500m").units(), -2);
        assert_eq!(quantity("1n").milli(), 1);
        assert_eq!(quantity("1Gi").units(), 1 << 30);
        assert!(quantity("1Gi") > quantity("1G"));
        assert_eq!(quantity("1000m"), quantity("1"));
    }

    #[test]
    fn random_text_never_panics_and_output_is_a_fixed_point() {
        let mut random = crate::api::random::Random::new(7);
        for _ in 0..20_000 {
            let text = random.text("0123456789.+-eEnumkKMGTPi x", 12);
            if let Ok(quantity) = Quantity::parse(&text) {
                let shown = quantity.to_string();
                let again = Quantity::parse(&shown).unwrap_or_else(|_| panic!("{text} {shown}"));
                assert_eq!(again, quantity, "{text}");
                assert_eq!(again.to_string(), shown, "{text}");
            }
        }
    }
}
