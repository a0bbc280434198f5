//! The content of a record: a rank, and a credential or a tombstone.
//!
//! A frame of the type `logn` and the format 1. Its fields, with numbers in little-endian:
//!
//! | tag | content |
//! |---|---|
//! | 1 | the rank: login, depth and author (`u64` each), and 1 for an end, else 0 (`u8`); required |
//! | 2 | the bytes of the codec; required, unless the rank is an end |

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::{
    codec::Codec,
    contract::Record,
    error::StoreError,
    frame::{self, Fields, Kind, Reader, put_field},
    stored::{
        knowledge::{Content, Found},
        rank::Rank,
        receipt::Receipt,
    },
};

const KIND: Kind = Kind { tag: *b"logn", format: 1 };
const RANK: u8 = 1;
const CREDENTIAL: u8 = 2;

pub(super) fn seal<C: 'static>(
    rank: Rank,
    content: &Content<Receipt<C>>,
    codec: &dyn Codec<C>,
) -> Result<Bytes, StoreError> {
    let mut body = BytesMut::new();
    let mut field = [0; 25];
    let mut numbers = &mut field[..];
    numbers.put_u64_le(rank.login);
    numbers.put_u64_le(rank.depth);
    numbers.put_u64_le(rank.author);
    numbers.put_u8(rank.is_end.into());
    put_field(&mut body, RANK, &field)?;
    if let Content::Live(receipt) = content {
        put_field(&mut body, CREDENTIAL, &receipt.encode(codec)?)?;
    }
    frame::seal(KIND, &body)
}

pub(super) fn open<C: 'static>(
    record: &Record,
    codec: &dyn Codec<C>,
) -> Result<Found<Receipt<C>>, StoreError> {
    let version = record.version();
    let opened = open_bytes(record.bytes(), codec);
    let (rank, content) = opened.map_err(|error| error.of_version(version))?;
    Ok(Found { version, rank, content })
}

fn open_bytes<C: 'static>(
    bytes: &[u8],
    codec: &dyn Codec<C>,
) -> Result<(Rank, Content<Receipt<C>>), StoreError> {
    let (mut rank, mut credential) = (None, None);
    for field in Fields(frame::open(KIND, bytes)?) {
        match field? {
            (RANK, content) => rank = Some(read_rank(content).ok_or_else(frame::cut_off)?),
            (CREDENTIAL, content) => credential = Some(content),
            (unknown, _) => frame::skip_field(unknown)?,
        }
    }
    let rank = rank.ok_or_else(|| StoreError::corrupt("it has no rank"))?;
    let content = match credential {
        _ if rank.is_end => Content::Ended,
        Some(credential) => Content::Live(Receipt::loaded(codec.decode(credential)?)),
        None => return Err(StoreError::corrupt("it has no credential")),
    };
    Ok((rank, content))
}

fn read_rank(content: &[u8]) -> Option<Rank> {
    let mut numbers = Reader(content);
    Some(Rank {
        login: numbers.u64()?,
        depth: numbers.u64()?,
        author: numbers.u64()?,
        is_end: numbers.u8()? != 0,
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::store::{error::StoreErrorKind, version::Version};

    /// A codec of numbers that are one byte long.
    struct Byte;

    impl Codec<u8> for Byte {
        fn encode(&self, number: &u8, _: SystemTime) -> Result<Bytes, StoreError> {
            Ok(Bytes::copy_from_slice(&[*number]))
        }

        fn decode(&self, bytes: &[u8]) -> Result<u8, StoreError> {
            <[u8; 1]>::try_from(bytes).map(|[number]| number).map_err(StoreError::corrupt)
        }
    }

    fn live(credential: u8) -> Content<Receipt<u8>> {
        Content::Live(Receipt::loaded(credential))
    }

    fn opened(bytes: impl Into<Bytes>) -> Result<Found<Receipt<u8>>, StoreError> {
        open(&Record::new(Version::from_u64(9), bytes), &Byte)
    }

    fn kind(body: &[u8]) -> StoreErrorKind {
        let error = opened(frame::seal(KIND, body).unwrap()).unwrap_err();
        assert_eq!(error.version(), Some(Version::from_u64(9)));
        error.kind()
    }

    const RANK_FIELD: &[u8] =
        b"\x01\x19\0\0\0\x07\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0";

    #[test]
    fn the_format_is_fixed() {
        let rank = Rank { login: 7, depth: 2, author: 3, is_end: false };
        let bytes = seal(rank, &live(b'a'), &Byte).unwrap();
        assert_eq!(&bytes[..13], b"trfrlogn\x01\x24\0\0\0");
        assert_eq!(bytes[13..bytes.len() - 8], [RANK_FIELD, b"\x02\x01\0\0\0a"].concat());
    }

    #[test]
    fn unknown_fields_are_skipped_and_unknown_critical_fields_are_incompatible() {
        let body = |tag: &[u8]| [tag, b"\x01\0\0\0?", RANK_FIELD, b"\x02\x01\0\0\0a"].concat();
        let found = opened(frame::seal(KIND, &body(b"\x7f")).unwrap()).unwrap();
        assert_eq!(found.content, live(b'a'));
        assert_eq!(kind(&body(b"\x80")), StoreErrorKind::Incompatible);
    }

    #[test]
    fn a_missing_or_short_field_is_corrupt() {
        let bodies: [&[u8]; 5] = [
            b"",
            b"\x02\x01\0\0\0a",
            b"\x01\x01\0\0\0\0\x02\x01\0\0\0a",
            RANK_FIELD,
            &[RANK_FIELD, b"\x02\x02\0\0\0a"].concat(),
        ];
        for body in bodies {
            assert_eq!(kind(body), StoreErrorKind::Corrupt, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn a_content_comes_back_with_its_rank(
            (login, depth, author, is_end) in any::<(u64, u64, u64, bool)>(),
            credential in any::<u8>(),
        ) {
            let rank = Rank { login, depth, author, is_end };
            let content = if is_end { Content::Ended } else { live(credential) };
            let bytes = seal(rank, &content, &Byte).unwrap();
            let found = Found { version: Version::from_u64(9), rank, content };
            prop_assert_eq!(opened(bytes).unwrap(), found);
        }
    }
}
