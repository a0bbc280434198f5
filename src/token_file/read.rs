use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use tokio::task;
use zeroize::Zeroizing;

/// The most that a token may have. Larger ones fit in no header.
const LIMIT: usize = 64 * 1024;

/// Reads of a file that changes meanwhile, before it counts as a failure.
const READS: usize = 3;

/// Reads the text in a file, without white space around it.
///
/// The file is opened by a task that may block. An error says what is wrong and shows nothing of
/// the text.
pub(crate) async fn read(path: PathBuf) -> io::Result<Zeroizing<String>> {
    match task::spawn_blocking(move || read_blocking(&path, to_end)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the runtime has shut down")),
    }
}

fn to_end(file: &mut dyn Read, bytes: &mut Vec<u8>) -> io::Result<usize> {
    file.read_to_end(bytes)
}

fn read_blocking(
    path: &Path,
    to_end: impl Fn(&mut dyn Read, &mut Vec<u8>) -> io::Result<usize>,
) -> io::Result<Zeroizing<String>> {
    // Asked before the file is opened: opening a named pipe blocks until another program writes.
    if !fs::metadata(path)?.is_file() {
        return Err(invalid("the path names no file"));
    }
    for _ in 0..READS {
        let file = File::open(path)?;
        let before = file.metadata()?;
        // Room for all of it, so that no copy is left behind in freed memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
        to_end(&mut (&file).take(LIMIT as u64 + 1), &mut bytes)?;
        if bytes.len() > LIMIT {
            return Err(invalid("the file is longer than 64 KiB"));
        }
        // A replaced file is another one: this one stays as it is. A file that is written in place
        // has another length or another time.
        if state(&file.metadata()?) == state(&before) && bytes.len() as u64 == before.len() {
            return text(&bytes);
        }
    }
    Err(invalid("the file changes while it is read"))
}

/// A file that is written changes one of these.
fn state(metadata: &Metadata) -> (u64, Option<SystemTime>) {
    (metadata.len(), metadata.modified().ok())
}

fn text(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    let text = str::from_utf8(bytes).map_err(|_| invalid("the file is not UTF-8"))?.trim();
    if text.is_empty() {
        return Err(invalid("the file is empty"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        os::unix::fs::symlink,
        process,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use super::*;

    /// A directory of its own for each test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NUMBER: AtomicUsize = AtomicUsize::new(0);
            let name = format!("tower-refresh-{}-{}", process::id(), NUMBER.fetch_add(1, SeqCst));
            let path = env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read_text(path: &Path) -> Result<String, String> {
        let read = read_blocking(path, to_end);
        read.map(|text| text.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn white_space_around_the_text_is_ignored() {
        let folder = Folder::new();
        for content in ["at-1", "at-1\n", " \t at-1\r\n\n", "at-1\u{a0}"] {
            assert_eq!(read_text(&folder.file("token", content)).unwrap(), "at-1", "{content:?}");
        }
    }

    #[test]
    fn a_file_without_a_text_is_an_error_that_says_why() {
        let folder = Folder::new();
        let cases: [(&[u8], &str); 3] = [
            (b"", "the file is empty"),
            (b" \n\t ", "the file is empty"),
            (&[0xff, 0xfe, 0x41], "the file is not UTF-8"),
        ];
        for (content, reason) in cases {
            assert_eq!(read_text(&folder.file("token", content)).unwrap_err(), reason);
        }
        assert_eq!(read_text(&folder.0).unwrap_err(), "the path names no file");
        assert_eq!(read_text(Path::new("/dev/zero")).unwrap_err(), "the path names no file");
        let missing = read_blocking(&folder.0.join("missing"), to_end);
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn sixty_four_kibibytes_are_read_and_not_one_more() {
        let folder = Folder::new();
        let longest = folder.file("token", "a".repeat(LIMIT));
        assert_eq!(read_text(&longest).unwrap().len(), LIMIT);
        for length in [LIMIT + 1, 1024 * 1024] {
            let longer = folder.file("token", "a".repeat(length));
            assert_eq!(read_text(&longer).unwrap_err(), "the file is longer than 64 KiB");
        }
    }

    #[test]
    fn a_symbolic_link_is_followed_to_the_file_that_it_names_now() {
        let folder = Folder::new();
        let (one, other) = (folder.file("1", "at-1"), folder.file("2", "at-2"));
        let (link, next) = (folder.0.join("token"), folder.0.join("next"));
        symlink(&one, &link).unwrap();
        assert_eq!(read_text(&link).unwrap(), "at-1");
        symlink(&other, &next).unwrap();
        fs::rename(&next, &link).unwrap();
        assert_eq!(read_text(&link).unwrap(), "at-2");
        // As Kubernetes removes the old directory after a swap.
        fs::remove_file(&other).unwrap();
        assert!(read_text(&link).is_err());
    }

    #[test]
    fn a_file_that_is_swapped_while_it_is_read_is_read_whole() {
        let folder = Folder::new();
        let path = folder.file("token", "the old token");
        let reads = AtomicUsize::new(0);
        let read = read_blocking(&path, |file, bytes| {
            if reads.fetch_add(1, SeqCst) == 0 {
                let next = folder.file("next", "the new token, which is longer");
                fs::rename(next, &path).unwrap();
            }
            file.read_to_end(bytes)
        });
        assert_eq!((&**read.unwrap(), reads.load(SeqCst)), ("the old token", 1));
    }

    #[test]
    fn a_file_that_is_written_in_place_while_it_is_read_is_read_again() {
        let folder = Folder::new();
        let path = folder.file("token", "the old token");
        let reads = AtomicUsize::new(0);
        let read = |writes: usize| {
            reads.store(0, SeqCst);
            read_blocking(&path, |file, bytes| {
                let count = file.read_to_end(bytes)?;
                let number = reads.fetch_add(1, SeqCst);
                if number < writes {
                    fs::write(&path, "x".repeat(20 + number)).unwrap();
                }
                Ok(count)
            })
        };
        assert_eq!(&**read(1).unwrap(), "x".repeat(20));
        assert_eq!(reads.load(SeqCst), 2);
        let failure = read(READS).unwrap_err();
        assert_eq!(failure.to_string(), "the file changes while it is read");
        assert_eq!(reads.load(SeqCst), READS);
    }
}
