//! What a peer does in trouble: each cell of a table of facts.

use std::{sync::Once, time::Duration};

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::StatusCode;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::BoxError;

use crate::{
    effort::Effort,
    issuer::{Answer, FirstToken, Issuer},
    peer::{Client, Environment, Peer},
    request,
    upstream::Upstream,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    StarterCancelled,
    AllCancelled,
    Unavailable,
    Silent,
    Refused,
    Panic,
    Logout,
    AnotherUser,
    LateRejection,
    RejectedAgain,
    ClockOff,
    SmallUpload,
    LargeUpload,
}

/// The counts of one herd.
#[derive(Default)]
struct Facts {
    refreshes: usize,
    answered: usize,
    rejected: usize,
    failed: usize,
    panicked: usize,
    stuck: usize,
    strays: usize,
    /// The words for the strays.
    stray: &'static str,
    uploads: Uploads,
}

/// The counts of the accepted uploads.
#[derive(Default)]
struct Uploads {
    whole: usize,
    empty: usize,
    /// Uploads that end early.
    truncated: usize,
    altered: usize,
}

/// The requests that are sent together.
const HERD: usize = 10;
/// The time that a refresh takes.
const REFRESH: Duration = Duration::from_millis(200);
/// The moment of a logout or a cancellation, after the start.
const MIDDLE: Duration = Duration::from_millis(100);
/// A request without an answer after this time is stuck. The longest wait that a peer has by
/// default is four attempts of 30 seconds each, with pauses between them.
const LIMIT: Duration = Duration::from_secs(150);

// === impl Trouble ===

impl Trouble {
    /// All troubles, in the order of their columns.
    pub(crate) const ALL: [Self; 13] = [
        Self::StarterCancelled,
        Self::AllCancelled,
        Self::Logout,
        Self::AnotherUser,
        Self::Unavailable,
        Self::Silent,
        Self::Refused,
        Self::Panic,
        Self::LateRejection,
        Self::RejectedAgain,
        Self::ClockOff,
        Self::SmallUpload,
        Self::LargeUpload,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StarterCancelled => "the caller that started it is cancelled",
            Self::AllCancelled => "all callers are cancelled",
            Self::Unavailable => "the refresh answers 503",
            Self::Silent => "the refresh never answers",
            Self::Refused => "the refresh is refused",
            Self::Panic => "the refresh panics",
            Self::Logout => "the user logs out while it runs",
            Self::AnotherUser => "another user logs in while it runs",
            Self::LateRejection => "one 401 comes after the refresh",
            Self::RejectedAgain => "the new token is rejected too",
            Self::ClockOff => "each new token has expired already",
            Self::SmallUpload => "an upload of 32 KiB",
            Self::LargeUpload => "an upload of 1 MiB",
        }
    }

    fn answer(self) -> Answer {
        match self {
            Self::Unavailable => Answer::Unavailable,
            Self::Silent => Answer::Never,
            Self::Refused => Answer::Refused,
            Self::Panic => Answer::Panic,
            Self::ClockOff => Answer::ExpiredToken,
            _ => Answer::Token,
        }
    }

    fn stray(self) -> &'static str {
        match self {
            Self::Logout => "sent with a token after the logout",
            _ => "sent as the other user",
        }
    }

    /// The content of the herd's uploads.
    fn upload(self) -> Option<Bytes> {
        match self {
            Self::SmallUpload => Some(request::content(32 * 1024)),
            Self::LargeUpload => Some(request::content(1024 * 1024)),
            _ => None,
        }
    }

    /// Whether the upstream rejects requests whose token is valid by the clock.
    fn is_about_rejections(self) -> bool {
        matches!(
            self,
            Self::LateRejection | Self::RejectedAgain | Self::SmallUpload | Self::LargeUpload
        )
    }

    /// Whether one more request is sent after the herd.
    fn has_one_more(self) -> bool {
        matches!(self, Self::AllCancelled | Self::Refused | Self::Panic)
    }
}

/// The facts of a peer that never refreshes.
pub(crate) const NO_REFRESH: &str = "never refreshes";

/// The facts of a peer in all troubles, which run at the same time. On one thread the order of the
/// requests is fixed.
pub(crate) fn run_all<P: Peer>(effort: Effort) -> Result<Vec<String>, BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let facts =
        runtime.block_on(try_join_all(Trouble::ALL.map(|trouble| run::<P>(trouble, effort))));
    // Stuck tasks would delay a shutdown that waits for them.
    runtime.shutdown_background();
    facts
}

/// The facts of a peer in one trouble, or the reason why there are none.
async fn run<P: Peer>(trouble: Trouble, effort: Effort) -> Result<String, BoxError> {
    if !P::REFRESHES {
        return Ok(NO_REFRESH.into());
    }
    if trouble == Trouble::Silent && effort == Effort::Once {
        return Ok("–".into());
    }
    if trouble == Trouble::Panic && !P::ASKS_IN_PROCESS {
        return Ok("refreshes with code of its own".into());
    }
    if trouble.is_about_rejections() && P::REFRESHES_AFTER != FirstToken::Valid {
        return Ok("returns each 401".into());
    }
    let upstream = match trouble {
        Trouble::LateRejection => Upstream::with_late_rejection(HERD),
        _ => Upstream::new(HERD),
    };
    let issuer = Issuer::with(P::REFRESHES_AFTER, REFRESH, trouble.answer());
    let environment = Environment::of(upstream, issuer).await?;
    let mut client = P::client(&environment).await?;
    let operation = match trouble {
        Trouble::Logout => &environment.account.log_out,
        _ => &environment.account.switch_user,
    };
    let operation = operation.lock().expect("no thread panics with the lock").take();
    if matches!(trouble, Trouble::Logout | Trouble::AnotherUser) && operation.is_none() {
        return Ok("has no such call".into());
    }
    if P::REFRESHES_AFTER == FirstToken::Valid {
        client.send(P::request()).await?;
    }
    if trouble == Trouble::RejectedAgain {
        environment.upstream.reject_all();
    }
    environment.upstream.revoke();
    environment.issuer.begin_herd();

    let upload = trouble.upload();
    let mut requests = JoinSet::new();
    let mut handles = Vec::new();
    for _ in 0..HERD {
        let mut client = client.clone();
        let upload = upload.clone();
        handles.push(requests.spawn(async move {
            match upload {
                Some(content) => client.send(P::upload(content)).await,
                None => client.send(P::request()).await,
            }
        }));
    }
    sleep(MIDDLE).await;
    match trouble {
        Trouble::StarterCancelled => handles[starter::<P>()].abort(),
        Trouble::AllCancelled => handles.iter().for_each(|handle| handle.abort()),
        Trouble::Logout => {
            operation.expect("it was checked")().await;
            environment.upstream.log_out();
        }
        Trouble::AnotherUser => operation.expect("it was checked")().await,
        Trouble::LateRejection => {
            sleep(2 * REFRESH).await;
            environment.upstream.release();
        }
        _ => {}
    }
    let mut facts = Facts { stray: trouble.stray(), ..Facts::default() };
    let all = async {
        while let Some(result) = requests.join_next().await {
            facts.count(result);
        }
    };
    drop(timeout(LIMIT, all).await);
    facts.stuck = requests.len();
    facts.refreshes = environment.issuer.refreshes();
    facts.strays = environment.upstream.strays();
    if let Some(content) = upload {
        for accepted in environment.upstream.take_uploads() {
            facts.uploads.count(&accepted, &content);
        }
        return Ok(format!("{}: {facts}", P::UPLOAD));
    }
    if !trouble.has_one_more() {
        return Ok(facts.to_string());
    }
    let one_more = timeout(LIMIT, tokio::spawn(async move { client.send(P::request()).await }));
    let one_more = match one_more.await {
        Ok(Ok(Ok(status))) => status.as_str().to_owned(),
        Ok(Ok(Err(_))) => "an error".into(),
        Ok(Err(_)) => "a panic".into(),
        Err(_) => "nothing".into(),
    };
    let others = environment.issuer.refreshes() - facts.refreshes;
    Ok(format!("{facts}; then {one_more}, {}", refreshes(others)))
}

/// The request that starts the refresh. The last request of a rejected herd opens the upstream's
/// gate, and is the first one that goes on.
fn starter<P: Peer>() -> usize {
    if P::REFRESHES_AFTER == FirstToken::Valid { HERD - 1 } else { 0 }
}

/// Keeps the panics of peers from filling the output.
pub(crate) fn hide_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

fn refreshes(count: usize) -> String {
    match count {
        1 => "1 refresh".into(),
        count => format!("{count} refreshes"),
    }
}

// === impl Facts ===

impl Facts {
    fn count(&mut self, result: Result<Result<StatusCode, BoxError>, tokio::task::JoinError>) {
        match result {
            Ok(Ok(StatusCode::OK)) => self.answered += 1,
            Ok(Ok(StatusCode::UNAUTHORIZED)) => self.rejected += 1,
            Ok(Ok(_) | Err(_)) => self.failed += 1,
            Err(error) if error.is_panic() => self.panicked += 1,
            Err(_cancelled) => {}
        }
    }
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&refreshes(self.refreshes))?;
        for (count, what) in [
            (self.answered, "got 200"),
            (self.rejected, "got 401"),
            (self.failed, "got an error"),
            (self.panicked, "panicked"),
            (self.stuck, "stuck"),
            (self.strays, self.stray),
            (self.uploads.whole, "with the whole body"),
            (self.uploads.empty, "with an empty body"),
            (self.uploads.truncated, "with a part of the body"),
            (self.uploads.altered, "with another body"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

// === impl Uploads ===

impl Uploads {
    fn count(&mut self, accepted: &Bytes, content: &Bytes) {
        if accepted == content {
            self.whole += 1;
        } else if accepted.is_empty() {
            self.empty += 1;
        } else if content.starts_with(accepted) {
            self.truncated += 1;
        } else {
            self.altered += 1;
        }
    }
}
