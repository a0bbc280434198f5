//! The content of a record: a mark, and a credential or a tombstone.

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::{
    codec::Codec,
    contract::Record,
    error::StoreError,
    frame::{self, Kind, Reader},
    stored::knowledge::{Content, Found, Mark},
};

const KIND: Kind = Kind { tag: *b"logn", format: 1 };
const LIVE: u8 = 1;
const ENDED: u8 = 2;

pub(super) fn seal<C: 'static>(
    mark: Mark,
    is_restored: bool,
    content: &Content<C>,
    codec: &dyn Codec<C>,
    received_at: SystemTime,
) -> Result<Bytes, StoreError> {
    let mut body = BytesMut::new();
    body.put_u64_le(mark.number);
    body.put_u64_le(mark.author);
    body.put_u8(is_restored.into());
    match content {
        Content::Live(credential) => {
            body.put_u8(LIVE);
            body.put_slice(&codec.encode(credential, received_at)?);
        }
        Content::Ended | Content::Nothing => body.put_u8(ENDED),
    }
    frame::seal(KIND, &body)
}

pub(super) fn open<C: 'static>(
    record: &Record,
    codec: &dyn Codec<C>,
) -> Result<Found<C>, StoreError> {
    let mut body = Reader(frame::open(KIND, record.bytes())?);
    let head = (body.u64(), body.u64(), body.u8(), body.u8());
    let (Some(number), Some(author), Some(is_restored), Some(kind)) = head else {
        return Err(frame::cut_off());
    };
    let content = match kind {
        LIVE => Content::Live(codec.decode(body.0)?),
        ENDED => Content::Ended,
        _ => return Err(StoreError::incompatible("it is neither a login nor the end of one")),
    };
    let mark = Mark { number, author };
    Ok(Found { version: record.version(), mark, is_restored: is_restored != 0, content })
}
