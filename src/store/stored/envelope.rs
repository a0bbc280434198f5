//! The content of a record: a rank, and a credential or a tombstone.
//!
//! A frame of the type `logn` and the format 1. Its fields, with numbers in little-endian:
//!
//! | tag | content |
//! |---|---|
//! | 1 | the rank: login, depth and author (`u64` each), and 1 for an end, else 0 (`u8`); required |
//! | 2 | the bytes of the codec; required, unless the rank is an end |

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::{
    codec::Codec,
    contract::Record,
    error::StoreError,
    frame::{self, Fields, Kind, Reader, put_field},
    stored::{
        knowledge::{Content, Found},
        rank::Rank,
    },
};

const KIND: Kind = Kind { tag: *b"logn", format: 1 };
const RANK: u8 = 1;
const CREDENTIAL: u8 = 2;

pub(super) fn seal<C: 'static>(
    rank: Rank,
    content: &Content<C>,
    codec: &dyn Codec<C>,
    received_at: SystemTime,
) -> Result<Bytes, StoreError> {
    let mut body = BytesMut::new();
    let mut field = [0; 25];
    let mut numbers = &mut field[..];
    numbers.put_u64_le(rank.login);
    numbers.put_u64_le(rank.depth);
    numbers.put_u64_le(rank.author);
    numbers.put_u8(rank.is_end.into());
    put_field(&mut body, RANK, &field)?;
    if let Content::Live(credential) = content {
        put_field(&mut body, CREDENTIAL, &codec.encode(credential, received_at)?)?;
    }
    frame::seal(KIND, &body)
}

pub(super) fn open<C: 'static>(
    record: &Record,
    codec: &dyn Codec<C>,
) -> Result<Found<C>, StoreError> {
    let version = record.version();
    let opened = open_bytes(record.bytes(), codec);
    let (rank, content) = opened.map_err(|error| error.of_version(version))?;
    Ok(Found { version, rank, content })
}

fn open_bytes<C: 'static>(
    bytes: &[u8],
    codec: &dyn Codec<C>,
) -> Result<(Rank, Content<C>), StoreError> {
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
        Some(credential) => Content::Live(codec.decode(credential)?),
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
