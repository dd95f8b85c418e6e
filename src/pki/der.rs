//! The few ASN.1 values certificates are made of, written as DER.
//!
//! Only a writer: what others send is read by `x509-parser`. Every function returns one complete element.

use jiff::{Timestamp, tz::TimeZone};

/// One element: tag, length in the shortest form, content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(u8::try_from(length).expect("below 128"));
    } else {
        let bytes = length.to_be_bytes();
        let significant: &[u8] = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
        out.push(0x80 | u8::try_from(significant.len()).expect("at most 8"));
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(content);
    out
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

pub fn set(parts: &[&[u8]]) -> Vec<u8> {
    element(0x31, &parts.concat())
}

/// An explicit context tag around `content`.
pub fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    element(0xa0 | number, content)
}

/// A positive integer, big-endian.
pub fn integer(magnitude: &[u8]) -> Vec<u8> {
    let zeros = magnitude.iter().take_while(|&&byte| byte == 0).count();
    let mut content = magnitude[zeros..].to_vec();
    if content.first().is_none_or(|&first| first >= 0x80) {
        content.insert(0, 0);
    }
    element(0x02, &content)
}

pub fn boolean(value: bool) -> Vec<u8> {
    element(0x01, &[if value { 0xff } else { 0 }])
}

pub fn octets(content: &[u8]) -> Vec<u8> {
    element(0x04, content)
}

/// A bit string of whole bytes.
pub fn bits(content: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], content].concat())
}

/// Named bits, the first one leftmost, without trailing zeros as DER demands.
pub fn flags(set: u16) -> Vec<u8> {
    let bytes = set.reverse_bits().to_be_bytes();
    let used = if bytes[1] == 0 {
        &bytes[..1]
    } else {
        &bytes[..]
    };
    let unused = used[used.len() - 1].trailing_zeros().min(7);
    let unused = u8::try_from(unused).expect("at most 7");
    element(0x03, &[&[unused], used].concat())
}

pub fn utf8(text: &str) -> Vec<u8> {
    element(0x0c, text.as_bytes())
}

pub fn oid(arcs: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    let first = arcs[0] * 40 + arcs[1];
    for arc in std::iter::once(&first).chain(&arcs[2..]) {
        let mut groups = vec![(arc & 0x7f) as u8];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    element(0x06, &content)
}

/// UTCTime until 2049, GeneralizedTime afterwards (RFC 5280, 4.1.2.5).
pub fn time(at: Timestamp) -> Vec<u8> {
    let civil = at.to_zoned(TimeZone::UTC);
    if civil.year() < 2050 {
        element(0x17, civil.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        element(0x18, civil.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_the_shortest_encoding() {
        let cases: &[(Vec<u8>, &str)] = &[
            (integer(&[]), "020100"),
            (integer(&[0, 0x7f]), "02017f"),
            (integer(&[0x80]), "02020080"),
            (oid(&[1, 2, 840, 10045, 4, 3, 2]), "06082a8648ce3d040302"),
            (oid(&[2, 5, 4, 3]), "0603550403"),
            // digitalSignature (0) alone; keyCertSign (5) and cRLSign (6).
            (flags(1), "03020780"),
            (flags(1 << 5 | 1 << 6), "03020106"),
            (boolean(true), "0101ff"),
            (element(0x30, &[0; 200])[..3].to_vec(), "3081c8"),
            (element(0x30, &[0; 300])[..4].to_vec(), "3082012c"),
            (
                time("2030-01-02T03:04:05Z".parse().unwrap()),
                "170d3330303130323033303430355a",
            ),
        ];
        for (bytes, expected) in cases {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, *expected);
        }
    }
}
