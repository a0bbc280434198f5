use std::{fmt, fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{task, time};

use crate::{
    refresher::contract::BoxFuture,
    store::{
        contract::{Leased, Record, Store, Swapped},
        error::StoreError,
        file::{
            directory::{Directory, Files},
            lease::Leases,
            record,
        },
        version::Version,
    },
};

/// A [`Store`] in a directory: for programs on one machine.
///
/// The directory is made by the first write, with mode 0700, and its files have mode 0600, under
/// any umask. A record is written to a temporary file, synced and renamed, so that a crash leaves
/// the old record or the new one. A temporary file that a crash has left behind is removed by the
/// next write. A name becomes a file name by SHA-256, and is stored in the record.
///
/// A directory or a record is refused as [denied](crate::store::StoreErrorKind::Denied) where it
/// has another owner than the process or where others may write to it, and so is a record that is a
/// symbolic link. A directory may be one: its target is checked.
///
/// A record that is damaged, too large, or of another program is an error, and stays. A login and a
/// logout of the driver write over it.
///
/// A process that dies loses its lease at once. A process that is stopped in the midst of a write
/// keeps the others from writing until it goes on or dies, and their operations fail. Removing the
/// files of a directory by hand is safe, and logs out.
///
/// Locks are those of [`std::fs::File::try_lock`]. Network file systems without locks are not
/// supported.
///
/// # Platforms
///
/// The tests run on Linux. For macOS and Windows the code is compiled, and its use of their file
/// systems is read from their documentation. On macOS the owner of a directory is checked by the
/// first write. On Windows there are no modes and no owners to check: use a directory below the
/// user's profile, whose access control list keeps other users out. Directories are not synced
/// there, so a crash of the machine may bring the record before the last one back.
///
/// ```no_run
/// use tower_refresh::store::File;
///
/// let store = File::new("/home/ann/.local/state/my-app");
/// ```
///
/// # Panics
///
/// Operations panic outside a Tokio runtime, since they run on its blocking threads.
///
/// # Cancel safety
///
/// An operation that was started takes effect even if its future is dropped.
#[derive(Clone)]
pub struct File {
    directory: Directory,
    leases: Arc<Leases>,
}

const POLL: Duration = Duration::from_millis(50);

// === impl File ===

impl File {
    /// The store in this directory. Nothing is read or made yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Directory::new(directory.into()), leases: Arc::default() }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory, &Leases) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Self { directory, leases } = self.clone();
        let done = task::spawn_blocking(move || work(&directory, &leases)).await;
        done.unwrap_or_else(|_| Err(StoreError::unavailable("the runtime has shut down")))
    }
}

impl Store for File {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        let name = name.to_owned();
        Box::pin(self.blocking(move |directory, _| match directory.find(&name)? {
            Some(files) => record::load(&files, &name),
            None => Ok(None),
        }))
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        let name = name.to_owned();
        Box::pin(self.blocking(move |directory, _| {
            record::swap(&directory.find_or_make(&name)?, &name, seen, next)
        }))
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Box::pin(self.blocking(move |directory, leases| {
            leases.take(&directory.find_or_make(&name)?, &holder, ttl)
        }))
    }

    /// Looks at the file twenty times a second.
    fn changed<'a>(&'a self, name: &'a str, seen: Option<Version>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut face = None;
            loop {
                let name = name.to_owned();
                // The file is read only where its metadata differs from those of the last look.
                let look = self.blocking(move |directory, _| {
                    let files = directory.find(&name)?;
                    let now = files.as_ref().and_then(stat);
                    if face == Some(now) {
                        return Ok((now, seen));
                    }
                    let record = files.map(|files| record::load(&files, &name)).transpose()?;
                    Ok((now, record.flatten().map(|record| record.version())))
                });
                match look.await {
                    Ok((now, version)) if version == seen => face = Some(now),
                    Ok(_) => return,
                    Err(_) => face = None,
                }
                time::sleep(POLL).await;
            }
        })
    }
}

fn stat(files: &Files) -> Option<(std::time::SystemTime, u64)> {
    let metadata = fs::symlink_metadata(files.record()).ok()?;
    #[cfg(unix)]
    let identity = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let identity = metadata.len();
    Some((metadata.modified().ok()?, identity))
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}
