//! The names that the server generates for new objects.

/// Without vowels and look-alikes, so that no words appear.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
/// A generated name keeps the length of a DNS label.
const BASE_MAX: usize = 63 - SUFFIX;

/// Five random characters, as in `web-x7k2p`.
#[must_use]
pub fn suffix() -> String {
    let mut bytes = [0u8; SUFFIX];
    fill(&mut bytes);
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    bytes.iter().map(letter).collect()
}

#[must_use]
pub fn generated_name(base: &str) -> String {
    let end = (0..=BASE_MAX.min(base.len()))
        .rev()
        .find(|&at| base.is_char_boundary(at))
        .unwrap_or(0);
    format!("{}{}", &base[..end], suffix())
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel has random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_base_and_suffix() {
        let name = generated_name("web-");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert_eq!(generated_name(&"a".repeat(100)).len(), 63);
    }
}
