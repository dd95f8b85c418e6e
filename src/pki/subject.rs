//! Gives a certificate the very subject of its request.
//!
//! `rcgen` keeps two values of an attribute at most, but a user may be in many groups: the certificate is made without
//! them, gets the subject as the request spells it, byte for byte, and is signed again. DER is read here only from
//! `rcgen`'s own output; the subject was parsed before.

use super::key::Key;
use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::SigningKey as _;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// Where the subject stands among the fields of a version 3 certificate: version, serial number, signature, issuer,
/// validity, subject.
const SUBJECT_AT: usize = 5;
const PEM_LINE: usize = 64;

/// The certificate with another subject (a DER `Name`), signed again with the same authority's key, as PEM.
pub fn replace(certificate: &[u8], subject: &[u8], ca_key: &Key) -> Result<String> {
    let outer = elements(content(certificate)?)?;
    ensure!(outer.len() == 3, "a certificate has three parts");
    let mut fields = elements(content(outer[0])?)?;
    *fields.get_mut(SUBJECT_AT).context("a subject")? = subject;
    let body = wrapped(SEQUENCE, &fields.concat());
    let mut signature = vec![0];
    let signed = ca_key.pair().sign(&body).context("sign a certificate")?;
    signature.extend(signed);
    let signature = wrapped(BIT_STRING, &signature);
    let whole = [body.as_slice(), outer[1], signature.as_slice()].concat();
    Ok(certificate_pem(&wrapped(SEQUENCE, &whole)))
}

/// The length of an element's head, and of what it holds.
fn lengths(bytes: &[u8]) -> Result<(usize, usize)> {
    let first = *bytes.get(1).context("a DER length")?;
    if first < 0x80 {
        return Ok((2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    ensure!((1..=4).contains(&count), "a DER length of a few bytes");
    let digits = bytes.get(2..2 + count).context("a DER length")?;
    let length = digits
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    Ok((2 + count, length))
}

fn content(element: &[u8]) -> Result<&[u8]> {
    let (head, length) = lengths(element)?;
    element.get(head..head + length).context("a DER element")
}

fn elements(mut bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (head, length) = lengths(bytes)?;
        let (element, rest) = bytes
            .split_at_checked(head + length)
            .context("a DER element")?;
        found.push(element);
        bytes = rest;
    }
    Ok(found)
}

fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => whole.push(short),
        _ => {
            let digits = content.len().to_be_bytes();
            let digits: Vec<u8> = digits.into_iter().skip_while(|byte| *byte == 0).collect();
            whole.push(0x80 | digits.len() as u8);
            whole.extend(digits);
        }
    }
    whole.extend(content);
    whole
}

/// DER as people paste it.
pub fn certificate_pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(PEM_LINE) {
        pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
