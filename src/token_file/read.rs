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

/// The mark that some editors put at the start of a UTF-8 file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads the text in a regular file, without a byte order mark and white space around it.
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
    refuse_special(&fs::metadata(path)?)?;
    let mut previous = None;
    for _ in 0..READS {
        let file = File::open(path)?;
        let before = file.metadata()?;
        // Asked again, because the path may have another file by now.
        refuse_special(&before)?;
        // Room for all of it, so that no copy is left behind in freed memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
        to_end(&mut (&file).take(LIMIT as u64 + 1), &mut bytes)?;
        if bytes.len() > LIMIT {
            return Err(invalid("the file is longer than 64 KiB"));
        }
        // A replaced file is another one: this one stays as it is. A file that is written in place
        // has another length or another time.
        let is_unchanged = state(&file.metadata()?) == state(&before);
        // A virtual file system may state any length: procfs states 0. Two reads in a row decide.
        let is_whole = bytes.len() as u64 == before.len() || previous.as_ref() == Some(&bytes);
        if is_unchanged && is_whole {
            return text(&bytes);
        }
        previous = Some(bytes);
    }
    Err(invalid("the file changes while it is read"))
}

fn refuse_special(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(invalid("the path names no regular file")) }
}

/// A file that is written changes one of these.
fn state(metadata: &Metadata) -> (u64, Option<SystemTime>) {
    (metadata.len(), metadata.modified().ok())
}

fn text(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    let text = str::from_utf8(bytes).map_err(|_| invalid("the file is not UTF-8"))?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim();
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
        os::unix::{fs::symlink, net::UnixListener},
        process,
        process::Command,
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
    fn a_byte_order_mark_and_white_space_around_the_text_are_ignored() {
        let folder = Folder::new();
        let contents = [
            "at-1",
            "at-1\n",
            "at-1\r\n",
            " \t at-1\r\n\n",
            "at-1\u{a0}",
            "\u{feff}at-1",
            "\u{feff} at-1\r\n",
        ];
        for content in contents {
            assert_eq!(read_text(&folder.file("token", content)).unwrap(), "at-1", "{content:?}");
        }
    }

    #[test]
    fn a_file_without_a_text_is_an_error_that_says_why() {
        let folder = Folder::new();
        let cases: [(&[u8], &str); 5] = [
            (b"", "the file is empty"),
            (b" \n\t ", "the file is empty"),
            (b"\xef\xbb\xbf\r\n", "the file is empty"),
            (b"\xff\xfeA\0", "the file is not UTF-8"),
            (b"at\xe9", "the file is not UTF-8"),
        ];
        for (content, reason) in cases {
            assert_eq!(read_text(&folder.file("token", content)).unwrap_err(), reason);
        }
        let missing = read_blocking(&folder.0.join("missing"), to_end);
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_path_to_no_regular_file_is_an_error_at_once() {
        let folder = Folder::new();
        let pipe = folder.0.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let link = folder.0.join("link");
        symlink(&pipe, &link).unwrap();
        let socket = folder.0.join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for path in [&folder.0, &pipe, &link, &socket, Path::new("/dev/zero")] {
            assert_eq!(read_text(path).unwrap_err(), "the path names no regular file", "{path:?}");
        }
    }

    /// The metadata of a file in procfs state that it is empty.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_is_read_whatever_length_its_metadata_state() {
        let path = Path::new("/proc/sys/kernel/ostype");
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        assert_eq!(read_text(path).unwrap(), "Linux");
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
