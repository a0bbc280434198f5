use std::{borrow::Cow, fmt};

/// The beginning of a response's body.
#[derive(Clone, Copy)]
pub struct BodyStart<'a> {
    bytes: &'a [u8],
    is_whole: bool,
}

// === impl BodyStart ===

impl<'a> BodyStart<'a> {
    /// The beginning of a body. `is_whole` tells whether the body has no other bytes.
    pub fn new(bytes: &'a [u8], is_whole: bool) -> Self {
        Self { bytes, is_whole }
    }

    /// The bytes, up to the layer's [limit](crate::peek::PeekLayer::limit).
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether these are all bytes of the body.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The bytes as text. Bytes that are not UTF-8 become U+FFFD.
    pub fn to_str_lossy(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes)
    }

    /// Whether the bytes contain this text.
    pub fn contains(&self, text: &str) -> bool {
        let text = text.as_bytes();
        text.is_empty() || self.bytes.windows(text.len()).any(|window| window == text)
    }
}

/// Shows the number of bytes, since a body may hold personal data.
impl fmt::Debug for BodyStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStart")
            .field("len", &self.bytes.len())
            .field("is_whole", &self.is_whole)
            .finish()
    }
}
