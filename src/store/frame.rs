//! The frame around everything that this crate writes: type, format, length and a check sum.
//!
//! ```text
//! magic "trfr" | type, 4 bytes | format, u8 | length of the body, u32 | body | check sum, u64
//! ```
//!
//! Numbers are little-endian. The check sum is FNV-1a over everything before it. It finds damage;
//! it is no protection against forgery.

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::error::StoreError;

/// The largest body of a frame, and the largest content of a record.
pub(in crate::store) const MAX_BODY: usize = 1 << 20;

/// The bytes of a frame around its body.
pub(in crate::store) const OVERHEAD: usize = HEAD + 8;

/// The type of a frame, and the newest format of it that this program knows.
#[derive(Clone, Copy)]
pub(in crate::store) struct Kind {
    pub(in crate::store) tag: [u8; 4],
    pub(in crate::store) format: u8,
}

/// Takes a body apart. `None` where the body ends too early.
pub(in crate::store) struct Reader<'a>(pub(in crate::store) &'a [u8]);

/// The fields of a body: each is a tag of one byte, a length (`u32`), and the content.
///
/// A reader skips tags below 128 that it does not know, and refuses others. A later version may
/// thus add fields without a new format number.
pub(in crate::store) struct Fields<'a>(pub(in crate::store) &'a [u8]);

const MAGIC: &[u8; 4] = b"trfr";
const HEAD: usize = 4 + 4 + 1 + 4;
/// The lowest tag of a field that a reader must understand.
const CRITICAL: u8 = 128;

pub(in crate::store) fn seal(kind: Kind, body: &[u8]) -> Result<Bytes, StoreError> {
    check_size(body.len())?;
    let mut frame = BytesMut::with_capacity(body.len() + OVERHEAD);
    frame.put_slice(MAGIC);
    frame.put_slice(&kind.tag);
    frame.put_u8(kind.format);
    frame.put_u32_le(u32::try_from(body.len()).expect("the size was checked"));
    frame.put_slice(body);
    let sum = fnv1a(&frame);
    frame.put_u64_le(sum);
    Ok(frame.freeze())
}

/// Whether the bytes begin like a frame of that kind.
#[cfg(feature = "sealed")]
pub(in crate::store) fn is_of(kind: Kind, frame: &[u8]) -> bool {
    frame.starts_with(MAGIC) && frame[MAGIC.len()..].starts_with(&kind.tag)
}

/// The body of a frame of that kind.
pub(in crate::store) fn open(kind: Kind, frame: &[u8]) -> Result<&[u8], StoreError> {
    let mut reader = Reader(frame);
    if reader.take(4).ok_or_else(cut_off)? != MAGIC {
        return Err(StoreError::corrupt("it does not begin like a record of tower-refresh"));
    }
    let tag = reader.take(4).ok_or_else(cut_off)?;
    let format = reader.u8().ok_or_else(cut_off)?;
    let length = reader.u32().ok_or_else(cut_off)? as usize;
    check_size(length)?;
    let body = reader.take(length).ok_or_else(cut_off)?;
    let sum = reader.u64().ok_or_else(cut_off)?;
    if !reader.0.is_empty() {
        return Err(StoreError::corrupt("it has bytes after its end"));
    }
    if sum != fnv1a(&frame[..frame.len() - 8]) {
        return Err(StoreError::corrupt("its check sum is wrong"));
    }
    // Only now: a damaged byte must not pass for another type.
    if tag != kind.tag {
        return Err(StoreError::incompatible("it is of another type"));
    }
    if format > kind.format {
        return Err(StoreError::incompatible("a newer version of this program has written it"));
    }
    Ok(body)
}

pub(in crate::store) fn put_field(
    body: &mut BytesMut,
    tag: u8,
    content: &[u8],
) -> Result<(), StoreError> {
    check_size(content.len())?;
    body.put_u8(tag);
    body.put_u32_le(u32::try_from(content.len()).expect("the size was checked"));
    body.put_slice(content);
    Ok(())
}

/// Skips a field whose tag is unknown, or refuses it.
pub(in crate::store) fn skip_field(tag: u8) -> Result<(), StoreError> {
    if tag >= CRITICAL {
        return Err(StoreError::incompatible("it has a field that must be known"));
    }
    Ok(())
}

pub(in crate::store) fn check_size(len: usize) -> Result<(), StoreError> {
    if len > MAX_BODY {
        return Err(StoreError::too_large(format!("{len} bytes, and {MAX_BODY} are allowed")));
    }
    Ok(())
}

pub(in crate::store) fn cut_off() -> StoreError {
    StoreError::corrupt("it is cut off")
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(in crate::store) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(in crate::store) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(in crate::store) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(in crate::store) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

// === impl Fields ===

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, &'a [u8]), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader(self.0);
        let tag = reader.u8()?;
        let content = reader.u32().and_then(|length| reader.take(length as usize));
        self.0 = reader.0;
        Some(content.map(|content| (tag, content)).ok_or_else(cut_off))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::error::StoreErrorKind;

    const KIND: Kind = Kind { tag: *b"test", format: 2 };

    #[test]
    fn fnv1a_agrees_with_its_test_vectors() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn another_type_a_newer_format_and_a_body_of_10_mb_are_refused_with_their_reason() {
        let kind = |kind, frame: &[u8]| open(kind, frame).unwrap_err().kind();
        let frame = seal(KIND, b"body").unwrap();
        let other = Kind { tag: *b"misc", ..KIND };
        assert_eq!(kind(other, &frame), StoreErrorKind::Incompatible);
        assert_eq!(kind(Kind { format: 1, ..KIND }, &frame), StoreErrorKind::Incompatible);
        assert_eq!(open(Kind { format: 3, ..KIND }, &frame).unwrap(), b"body");
        let large = seal(KIND, &vec![0; 10_000_000]).unwrap_err();
        assert_eq!(large.kind(), StoreErrorKind::TooLarge);
        assert!(seal(KIND, &vec![0; MAX_BODY]).is_ok());
    }

    proptest! {
        #[test]
        fn a_frame_that_is_cut_off_or_has_one_altered_bit_is_refused(
            body in proptest::collection::vec(any::<u8>(), 0..64),
            cut in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let frame = seal(KIND, &body).unwrap();
            prop_assert_eq!(open(KIND, &frame).unwrap(), &body[..]);
            let at = cut.index(frame.len());
            prop_assert_eq!(open(KIND, &frame[..at]).unwrap_err().kind(), StoreErrorKind::Corrupt);
            let mut altered = frame.to_vec();
            altered[at] ^= 1 << bit;
            prop_assert!(open(KIND, &altered).is_err());
        }
    }
}
