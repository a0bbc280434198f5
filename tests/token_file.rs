//! A token in a file that another program rotates, through a session and its layer.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use support::*;
use tokio::time::advance;
use tower::Layer;
use tower_refresh::{
    Credential, ErrorKind, Origins, Refresh, RefreshContext, RefreshErrorKind, RefreshLayer,
    Refresher, Session, Token, refresher::Cause, session::Phase, token_file::TokenFile,
};

/// A file in a directory of its own.
struct Rotated {
    folder: PathBuf,
}

/// A wall clock that the test sets, in seconds since the epoch.
#[derive(Clone)]
struct Clock(Arc<Mutex<u64>>);

const START: u64 = 1_000_000;

// === impl Rotated ===

impl Rotated {
    fn with(token: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("token-file-{}-{}", process::id(), NUMBER.fetch_add(1, SeqCst));
        let rotated = Self { folder: env::temp_dir().join(name) };
        fs::create_dir(&rotated.folder).unwrap();
        rotated.rotate(token);
        rotated
    }

    fn path(&self) -> PathBuf {
        self.folder.join("token")
    }

    /// Replaces the file in one step.
    fn rotate(&self, token: impl AsRef<[u8]>) {
        let next = self.folder.join("next");
        fs::write(&next, token).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    fn refresher(&self) -> TokenFile {
        TokenFile::new(self.path())
    }
}

impl Drop for Rotated {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

// === impl Clock ===

impl Clock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(START)))
    }

    fn set(&self, seconds: u64) {
        *self.0.lock().unwrap() = seconds;
    }

    fn now(&self) -> SystemTime {
        at(*self.0.lock().unwrap())
    }

    fn context(&self, cause: Cause) -> RefreshContext {
        let clock = self.clone();
        RefreshContext::new(cause).with_clock(move || clock.now())
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn jwt(name: &str, exp: u64) -> String {
    let payload = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"jti":"{name}","exp":{exp}}}"#));
    format!("e30.{payload}.c2ln")
}

#[tokio::test]
async fn a_rejection_reads_the_file_again() {
    let rotated = Rotated::with("at-1\n");
    let session: Session = Session::builder(rotated.refresher()).acquire_on_demand(true).build();
    let upstream = Upstream::accepting(&["at-1"]);
    let client = RefreshLayer::new(session, Origins::any()).layer(upstream.clone());
    assert_eq!(client.request(get("/")).await.unwrap().status(), 200);
    rotated.rotate("at-2");
    assert_eq!(client.request(get("/")).await.unwrap().status(), 200, "the old one is in use");
    upstream.accept_only(&["at-2"]);
    assert_eq!(client.request(get("/")).await.unwrap().status(), 200);
    assert_eq!(upstream.log(), ["at-1", "at-1", "at-1", "at-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_without_another_token_is_a_transient_failure_and_no_logout() {
    let contents: [(&str, Option<Vec<u8>>); 13] = [
        ("unchanged", Some(b"at-1".to_vec())),
        ("unchanged, in another form", Some(b"\xef\xbb\xbfat-1\r\n".to_vec())),
        ("empty", Some(b"".to_vec())),
        ("white space", Some(b" \n".to_vec())),
        ("a byte order mark", Some(b"\xef\xbb\xbf".to_vec())),
        ("two words", Some(b"two words".to_vec())),
        ("two lines", Some(b"at-2\r\nat-3\r\n".to_vec())),
        ("a control character", Some(b"at-2\0".to_vec())),
        ("not ASCII", Some("at-\u{e9}".into())),
        ("not UTF-8", Some(b"at-\xe9".to_vec())),
        ("UTF-16", Some(b"\xff\xfea\0t\0".to_vec())),
        ("a mebibyte", Some(vec![b'a'; 1024 * 1024])),
        ("missing", None),
    ];
    for (what, content) in contents {
        let rotated = Rotated::with("at-1");
        let session = Session::new(token("at-1"), rotated.refresher());
        let upstream = Upstream::accepting(&["at-2"]);
        let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());
        match content {
            Some(content) => rotated.rotate(content),
            None => fs::remove_file(rotated.path()).unwrap(),
        }
        let error = client.request(get("/")).await.unwrap_err();
        assert!(!format!("{error:?}").contains("at-1"), "{error:?}");
        let state = session.state();
        let Phase::Failed(failure) = state.phase() else { panic!("{what}: {state:?}") };
        assert_eq!(failure.error().kind(), RefreshErrorKind::Transient, "{what}");

        rotated.rotate("at-2");
        after_back_off().await;
        assert_eq!(client.request(get("/")).await.unwrap().status(), 200, "{what}");
    }
}

/// Tokens that an upstream may reject although the session has just read them.
fn stale_tokens() -> [String; 3] {
    [jwt("expired", START - 10), jwt("revoked", START + 3600), "opaque".into()]
}

/// A session that has read the file, and has been rejected with its token.
async fn rejected_session(rotated: &Rotated, upstream: &Upstream) -> (Refresh<Upstream>, Session) {
    let clock = Clock::new();
    let session: Session = Session::builder(rotated.refresher())
        .clock(move || clock.now())
        .acquire_on_demand(true)
        .build();
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());
    // The upstream decides about a token, also about one that has expired by this clock.
    assert_eq!(client.request(get("/")).await.unwrap().status(), 401);
    (client, session)
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_never_accepted_is_replaced_as_soon_as_the_file_has_another_one() {
    for stale in stale_tokens() {
        let rotated = Rotated::with(&stale);
        let upstream = Upstream::accepting(&["at-2"]);
        let (client, _session) = rejected_session(&rotated, &upstream).await;
        rotated.rotate("at-2");
        assert_eq!(client.request(get("/")).await.unwrap().status(), 200, "{stale}");
        assert_eq!(upstream.log(), [&*stale, &*stale, "at-2"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_file_is_read_each_second_while_it_has_a_rejected_token() {
    for stale in stale_tokens() {
        let rotated = Rotated::with(&stale);
        let upstream = Upstream::accepting(&["at-2"]);
        let (client, session) = rejected_session(&rotated, &upstream).await;
        for second in 1..=40 {
            for _ in 0..10 {
                let error = client.request(get("/")).await.unwrap_err();
                assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed, "{stale}");
            }
            assert_eq!(session.state().flights_started(), 1 + second, "{stale}");
            advance(Duration::from_secs(1)).await;
        }
        rotated.rotate("at-2");
        assert_eq!(client.request(get("/")).await.unwrap().status(), 200, "{stale}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_file_is_read_each_second_while_it_has_the_token_that_has_expired() {
    let clock = Clock::new();
    let rotated = Rotated::with(&jwt("a", START + 90));
    let upstream = Upstream::accepting(&[&jwt("a", START + 90), "at-2"]);
    let wall = clock.clone();
    let session: Session = Session::builder(rotated.refresher())
        .clock(move || wall.now())
        .acquire_on_demand(true)
        .build();
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());
    for second in [0, 29, 30, 60, 89] {
        clock.set(START + second);
        assert_eq!(client.request(get("/")).await.unwrap().status(), 200, "{second}");
    }
    for second in 90..150 {
        clock.set(START + second);
        let error = client.request(get("/")).await.unwrap_err();
        assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed, "{second}");
        advance(Duration::from_secs(1)).await;
    }
    rotated.rotate("at-2");
    assert_eq!(client.request(get("/")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_path_to_no_regular_file_is_a_transient_failure() {
    for path in [env::temp_dir(), "/dev/zero".into(), "/dev/null".into(), "".into()] {
        let refresher = TokenFile::new(&path);
        let error = refresher.refresh(RefreshContext::new(Cause::Missing)).await.unwrap_err();
        assert_eq!(error.kind(), RefreshErrorKind::Transient, "{path:?}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_and_white_space_are_no_part_of_the_token() {
    for content in ["at-1", "at-1\n", "at-1\r\n", "\u{feff}at-1\r\n", "\t at-1 \n\n"] {
        let rotated = Rotated::with(content);
        let context = RefreshContext::new(Cause::Missing);
        let token = rotated.refresher().refresh(context).await.unwrap();
        assert_eq!(token.access_token(), "at-1", "{content:?}");
    }
}

#[tokio::test]
async fn a_jwt_is_due_at_its_exp_less_the_margin_and_any_other_token_after_a_minute() {
    let clock = Clock::new();
    let hour = START + 3600;
    let cases = [
        (jwt("a", hour), 60, hour - 60),
        (jwt("a", hour), 600, hour - 600),
        // Within the margin already.
        (jwt("a", START + 30), 60, START + 30),
        (jwt("a", START + 300), 600, START + 60),
        // Expired by this clock, which may be wrong.
        (jwt("a", START - 10), 60, START - 10),
        ("opaque".into(), 600, START + 60),
    ];
    for (token, margin, expected) in cases {
        let rotated = Rotated::with(&token);
        let refresher = rotated.refresher().margin(Duration::from_secs(margin));
        let read = refresher.refresh(clock.context(Cause::Missing)).await.unwrap();
        assert_eq!(read.access_token(), token);
        assert_eq!(read.expires_at(clock.now()), Some(at(expected)), "{token}, {margin}");
    }
}

#[tokio::test]
async fn a_token_that_has_not_expired_stays_in_use_whatever_the_file_has() {
    let clock = Clock::new();
    let exp = START + 3600;
    let tokens = [(jwt("a", exp), Some(exp)), ("opaque".into(), None)];
    for (token, exp) in tokens {
        let rotated = Rotated::with(&token);
        let refresher = rotated.refresher();
        clock.set(START);
        let current = Arc::new(refresher.refresh(clock.context(Cause::Missing)).await.unwrap());
        let again = |cause| {
            let context = clock.context(cause).with_current(current.clone());
            let refresher = refresher.clone();
            async move { refresher.refresh(context).await }
        };
        for content in [Some(&*token), Some(""), Some("two words"), None] {
            match content {
                Some(content) => rotated.rotate(content),
                None => fs::remove_file(rotated.path()).unwrap(),
            }
            for (now, due) in [(START + 3550, START + 3600), (START + 3500, START + 3560)] {
                clock.set(now);
                let kept = again(Cause::Expiring).await.unwrap();
                assert_eq!(kept.access_token(), token, "{content:?}");
                let due = if exp.is_some() { due } else { now + 60 };
                assert_eq!(kept.expires_at(clock.now()), Some(at(due)), "{content:?}");
            }
            for cause in [Cause::Rejected, Cause::Forced] {
                let error = again(cause).await.unwrap_err();
                assert_eq!(error.kind(), RefreshErrorKind::Transient, "{content:?}, {cause:?}");
            }
            // Of an expired token nothing is kept.
            clock.set(START + 3600);
            assert_eq!(again(Cause::Expiring).await.is_err(), exp.is_some(), "{content:?}");
        }
    }
}

#[tokio::test]
async fn a_token_that_was_rejected_is_not_kept_for_the_next_login() {
    let rotated = Rotated::with("at-1");
    let rejected = Arc::new(Token::bearer("at-1").unwrap());
    let context = RefreshContext::new(Cause::Missing).with_current(rejected);
    assert!(rotated.refresher().refresh(context).await.is_err());
}

#[test]
fn the_refresher_shows_its_path_and_no_token() {
    let rotated = Rotated::with("at-1");
    let shown = format!("{:?}", rotated.refresher());
    assert!(shown.contains("token") && !shown.contains("at-1"), "{shown}");
}
