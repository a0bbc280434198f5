use std::{fs, path::Path, time::SystemTime};

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::{
    clock::micros_since_1970,
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
    let (found, last) = match read(files, name) {
        Ok(found) => {
            let last = found.as_ref().map_or(0, |stored| stored.version.as_u64());
            (found, last)
        }
        // A login is written over a record that cannot be read.
        Err(error) if seen.is_some() && error.version() == seen => {
            let version = error.version().map_or(0, Version::as_u64);
            return write(files, name, next, version);
        }
        Err(error) => return Err(error),
    };
    let found = found.and_then(StoredRecord::into_record);
    if found.as_ref().map(Record::version) != seen {
        return Ok(Swapped::Lost(found));
    }
    write(files, name, next, last)
}

/// Writes a record with a version after `last`. The caller holds the lock.
fn write(files: &Files, name: &str, next: Option<Bytes>, last: u64) -> Result<Swapped, StoreError> {
    // By the clock, so that a number is not used again after the file was removed by hand either.
    let version = last.saturating_add(1).max(micros_since_1970(SystemTime::now()));
    let version = Version::from_u64(version);
    let stored = StoredRecord { version, content: next };
    files.replace(&files.record(), &stored.encode(name)?)?;
    Ok(Swapped::Done(version))
}

/// The record. The error of one that cannot be read has the time of its last change as its version.
fn read(files: &Files, name: &str) -> Result<Option<StoredRecord>, StoreError> {
    let path = files.record();
    let content = files.read(&path);
    let stored = content
        .and_then(|content| content.map(|bytes| StoredRecord::decode(&bytes, name)).transpose());
    stored.map_err(|error| match error.kind() {
        StoreErrorKind::Corrupt | StoreErrorKind::Incompatible | StoreErrorKind::TooLarge => {
            match version_by_clock(&path) {
                Some(version) => error.of_version(version),
                None => error,
            }
        }
        _ => error,
    })
}

/// The time of a file's last change as a version.
fn version_by_clock(path: &Path) -> Option<Version> {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    Some(Version::from_u64(micros_since_1970(modified)))
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
