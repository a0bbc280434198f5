use std::fmt;

use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use zeroize::Zeroizing;

/// A secret key of 32 bytes, and the id under which records name it.
///
/// The key is wiped from memory when it is dropped. `Debug` shows the id.
pub struct SealKey {
    id: u32,
    /// On the heap, so that a move leaves no copy behind.
    bytes: Zeroizing<Box<[u8]>>,
}

// === impl SealKey ===

impl SealKey {
    /// A key with this id. Its bytes come from a generator for keys, such as `openssl rand 32`, and
    /// not from a password.
    pub fn new(id: u32, bytes: &[u8; 32]) -> Self {
        Self { id, bytes: Zeroizing::new(bytes.as_slice().into()) }
    }

    /// The id under which records name this key. It is no secret.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// `None` where the message is too long for the cipher.
    pub(super) fn seal(&self, nonce: &XNonce, message: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        self.cipher().encrypt(nonce, Payload { msg: message, aad: bound }).ok()
    }

    /// `None` where the message was altered, or sealed with another key.
    pub(super) fn open(&self, nonce: &XNonce, sealed: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        self.cipher().decrypt(nonce, Payload { msg: sealed, aad: bound }).ok()
    }

    /// Wipes its copy of the key when it is dropped.
    fn cipher(&self) -> XChaCha20Poly1305 {
        let key: &Key = self.bytes[..].try_into().expect("a key has 32 bytes");
        XChaCha20Poly1305::new(key)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_opened_by_its_key_nonce_and_bound_data_alone() {
        let (key, other) = (SealKey::new(1, &[7; 32]), SealKey::new(1, &[8; 32]));
        let (nonce, wrong) = (XNonce::from([1; 24]), XNonce::from([2; 24]));
        let sealed = key.seal(&nonce, b"message", b"bound").unwrap();
        assert_eq!(key.open(&nonce, &sealed, b"bound").as_deref(), Some(&b"message"[..]));
        assert_eq!(other.open(&nonce, &sealed, b"bound"), None);
        assert_eq!(key.open(&wrong, &sealed, b"bound"), None);
        assert_eq!(key.open(&nonce, &sealed, b"other"), None);
        assert_eq!(key.open(&nonce, &[], b"bound"), None);
    }

    /// The vector of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_cipher_agrees_with_the_vector_of_the_draft() {
        let bytes: [u8; 32] = std::array::from_fn(|at| 0x80 + u8::try_from(at).unwrap());
        let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + u8::try_from(at).unwrap());
        let bound = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let message = b"Ladies and Gentlemen of the class of '99: If I could offer you only one \
            tip for the future, sunscreen would be it.";
        let sealed = SealKey::new(1, &bytes).seal(&XNonce::from(nonce), message, &bound).unwrap();
        assert_eq!(sealed[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        let tag = [
            0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a,
            0xcf, 0x49,
        ];
        assert_eq!(sealed[message.len()..], tag);
    }

    /// Reading freed memory would be undefined behaviour, so the kernel reads it.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_key_is_wiped_when_it_is_dropped() {
        use std::{fs::File, os::unix::fs::FileExt};

        let pattern: [u8; 32] = std::array::from_fn(|at| 0xa1 ^ u8::try_from(at).unwrap());
        let key = SealKey::new(1, &pattern);
        let address = key.bytes.as_ptr() as u64;
        let holds_key = || {
            let mut bytes = [0; 32];
            File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, address).unwrap();
            // An allocator may write to the beginning of memory that was freed.
            bytes[16..] == pattern[16..]
        };
        assert!(holds_key());
        drop(key);
        assert!(!holds_key());
    }

    #[test]
    fn debug_shows_the_id_and_no_key() {
        assert_eq!(format!("{:?}", SealKey::new(3, &[7; 32])), "SealKey { id: 3, .. }");
    }
}
