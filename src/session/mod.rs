//! The session: the current credential of a client, its one refresh, and the end of its login.
//!
//! All clones of a client share one session. The session admits requests, elects the one flight
//! that refreshes the credential, and tells every waiting request how it went.
//!
//! ```
//! use tower_refresh::{
//!     refresher_fn, session::Phase, ErrorKind, RefreshContext, RefreshError, Session, Token,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
//! let session = Session::new(Token::bearer("at-1")?, refresher);
//!
//! assert_eq!(session.refresh().await?.access_token(), "at-2");
//!
//! session.logout().await;
//! assert!(matches!(session.state().phase(), Phase::LoggedOut(_)));
//! assert_eq!(session.refresh().await.unwrap_err().kind(), ErrorKind::LoggedOut);
//!
//! session.login(Token::bearer("at-3")?);
//! assert!(matches!(session.state().phase(), Phase::Active));
//! # Ok(()) }
//! ```
//!
//! A hook runs for every login that ends, and a [`Watcher`] sees every change:
//!
//! ```
//! use tower_refresh::{
//!     refresher_fn, session::EndedLogin, RefreshContext, RefreshError, Session, Token,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let refused = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
//! let session = Session::builder(refused)
//!     .credential(Token::bearer("at-1")?)
//!     .on_login_end(|end: EndedLogin| async move {
//!         let last = end.credential().expect("it had one");
//!         assert_eq!(last.access_token(), "at-1");
//!     })
//!     .build();
//!
//! let mut watcher = session.subscribe();
//! let refreshed = session.refresh().await;
//! assert!(refreshed.is_err());
//! let state = watcher.wait_for(|state| state.flights_settled() == 1).await?;
//! // The credential was neither rejected nor expired, so it stays in use.
//! assert!(state.credential().is_some());
//! # Ok(()) }
//! ```
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | credential | the proof of the caller's identity that requests carry |
//! | login | one identity's time in the session, from a login to its end; a session has many over time, one at a time |
//! | generation | the sequence number of a credential in its session |
//! | rejection | a response that says "this credential is not valid" |
//! | flight | the one refresh in progress, in its own task; *awaited* if requests wait for it |
//! | attempt | one call of the refresher; a flight makes one, or a few in a row |
//! | waiter | a request that waits for a flight to settle |
//! | settle | the end of a flight: success or failure, exactly once |
//! | replay | sending a rejected request again, with a newer credential |
//! | fenced | said of a flight that a login, a logout or a replacement has overtaken: its result no longer counts |
//! | logged out | the phase of a session without a login: requests fail |
//!
//! # The state machine
//!
//! A session keeps everything it knows in one [`State`] in one `watch` channel. Each change of it
//! is one pure function.
//!
//! | event | Active | Refreshing, not awaited | Refreshing, awaited | Failed | LoggedOut |
//! |---|---|---|---|---|---|
//! | request, credential usable | send | send | wait | send | error |
//! | renewal due, found by a request or by `keep_fresh` | elect, not awaited | – | – | elect (\*), not awaited | – |
//! | request, credential expired or absent | elect (†), wait | becomes awaited; wait | wait | elect (\*), wait | error |
//! | request that has waited, credential expired again | send | becomes awaited; wait | wait | send | error |
//! | rejection of this generation | elect (‡), wait | becomes awaited; wait | wait | the failure if it is newer than the request; else elect (\*‡), wait | error |
//! | rejection of an older generation, same login | replay | replay | wait | replay | error |
//! | rejection, other login | error | error | error | error | error |
//! | rejection of a request that had waited before it was first sent: of an older generation, same login | replay | replay | wait | replay | to the caller |
//! | rejection of such a request, otherwise | to the caller | to the caller | to the caller | to the caller | to the caller |
//! | rejection of a replay | to the caller | to the caller | to the caller | to the caller | to the caller |
//! | settle: success | – | Active, next generation | Active, next generation | – | – |
//! | settle: transient, ambiguous | – | Failed | Failed | – | – |
//! | settle: terminal (§) | – | credential usable: Failed; else LoggedOut | LoggedOut | – | – |
//! | result of a fenced flight | dropped | dropped | dropped | dropped | dropped |
//! | login | Active, next generation and login | same; flight fenced, waiters get `LoginChanged` | same | Active, next generation and login | Active, next generation and login |
//! | replace | Active, next generation | same; flight fenced, waiters go on | same | Active, next generation | refused |
//! | logout, or the end of the login by a registry or a store | LoggedOut | same; flight fenced, waiters get `LoggedOut` | same | LoggedOut | no effect |
//! | `refresh()` | elect, not awaited | join | join | elect (\*) | error |
//! | `acquire()` | current credential; if expired or absent: elect | join | join | current credential; if expired, absent or rejected: elect (\*) | new login, elect |
//! | `retry_now()` | – | – | – | ends the back-off | – |
//!
//! - *Elect*: start the one flight.
//! - (\*) During the back-off: fail at once with the last failure.
//! - (†) Beyond the refresh limit: send, and let the upstream decide.
//! - (‡) Beyond the refresh limit, or if a refresh issued the credential and the upstream never
//!   accepted it: to the caller. A refresher that is [read-only](crate::Refresher::is_read_only)
//!   issues none. A refresh that brings the same credential keeps its acceptance
//!   ([`Credential::is_same`](crate::Credential::is_same)).
//! - (§) After as many refusals in a row as [`SessionBuilder::terminal_after`] says. Ambiguous
//!   failures count as refusals if [`SessionBuilder::on_ambiguous`] says so.
//!
//! The expiry of a credential counts as unknown if it has already passed when the credential
//! arrives, or if the upstream accepts a request that was sent after it: the expiry or the local
//! clock is wrong, so the upstream decides.
//!
//! # Guarantees
//!
//! Code and tests refer to these guarantees by number.
//!
//! 1. **One flight.** At any time, at most one flight can still change the session, however many
//!    requests, clones and layers there are. A flight that a login, a logout or a replacement has
//!    fenced may still be finishing.
//! 2. **Generations only grow,** by one with every new credential. A credential, its expiry and its
//!    generation change in one step. A logout removes the credential and keeps the generation.
//! 3. **Late rejections are free.** A rejection costs no refresh if a newer generation has arrived,
//!    or a flight has failed, since the request was sent.
//! 4. **Fenced.** The result of a fenced flight changes nothing. No request of one login is ever
//!    sent with the credential of another.
//! 5. **Settles.** A flight settles exactly once, however it ends: success, failure, time-out,
//!    panic, aborted task, runtime shut-down. No request waits forever.
//! 6. **Callers may leave.** Dropping a request, all requests or every handle cancels no flight.
//!    Only its time-out or the end of its runtime does.
//! 7. **Bounded.** One request causes at most one flight that it waits for, one renewal, one
//!    replay, and one repetition for [`Verdict::Retry`](crate::detect::Verdict::Retry). A second
//!    rejection goes to the caller unchanged. A refresher that returns the rejected credential has
//!    failed.
//! 8. **One answer for all.** All waiters of a flight get its outcome, success or failure. None of
//!    them tries again by itself.
//! 9. **The end is the end.** After a terminal failure or a logout, no request is sent with this
//!    session's credential. The hook runs exactly once for the login (a runtime that shuts down may
//!    cut it short), and not for a login that another login replaces. The next login starts
//!    with no failures, no back-off and an empty refresh history.
//! 10. **Hooks can't hurt.** The hook runs in its own task, after the last flight of the login is
//!     over. A hook that panics, hangs or calls the session affects no request. The session holds
//!     no lock while it runs your code.
//! 11. **No recursion.** A refresher may send requests, in its own task, through a client of its
//!     own session: they pass through untouched. Session methods that would wait for the flight
//!     fail there. Tasks and flights that a flight causes inherit this.
//! 12. **Credentials stay home.** Only the layer's origins receive a credential. In cleartext it
//!     goes only to origins that are listed as `http://…` or, with `Origins::any`, to loopback;
//!     `Origins::any_with_cleartext` lifts that. A URI without an authority goes wherever the inner
//!     service sends it, unless `relative_to` names its origin. A `TRACE` request never carries a
//!     credential. No secret is in `Debug`, `Display` or errors.
//! 13. **Polite inside a stack.** Every attempt goes to an instance of the inner service that was
//!     polled ready for it. A waiting request holds no readiness or permit of the inner service. It
//!     reads the body of its rejected response, up to 64 KiB and for up to one second, and then
//!     drops it. With [`FailureMode::Response`](crate::FailureMode::Response) it holds that
//!     response until the flight has settled.
//! 14. **Replays are exact.** A replay differs from its request in the credential alone. A request
//!     that cannot be replayed gets its rejection at once, and the refresh still runs.
//!
//! # Time
//!
//! A session has no timer, unless [`Session::keep_fresh`](crate::Session::keep_fresh) runs: the
//! next request notices what is due. Expiry goes by the wall clock, because a machine that has
//! slept must know that its token has expired. Back-off and limits go by the monotonic clock. A
//! jump of the wall clock costs at most one needless refresh or one rejection.
//!
//! | setting | default | reason |
//! |---|---|---|
//! | [`refresh_ahead`](SessionBuilder::refresh_ahead) | 0 | No refresh is spent on a credential that may not be used again. A busy service sets a minute or two, and its requests never wait. At most half the lifetime of the credential, so that a short one is not renewed all the time, and no more often than the refresh limit allows on average. |
//! | [`refresh_ahead_jitter`](SessionBuilder::refresh_ahead_jitter) | 0.2 | A fleet that was deployed together would renew together. The jitter is within the margin, never before it. |
//! | [`refresh_timeout`](SessionBuilder::refresh_timeout) | 30 s | The longest wait of a request for one refresh. Longer than a token endpoint needs, shorter than a user waits. |
//! | [`refresh_attempts`](SessionBuilder::refresh_attempts) | 3 | A waiting request prefers a pause of a fraction of a second to a failure. Only after a failure that certainly changed nothing ([`RefreshError::unprocessed`](crate::RefreshError::unprocessed)), and only while requests wait. |
//! | [`backoff`](SessionBuilder::backoff) | 1 s to 60 s | After a failure no refresh starts within this delay, however many requests arrive. Doubled with each further failure, with jitter. A refresher can choose the delay itself ([`RefreshError::with_retry_after`](crate::RefreshError::with_retry_after)), between `min` and an hour. |
//! | [`refresh_limit`](SessionBuilder::refresh_limit) | 5 in 30 s | An upstream that rejects every new credential must not cost a refresh per request. No real token lives for six seconds. |
//! | [`on_ambiguous`](SessionBuilder::on_ambiguous) | `Retry` | Most lost answers are network failures before anything was sent, and many servers allow a grace period. Either choice costs a login when it is wrong. |
//! | [`terminal_after`](SessionBuilder::terminal_after) | 1 | The session believes a refusal. Presenting a refused token again looks like an attack. |
//! | [`max_waiters`](SessionBuilder::max_waiters) | no limit | The caller's own limits bound the number of requests. A proxy sets it, so that a slow auth service does not fill its memory. |
//! | [`clock`](SessionBuilder::clock) | the system's | Replaced in tests. |
//!
//! A failed renewal does not affect a credential that still works. Not even a refusal ends the
//! login then, until the credential has expired or is rejected.
//!
//! # The runtime
//!
//! A flight is a task on the Tokio runtime of the caller that causes it. That runtime needs a
//! timer, since `tokio::time` panics without one. If the caller has no runtime, the flight runs on
//! a runtime that the session, or another one of its [template](SessionTemplate), has
//! seen and that is still running. Without any, the call fails with
//! [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime). When a runtime shuts down, its flights
//! settle as [ambiguous](crate::RefreshErrorKind::Ambiguous) failures, or as
//! [transient](crate::RefreshErrorKind::Transient) ones if the refresher was not called yet. A
//! current-thread runtime runs flights and time-outs only while a thread drives it. Do not let such
//! a runtime cause flights that requests on other runtimes wait for.
//!
//! Two sessions whose refreshers send requests through each other's clients could wait for each
//! other if both refresh at once. Where one flight causes the other, guarantee 11 prevents this.
//! Otherwise the time-outs end it.

mod builder;
mod engine;
mod flight;
pub(crate) mod handle;
mod hook;
mod machine;
mod report;
pub(crate) mod requests;
mod runtimes;
mod scope;
mod template;
#[cfg(feature = "sessions")]
mod tenancy;
mod watcher;

pub use builder::SessionBuilder;
pub use handle::WeakSession;
pub use hook::{EndedLogin, Logout};
pub(crate) use machine::{
    entry::Entry,
    state::Epoch,
    transition::{Admission, Reaction},
};
pub use machine::{
    rules::AmbiguousOutcome,
    state::{EndReason, Failure, Flight, Phase, State},
};
pub use template::SessionTemplate;
#[cfg(feature = "sessions")]
pub(crate) use tenancy::Forgotten;
pub use watcher::{Closed, Watcher};

pub use crate::identity::{Generation, Login, SessionId};
