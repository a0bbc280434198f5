use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::store::{
    error::StoreError,
    frame::{MAX_BODY, OVERHEAD},
    sha256,
};

/// The directory of a store. All of its methods block.
#[derive(Clone)]
pub(super) struct Directory(PathBuf);

/// The files of one name. Each name of a file is the SHA-256 of the record's name, and an
/// extension.
pub(super) struct Files {
    directory: PathBuf,
    stem: String,
}

/// An exclusive lock of a file, until it is dropped.
pub(super) struct Lock {
    _file: File,
}

/// A symbolic link, another owner, or write access for others.
#[derive(Debug)]
struct Exposed(&'static str);

/// How long an operation waits for the lock of another process.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const NAP: Duration = Duration::from_millis(1);
const MAX_NAP: Duration = Duration::from_millis(16);

// === impl Directory ===

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The files of a name, where the directory is there.
    pub(super) fn find(&self, name: &str) -> Result<Option<Files>, StoreError> {
        match fs::canonicalize(&self.0) {
            // A symbolic link is followed once, and its target is checked and used.
            Ok(directory) => {
                check_directory(&directory)?;
                Ok(Some(Files { directory, stem: sha256::hex(name.as_bytes()) }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    /// The files of a name, in a directory that is made where it is missing.
    pub(super) fn find_or_make(&self, name: &str) -> Result<Files, StoreError> {
        if let Some(files) = self.find(name)? {
            return Ok(files);
        }
        let missing: Vec<_> = self
            .0
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .collect();
        for path in missing.into_iter().rev() {
            make_directory(path).map_err(refused)?;
        }
        self.find(name)?.ok_or_else(|| StoreError::unavailable("the directory has vanished"))
    }
}

// === impl Files ===

impl Files {
    pub(super) fn record(&self) -> PathBuf {
        self.path("record")
    }

    pub(super) fn lease(&self) -> PathBuf {
        self.path("lease")
    }

    pub(super) fn stem(&self) -> &str {
        &self.stem
    }

    /// Serialises the writers of this name. The lock file is never renamed and never removed.
    pub(super) fn lock(&self) -> Result<Lock, StoreError> {
        let file = open_lock(&self.path("lock")).map_err(refused)?;
        let (give_up_at, mut nap) = (Instant::now() + LOCK_PATIENCE, NAP);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < give_up_at => {
                    thread::sleep(nap);
                    nap = (nap * 2).min(MAX_NAP);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::unavailable("another process holds the lock"));
                }
                Err(TryLockError::Error(error)) => return Err(refused(error)),
            }
        }
    }

    /// The lock that a holder of the lease keeps, so that other processes notice its death. `None`
    /// where another holder lives.
    pub(super) fn try_lock_alive(&self) -> Result<Option<Lock>, StoreError> {
        let file = open_lock(&self.path("alive")).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }

    /// The content of a file, or `None` where there is none.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(error)),
        };
        if !metadata.is_file() {
            return Err(StoreError::denied(Exposed("the record is no regular file")));
        }
        check_private(&metadata, &self.directory)?;
        let limit = (MAX_BODY + OVERHEAD) as u64;
        if metadata.len() > limit {
            let length = metadata.len();
            return Err(StoreError::too_large(format!("{length} bytes, and {limit} are allowed")));
        }
        let mut content = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(limit + 1).read_to_end(&mut content).map_err(refused)?,
            // Deleted in between: nothing of this crate does that to a record.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(error)),
        };
        Ok(Some(content))
    }

    /// Puts a whole file in the place of another one, and makes it last. The caller holds the lock.
    ///
    /// A reader sees the old content or the new one, and a crash at any step leaves one of them.
    pub(super) fn replace(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        // The content has to be on the disk before its name is.
        self.put(path, content, |file| file.sync_all())?;
        sync_directory(&self.directory).map_err(refused)
    }

    /// Puts a whole file in the place of another one, which a crash of the machine may undo or
    /// damage. The caller holds the lock.
    pub(super) fn replace_for_now(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        self.put(path, content, |_| Ok(()))
    }

    fn put(
        &self,
        path: &Path,
        content: &[u8],
        sync: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let temporary = self.path("tmp");
        let result = self
            .write_temporary(&temporary, content, sync)
            .and_then(|()| fs::rename(&temporary, path).map_err(refused));
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    fn write_temporary(
        &self,
        path: &Path,
        content: &[u8],
        sync: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        // The lock is ours, so what is there was left behind by a writer that died.
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error)),
        }
        let mut file = create_new(path).map_err(refused)?;
        let metadata = file.metadata().map_err(refused)?;
        check_owner(&metadata, &self.directory)?;
        file.write_all(content).and_then(|()| sync(&file)).map_err(refused)
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.stem))
    }
}

/// Opens a lock file, and makes it where it is missing.
fn open_lock(path: &Path) -> io::Result<File> {
    let give_up_at = Instant::now() + LOCK_PATIENCE;
    loop {
        let result = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => create_new(path),
            result => result,
        };
        match result {
            // Made by another process in this moment, which has not set its mode yet under a
            // restrictive umask.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AlreadyExists | ErrorKind::PermissionDenied
                ) && made_just_now(path)
                    && Instant::now() < give_up_at =>
            {
                thread::sleep(NAP);
            }
            result => return result,
        }
    }
}

fn made_just_now(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
    !matches!(age, Ok(Ok(age)) if age > LOCK_PATIENCE)
}

/// Makes a file that its owner alone may read and write, under any umask.
fn create_new(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

fn make_directory(path: &Path) -> io::Result<()> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "a mode is a thing of Unix"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

fn check_directory(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(refused)?;
    if !metadata.is_dir() {
        return Err(StoreError::denied(Exposed("the path is no directory")));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        if metadata.mode() & 0o022 != 0 {
            return Err(StoreError::denied(Exposed("others may write to the directory")));
        }
        if effective_user().is_some_and(|me| me != metadata.uid()) {
            return Err(StoreError::denied(Exposed("the directory has another owner")));
        }
    }
    Ok(())
}

/// The effective user of this process, where the kernel tells. Elsewhere the first write finds out
/// whether the directory is another user's.
///
/// The owner of `/proc/self` would be root for a process that may not be dumped.
#[cfg(unix)]
fn effective_user() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().nth(1)?.parse().ok()
}

fn check_private(metadata: &fs::Metadata, directory: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(metadata) & 0o022 != 0 {
        return Err(StoreError::denied(Exposed("others may write to the record")));
    }
    check_owner(metadata, directory)
}

#[cfg_attr(not(unix), expect(unused_variables, reason = "owners are a thing of Unix"))]
fn check_owner(metadata: &fs::Metadata, directory: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        if metadata.uid() != fs::metadata(directory).map_err(refused)?.uid() {
            return Err(StoreError::denied(Exposed("a file has another owner than its directory")));
        }
    }
    Ok(())
}

/// Makes a rename last. Only Unix lets a directory be opened for this.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

fn refused(error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            StoreError::denied(error)
        }
        _ => StoreError::unavailable(error),
    }
}

// === impl Exposed ===

impl std::fmt::Display for Exposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Exposed {}
