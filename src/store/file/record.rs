use std::{fs, time::SystemTime};

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::{
    contract::{Record, Swapped},
    error::{StoreError, StoreErrorKind},
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
    let last = match read(files, name) {
        Ok(found) => {
            let last = found.as_ref().map_or(0, |stored| stored.version.as_u64());
            let found = found.and_then(StoredRecord::into_record);
            if found.as_ref().map(Record::version) != seen {
                return Ok(Swapped::Lost(found));
            }
            last
        }
        Err(error) if seen.is_some() && error.version() == seen => 0,
        Err(error) => return Err(error),
    };
    // By the clock, so that a number is not used again after the file was removed by hand or was
    // damaged either.
    let now = micros_since_1970(SystemTime::now());
    let version = last.max(seen.map_or(0, Version::as_u64)).saturating_add(1).max(now);
    let version = Version::from_u64(version);
    let stored = StoredRecord { version, content: next };
    files.replace(&files.record(), &stored.encode(name)?)?;
    Ok(Swapped::Done(version))
}

/// # Errors
///
/// A record that is damaged, incompatible or too large has a version nevertheless, so that a login
/// or a logout can write over it.
fn read(files: &Files, name: &str) -> Result<Option<StoredRecord>, StoreError> {
    let content = files.read(&files.record());
    let stored =
        content.and_then(|bytes| bytes.map(|bytes| StoredRecord::decode(&bytes, name)).transpose());
    stored.map_err(|error| match (error.kind(), version_of_damage(files)) {
        (
            StoreErrorKind::Corrupt | StoreErrorKind::Incompatible | StoreErrorKind::TooLarge,
            Some(version),
        ) => error.of_version(version),
        _ => error,
    })
}

/// The version of a record whose own cannot be read: the time when its file was written.
fn version_of_damage(files: &Files) -> Option<Version> {
    let written = fs::symlink_metadata(files.record()).ok()?.modified().ok()?;
    Some(Version::from_u64(micros_since_1970(written)))
}

fn micros_since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
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
