//! PEM text around DER bytes. Reading is done by `rustls-pki-types`.

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub fn encode(label: &str, content: &[u8]) -> String {
    let text = STANDARD.encode(content);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};

    #[test]
    fn what_is_written_can_be_read() {
        let content = [7u8; 100];
        let text = encode("CERTIFICATE", &content);
        assert!(text.lines().all(|line| line.len() <= 64));
        let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        assert_eq!(read.as_ref(), content);
    }
}
