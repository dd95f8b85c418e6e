//! Numbers that users give as a count or as a percentage.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    Up,
    Down,
}

/// The count a value means of `total`; `None` when it is neither a number nor a percentage.
pub fn resolve(value: &IntOrString, total: i32, round: Round) -> Option<i32> {
    match value {
        IntOrString::Int(count) => Some(*count),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let hundredths = percent.checked_mul(i64::from(total))?;
            let count = match round {
                Round::Up => hundredths.div_euclid(100) + i64::from(hundredths.rem_euclid(100) > 0),
                Round::Down => hundredths.div_euclid(100),
            };
            i32::try_from(count).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_as_asked() {
        let text = |text: &str| IntOrString::String(text.into());
        assert_eq!(resolve(&IntOrString::Int(3), 10, Round::Up), Some(3));
        assert_eq!(resolve(&text("25%"), 10, Round::Up), Some(3));
        assert_eq!(resolve(&text("25%"), 10, Round::Down), Some(2));
        assert_eq!(resolve(&text("100%"), 7, Round::Up), Some(7));
        assert_eq!(resolve(&text("x"), 7, Round::Up), None);
        assert_eq!(resolve(&text("99999999999999999%"), 7, Round::Up), None);
    }
}
