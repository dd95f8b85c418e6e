//! The signal that asks a container to end.
//!
//! Pure. Names are those of Linux; real-time signals count from the number that libraries leave to programs.

use super::spec::Wanted;
use crate::runtime::model::ImageInfo;

/// The number of a container's stop signal: the spec's, else the image's, else SIGTERM.
#[must_use]
pub fn stop_signal(wanted: &Wanted<'_>, image: Option<&ImageInfo>) -> i32 {
    const TERM: i32 = 15;
    let lifecycle = wanted.container.lifecycle.as_ref();
    let own = lifecycle.and_then(|lifecycle| lifecycle.stop_signal.clone());
    let text = own.or_else(|| image.map(|image| image.stop_signal.clone()));
    let text = text.filter(|text| !text.is_empty());
    text.and_then(|text| signal_number(&text)).unwrap_or(TERM)
}

/// `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`.
fn signal_number(text: &str) -> Option<i32> {
    const RTMIN: i32 = 34;
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = rest.strip_prefix('+').unwrap_or("0");
        return Some(RTMIN + offset.parse::<i32>().ok()?);
    }
    let signal: nix::sys::signal::Signal = format!("SIG{name}").parse().ok()?;
    Some(signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        let cases = [
            ("SIGQUIT", Some(3)),
            ("QUIT", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGNOPE", None),
        ];
        for (text, expected) in cases {
            assert_eq!(signal_number(text), expected, "{text}");
        }
    }
}
