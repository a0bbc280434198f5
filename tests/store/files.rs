//! `File` in damaged, exposed and full directories.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use tower_refresh::store::{File, Store, StoreErrorKind, Swapped};

use crate::support::{Endpoint, access_token, forged, replica, temporary, token, write};

/// Turns the whole content of a record into a damaged one.
type Damage = fn(&[u8]) -> Vec<u8>;

async fn content(store: &File, name: &str) -> Option<Bytes> {
    store.load(name).await.unwrap().map(|record| record.bytes().clone())
}

async fn kind(store: &File, name: &str) -> StoreErrorKind {
    let error = store.load(name).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("zoe") && !shown.contains("content"), "{shown}");
    error.kind()
}

/// A directory with the record of `zoe`, and the path of that.
async fn directory() -> (PathBuf, File, PathBuf) {
    let path = temporary("files");
    let store = File::new(&path);
    write(&store, "zoe", None, b"content").await;
    let record = find(&path, "record");
    (path, store, record)
}

fn find(directory: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files = files.filter(|path| path.extension().is_some_and(|found| found == extension));
    files.next().expect("there is one")
}

#[tokio::test]
async fn a_missing_directory_is_an_empty_store_and_is_made_by_the_first_write() {
    let path = temporary("missing").join("a/b");
    let store = File::new(&path);
    assert_eq!(content(&store, "zoe").await, None);
    assert!(!path.exists());
    write(&store, "zoe", None, b"content").await;
    assert_eq!(&content(&store, "zoe").await.unwrap()[..], b"content");
}

#[tokio::test]
async fn a_store_that_is_opened_again_has_its_records_and_uses_no_version_twice() {
    let (path, store, record) = directory().await;
    let first = store.load("zoe").await.unwrap().unwrap().version();
    drop(store);
    let store = File::new(&path);
    assert_eq!(&content(&store, "zoe").await.unwrap()[..], b"content");
    // Removed by hand, with its version.
    fs::remove_file(record).unwrap();
    assert_eq!(content(&store, "zoe").await, None);
    assert!(write(&store, "zoe", None, b"again").await > first);
}

#[tokio::test]
async fn a_record_that_is_cut_off_at_any_byte_is_corrupt_and_stays() {
    let (_, store, record) = directory().await;
    let whole = fs::read(&record).unwrap();
    for end in 0..whole.len() {
        fs::write(&record, &whole[..end]).unwrap();
        assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Corrupt, "{end}");
        let swapped = store.swap("zoe", None, Some(Bytes::new())).await;
        assert_eq!(swapped.unwrap_err().kind(), StoreErrorKind::Corrupt, "{end}");
    }
    assert_eq!(fs::read(&record).unwrap(), whole[..whole.len() - 1]);
}

#[tokio::test]
async fn a_record_of_another_name_or_program_or_of_10_mb_is_refused() {
    let (path, store, record) = directory().await;
    write(&store, "bob", None, b"content").await;
    fs::remove_file(&record).unwrap();
    fs::rename(find(&path, "record"), &record).unwrap();
    assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Incompatible);
    fs::write(&record, "{}").unwrap();
    assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Corrupt);
    fs::write(&record, vec![b'x'; 10_000_000]).unwrap();
    assert_eq!(kind(&store, "zoe").await, StoreErrorKind::TooLarge);
}

/// The content of a file with another format number, and a check sum that is right.
fn with_format(whole: &[u8], format: u8) -> Vec<u8> {
    forged(whole, |bytes| bytes[8] = format)
}

#[tokio::test]
async fn a_record_of_a_newer_format_is_incompatible() {
    let (_, store, record) = directory().await;
    let whole = fs::read(&record).unwrap();
    fs::write(&record, with_format(&whole, 1)).unwrap();
    assert_eq!(&content(&store, "zoe").await.unwrap()[..], b"content");
    fs::write(&record, with_format(&whole, 2)).unwrap();
    assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Incompatible);
}

#[tokio::test]
async fn a_damaged_record_is_no_logout_and_a_login_and_a_logout_write_over_it() {
    let damages: [Damage; 5] = [
        |_| Vec::new(),
        |whole| whole[..whole.len() / 2].to_vec(),
        |whole| with_format(whole, 2),
        |_| b"{\"access_token\":\"at-1\"}".to_vec(),
        |_| vec![b'x'; 10_000_000],
    ];
    for damage in damages {
        for is_login in [true, false] {
            let (path, endpoint) = (temporary("damaged"), Endpoint::default());
            let (session, driver) = replica(&endpoint, File::new(&path));
            driver.login(&session, token(1, true)).await.unwrap();
            let record = find(&path, "record");
            let damaged = damage(&fs::read(&record).unwrap());
            fs::write(&record, &damaged).unwrap();

            drop(session.refresh().await.unwrap_err());
            assert_eq!((access_token(&session).as_deref(), endpoint.calls()), (Some("at-1"), 0));
            assert_eq!(fs::read(&record).unwrap(), damaged);
            if is_login {
                driver.login(&session, token(2, true)).await.unwrap();
            } else {
                driver.logout(&session).await.unwrap();
            }
            let (other, driver) = replica(&endpoint, File::new(&path));
            driver.open(&other).await.unwrap();
            assert_eq!(access_token(&other).as_deref(), is_login.then_some("at-2"));
        }
    }
}

#[tokio::test]
async fn a_temporary_file_that_was_left_behind_is_replaced_by_the_next_write() {
    let (path, store, record) = directory().await;
    let stale = record.with_extension("tmp");
    fs::write(&stale, "half a rec").unwrap();
    let seen = store.load("zoe").await.unwrap().unwrap().version();
    write(&store, "zoe", Some(seen), b"next").await;
    assert_eq!(&content(&store, "zoe").await.unwrap()[..], b"next");
    assert!(!stale.exists());
    let names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "a record and a lock: {names:?}");
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("zoe")));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Run by the next test, in a process with another umask.
    #[tokio::test]
    #[ignore = "a part of the next test"]
    async fn writes_under_a_umask() {
        let Some(path) = std::env::var_os("STORE_DIRECTORY") else { return };
        let store = File::new(path);
        let version = write(&store, "zoe", None, b"content").await;
        write(&store, "zoe", Some(version), b"next").await;
        store.lease("zoe", "one", std::time::Duration::from_secs(60)).await.unwrap();
        assert_eq!(&content(&store, "zoe").await.unwrap()[..], b"next");
    }

    #[test]
    fn directories_and_files_are_private_under_any_umask() {
        for umask in ["0000", "0022", "0077", "0277", "0777"] {
            let path = temporary("umask").join("a/b");
            fs::create_dir_all(path.parent().unwrap().parent().unwrap()).unwrap();
            let status = Command::new("sh")
                .arg("-c")
                .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
                .arg(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "files::unix::writes_under_a_umask"])
                .env("STORE_DIRECTORY", &path)
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert!(status.success(), "{umask}");
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700), "{umask}");
            let files: Vec<_> = fs::read_dir(&path).unwrap().collect();
            assert_eq!(files.len(), 4, "record, lock, lease and alive");
            for file in files {
                let file = file.unwrap().path();
                assert_eq!(mode(&file), 0o600, "{umask}: {file:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_others_may_write_to_is_refused() {
        let (path, store, record) = directory().await;
        for open in [0o770, 0o702, 0o1777] {
            chmod(&path, open);
            assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Denied, "{open:o}");
            let swapped = store.swap("zoe", None, Some(Bytes::new())).await;
            assert_eq!(swapped.unwrap_err().kind(), StoreErrorKind::Denied, "{open:o}");
        }
        chmod(&path, 0o700);
        for open in [0o620, 0o602] {
            chmod(&record, open);
            assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Denied, "{open:o}");
        }
        chmod(&record, 0o600);
        assert!(content(&store, "zoe").await.is_some());
    }

    #[tokio::test]
    async fn a_symbolic_link_to_a_directory_is_followed_and_one_to_a_record_is_refused() {
        let (path, _, record) = directory().await;
        let link = temporary("link");
        symlink(&path, &link).unwrap();
        let store = File::new(&link);
        assert!(content(&store, "zoe").await.is_some());
        chmod(&path, 0o777);
        assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Denied, "its target is checked");
        chmod(&path, 0o700);

        let elsewhere = temporary("elsewhere");
        fs::rename(&record, &elsewhere).unwrap();
        symlink(&elsewhere, &record).unwrap();
        assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Denied);
    }

    #[tokio::test]
    async fn a_path_that_is_no_directory_is_refused() {
        let path = temporary("no-directory");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(kind(&File::new(&path), "zoe").await, StoreErrorKind::Denied);
        assert_eq!(kind(&File::new(path.join("below")), "zoe").await, StoreErrorKind::Denied);
    }

    #[tokio::test]
    async fn another_owner_is_refused() {
        let (path, store, record) = directory().await;
        if fs::metadata(&path).unwrap().uid() != 0 {
            println!("skipped: only root gives a directory away");
            return;
        }
        std::os::unix::fs::chown(&record, Some(65534), None).unwrap();
        assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Denied);
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert_eq!(kind(&store, "zoe").await, StoreErrorKind::Denied);
    }

    #[tokio::test]
    async fn a_directory_that_is_read_only_is_denied_and_still_read() {
        let (path, store, _) = directory().await;
        if fs::metadata(&path).unwrap().uid() == 0 {
            println!("skipped: root may write to any directory");
            return;
        }
        chmod(&path, 0o500);
        let seen = store.load("zoe").await.unwrap().unwrap().version();
        let swapped = store.swap("zoe", Some(seen), Some(Bytes::new())).await;
        assert_eq!(swapped.unwrap_err().kind(), StoreErrorKind::Denied);
        chmod(&path, 0o700);
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_and_the_old_record_stays() {
        let path = temporary("full");
        fs::create_dir_all(&path).unwrap();
        chmod(&path, 0o700);
        let mount = |arguments: &[&str]| {
            let command = Command::new(arguments[0]).args(&arguments[1..]).arg(&path).output();
            command.is_ok_and(|output| output.status.success())
        };
        if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"]) {
            println!("skipped: only root mounts a small file system");
            return;
        }
        let store = File::new(&path);
        let seen = write(&store, "zoe", None, b"content").await;
        let large = Bytes::from(vec![b'x'; 100_000]);
        let error = store.swap("zoe", Some(seen), Some(large)).await.unwrap_err();
        let (kept, names) = (content(&store, "zoe").await, fs::read_dir(&path).unwrap().count());
        let next = store.swap("zoe", Some(seen), Some(Bytes::from_static(b"next"))).await;
        assert!(mount(&["umount"]));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert_eq!(&kept.unwrap()[..], b"content");
        assert_eq!(names, 2, "the temporary file is gone");
        assert!(matches!(next, Ok(Swapped::Done(_))));
    }
}
