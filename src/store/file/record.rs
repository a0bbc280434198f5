use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::{
    contract::{Record, Swapped},
    error::StoreError,
    file::directory::Files,
    frame::{self, Kind, Reader},
    version::Version,
};

/// The content of a record file: the version, whether it stands for a deleted record, the name and
/// the content.
///
/// A deleted record keeps its file, and so its version.
struct StoredRecord {
    version: Version,
    content: Option<Bytes>,
}

const KIND: Kind = Kind { tag: *b"file", format: 1 };

pub(super) fn load(files: &Files, name: &str) -> Result<Option<Record>, StoreError> {
    Ok(read(files, name)?.and_then(StoredRecord::into_record))
}

pub(super) fn swap(
    files: &Files,
    name: &str,
    seen: Option<Version>,
    next: Option<Bytes>,
) -> Result<Swapped, StoreError> {
    let _lock = files.lock()?;
    let found = read(files, name)?;
    let last = found.as_ref().map_or(0, |stored| stored.version.as_u64());
    let found = found.and_then(StoredRecord::into_record);
    if found.as_ref().map(Record::version) != seen {
        return Ok(Swapped::Lost(found));
    }
    // By the clock, so that a number is not used again after the file was removed by hand either.
    let version = Version::from_u64(last.saturating_add(1).max(micros_since_1970()));
    let stored = StoredRecord { version, content: next };
    files.replace(&files.record(), &stored.encode(name)?)?;
    Ok(Swapped::Done(version))
}

fn read(files: &Files, name: &str) -> Result<Option<StoredRecord>, StoreError> {
    files.read(&files.record())?.map(|bytes| StoredRecord::decode(&bytes, name)).transpose()
}

fn micros_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

// === impl StoredRecord ===

impl StoredRecord {
    fn encode(&self, name: &str) -> Result<Bytes, StoreError> {
        frame::check_size(name.len())?;
        let mut body = BytesMut::new();
        body.put_u64_le(self.version.as_u64());
        body.put_u8(self.content.is_some().into());
        body.put_u32_le(u32::try_from(name.len()).expect("the size was checked"));
        body.put_slice(name.as_bytes());
        body.put_slice(self.content.as_deref().unwrap_or_default());
        frame::seal(KIND, &body)
    }

    fn decode(bytes: &[u8], name: &str) -> Result<Self, StoreError> {
        let mut body = Reader(frame::open(KIND, bytes)?);
        let (Some(version), Some(is_there), Some(length)) = (body.u64(), body.u8(), body.u32())
        else {
            return Err(frame::cut_off());
        };
        if body.take(length as usize).ok_or_else(frame::cut_off)? != name.as_bytes() {
            return Err(StoreError::incompatible("it belongs to another name"));
        }
        let content = (is_there != 0).then(|| Bytes::copy_from_slice(body.0));
        Ok(Self { version: Version::from_u64(version), content })
    }

    fn into_record(self) -> Option<Record> {
        Some(Record::new(self.version, self.content?))
    }
}
