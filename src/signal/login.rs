//! How an agent shows another agent's embedded broker which device it is: with MQTT 5's enhanced authentication (4.12),
//! it signs what the broker has just chosen at random. The broker knows only the public half of the key, so nothing in
//! its configuration and nothing that travels can be used to log in once more. Pure. Not here: where the key is kept
//! (`keys`), what a device may then do (`broker::topic`), and the connection.

use std::{fmt, str::FromStr};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::{
    envelope::{from_base64, to_base64},
    topic::DeviceId,
};

/// The authentication method that CONNECT, AUTH and CONNACK name (MQTT 5, 3.1.2.11.9).
pub const METHOD: &str = "pinhole/1";

/// What a broker asks a device to sign; random for each connection.
pub type Challenge = [u8; 32];

/// Bytes of the private half.
pub const SEED_BYTES: usize = 32;

/// A device's private key: Ed25519 (RFC 8032). Never shown.
pub struct LoginKey {
    device: DeviceId,
    pair: Ed25519KeyPair,
}

impl LoginKey {
    /// The key of `device`, from random bytes.
    pub fn from_seed(device: DeviceId, seed: &[u8; SEED_BYTES]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Self { device, pair: pair.expect("each 32 bytes are an Ed25519 seed (RFC 8032, 5.1.5)") }
    }

    /// Whose it is.
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// What a broker has to know of it.
    pub fn public(&self) -> AcceptedDevice {
        let key = self.pair.public_key().as_ref().try_into();
        AcceptedDevice { device: self.device, key: key.expect("an Ed25519 key has 32 bytes") }
    }

    /// The answer to a challenge: 64 bytes.
    pub fn sign(&self, challenge: &Challenge) -> Vec<u8> {
        self.pair.sign(&message(self.device, challenge)).as_ref().to_vec()
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginKey({})", self.device)
    }
}

/// Another device that a broker serves, and its public key. As text `DEVICE:KEY`, the key in base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedDevice {
    pub device: DeviceId,
    key: [u8; 32],
}

impl AcceptedDevice {
    /// Whether the device itself has signed the challenge.
    pub fn verify(&self, challenge: &Challenge, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key).verify(&message(self.device, challenge), signature).is_ok()
    }
}

/// Why a text names no device with its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device with its key: copy what `pinhole device-key` prints on that device")]
pub struct NoDevice(String);

impl FromStr for AcceptedDevice {
    type Err = NoDevice;

    fn from_str(text: &str) -> Result<Self, NoDevice> {
        let read = || {
            let (device, key) = text.trim().split_once(':')?;
            Some(Self { device: DeviceId::parse(device)?, key: from_base64(key)?.try_into().ok()? })
        };
        read().ok_or_else(|| NoDevice(text.to_owned()))
    }
}

impl fmt::Display for AcceptedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, to_base64(&self.key))
    }
}

fn message(device: DeviceId, challenge: &Challenge) -> Vec<u8> {
    [format!("pinhole/1 broker login|{device}|").as_bytes(), challenge].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(device: &str, seed: u8) -> LoginKey {
        LoginKey::from_seed(DeviceId::parse(device).unwrap(), &[seed; 32])
    }

    #[test]
    fn a_signature_is_good_for_its_device_key_and_challenge_alone() {
        let key_a = key("abcdefghijkl2345", 1);
        let signature = key_a.sign(&[7; 32]);
        assert!(key_a.public().verify(&[7; 32], &signature));
        assert!(!key_a.public().verify(&[8; 32], &signature), "another challenge");
        assert!(!key("abcdefghijkl2345", 2).public().verify(&[7; 32], &signature), "another key");
        assert!(!key("abcdefghijkl2346", 1).public().verify(&[7; 32], &signature), "another device");
        assert!(!key_a.public().verify(&[7; 32], &signature[..63]));
        assert!(!key_a.public().verify(&[7; 32], &[]));
    }

    #[test]
    fn the_public_half_keeps_its_text() {
        let accepted = key("abcdefghijkl2345", 1).public();
        let text = accepted.to_string();
        assert_eq!(text.len(), 16 + 1 + 43);
        assert_eq!(text.parse(), Ok(accepted));
        assert_eq!(format!(" {text}\n").parse(), Ok(accepted));
        for wrong in ["", ":", "abcdefghijkl2345", &text[..59], &format!("{text}A"), &text.to_uppercase()] {
            let error = wrong.parse::<AcceptedDevice>().unwrap_err();
            assert!(error.to_string().contains("pinhole device-key"), "{error}");
        }
    }

    #[test]
    fn the_private_half_is_not_shown() {
        assert_eq!(format!("{:?}", key("abcdefghijkl2345", 1)), "LoginKey(abcdefghijkl2345)");
    }
}
