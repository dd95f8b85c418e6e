//! P-256 keys: made in microseconds, understood by every client.
//!
//! A key is kept as PKCS#8. It never leaves this module except as the PEM text of its file.

use anyhow::{Context as _, Result, anyhow};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use serde::Serialize;
use serde_json::{Value, json};

/// A private key for certificates.
pub struct Key(KeyPair);

impl Key {
    pub fn generate() -> Result<Key> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Key)
            .context("generate a P-256 key")
    }

    pub fn from_pem(text: &str) -> Result<Key> {
        KeyPair::from_pkcs8_pem_and_sign_algo(text, &PKCS_ECDSA_P256_SHA256)
            .map(Key)
            .context("read a private key")
    }

    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// SubjectPublicKeyInfo.
    pub fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    pub fn pair(&self) -> &KeyPair {
        &self.0
    }
}

/// Signs and verifies service account tokens as ES256.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    id: String,
}

impl TokenKey {
    /// A key that nobody keeps: tokens end with the process. For tests.
    pub fn generate() -> Result<TokenKey> {
        TokenKey::new(&Key::generate()?)
    }

    pub(super) fn new(key: &Key) -> Result<TokenKey> {
        let hash = digest::digest(&digest::SHA256, &key.public());
        Ok(TokenKey {
            pair: load(key.0.serialized_der())?,
            id: URL_SAFE_NO_PAD.encode(hash),
        })
    }

    /// The `kid` of token headers and of the key set.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The 64 bytes of an ES256 signature.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature
            .map_err(|_| anyhow!("sign a token"))?
            .as_ref()
            .to_vec())
    }

    /// A JSON Web Token that makes these claims.
    pub fn jwt(&self, claims: &impl Serialize) -> Result<String> {
        let part = |value: Vec<u8>| URL_SAFE_NO_PAD.encode(value);
        let header = json!({"alg": "ES256", "kid": self.id});
        let header = part(serde_json::to_vec(&header)?);
        let text = format!("{header}.{}", part(serde_json::to_vec(claims)?));
        let signature = self.sign(text.as_bytes())?;
        Ok(format!("{text}.{}", part(signature)))
    }

    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(message, signature)
            .is_ok()
    }

    /// The public half as one entry of a JSON Web Key Set.
    pub fn jwk(&self) -> Value {
        // An uncompressed point: 0x04, then 32 bytes of x and of y.
        let point = self.pair.public_key().as_ref();
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        })
    }
}

fn load(pkcs8: &[u8]) -> Result<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        pkcs8,
        &SystemRandom::new(),
    )
    .map_err(|reason| anyhow!("read a P-256 private key: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        let key = Key::generate().unwrap();
        let again = Key::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.public(), again.public());
        assert!(Key::from_pem("nonsense").is_err());
    }

    #[test]
    fn tokens_verify_with_their_key_only() {
        let [one, two] = [(); 2].map(|()| TokenKey::new(&Key::generate().unwrap()).unwrap());
        let signature = one.sign(b"header.claims").unwrap();
        assert_eq!(signature.len(), 64);
        assert!(one.verifies(b"header.claims", &signature));
        assert!(!one.verifies(b"header.Claims", &signature));
        assert!(!two.verifies(b"header.claims", &signature));
        assert_eq!(one.jwk()["kid"], one.id());
    }
}
