//! Values of annotations as people write them for nginx.

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use std::{net::IpAddr, time::Duration};

/// `true` and `false` in the spellings of Go's `strconv`.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

pub fn number(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number"))
}

/// Seconds, with or without the unit.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    let count = digits.parse::<u32>().ok().filter(|&count| count > 0);
    count
        .map(|count| Duration::from_secs(count.into()))
        .ok_or_else(|| format!("{text:?} is not a number of seconds"))
}

/// nginx' sizes: bytes, or with `k`, `m`, `g`. Zero is no limit.
pub fn size(text: &str) -> Result<Option<u64>, String> {
    let wrong = || format!("{text:?} is not a size");
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let bytes = count.checked_mul(factor).ok_or_else(wrong)?;
    Ok((bytes > 0).then_some(bytes))
}

/// Networks and single addresses, separated by commas.
pub fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let networks: Result<Vec<IpNet>, String> = words(text)
        .map(|word| {
            let single = || word.parse::<IpAddr>().ok().map(IpNet::from);
            let network = word.parse::<IpNet>().ok().or_else(single);
            network.ok_or_else(|| format!("{word:?} is neither an address nor a network"))
        })
        .collect();
    match networks {
        Ok(networks) if networks.is_empty() => Err("no network is named".to_owned()),
        other => other,
    }
}

pub fn header(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("{text:?} cannot stand in a header"))
}

/// A place for a `Location` header.
pub fn location(text: &str) -> Result<String, String> {
    header(text)?;
    if text.is_empty() {
        return Err("no place is named".to_owned());
    }
    Ok(text.to_owned())
}

/// What may be a cookie's name or one of its attributes: nothing that would begin another attribute.
pub fn token(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | ',' | '"' | '\\' | '=');
    if text.is_empty() || !text.chars().all(is_plain) {
        return Err(format!("{text:?} cannot stand in a cookie"));
    }
    Ok(text.to_owned())
}

/// An address on the web. Its host may be a variable.
pub fn url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => location(text),
        _ => Err(format!(
            "{text:?} is not an address that begins with http:// or https://"
        )),
    }
}

pub fn header_names(text: &str) -> Result<Vec<HeaderName>, String> {
    let names = words(text).map(|word| {
        word.parse()
            .map_err(|_| format!("{word:?} is not a header"))
    });
    names.collect()
}

pub fn status(text: &str, allowed: std::ops::RangeInclusive<u16>) -> Result<u16, String> {
    let code = text.parse().ok().filter(|code| allowed.contains(code));
    code.ok_or_else(|| {
        format!(
            "{text:?} is not a code between {} and {}",
            allowed.start(),
            allowed.end()
        )
    })
}

pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}
