//! What all clones of a client share: the current credential, who may refresh it, and what becomes
//! of a refusal.
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
//! A hook learns of every login that ends, and a [`Watcher`] of every change:
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
//! // Nobody had rejected the credential and it had not expired, so it is kept in use.
//! assert!(state.credential().is_some());
//! # Ok(()) }
//! ```
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | credential | what proves the caller to the upstream |
//! | login | the span of one identity in a session, from a login to its end; a session may see many, one at a time |
//! | generation | a number that grows with every new credential of the session |
//! | rejection | a response that says "this credential is no good" |
//! | flight | the single refresh in progress, a task of its own. *Awaited*: requests wait for it |
//! | waiter | a request that waits for a flight to settle |
//! | settle | a flight ends: success or failure, exactly once |
//! | replay | sending a request again with the newer credential |
//! | fenced | of a flight: overtaken by a login, a logout or a replacement |
//! | logged out | the phase in which the session has no login that could send anything |
//!
//! # The state machine
//!
//! Everything that a session knows is one [`State`] in one `watch` channel, and every change is one
//! pure function.
//!
//! | event | Active | Refreshing, not awaited | Refreshing, awaited | Failed | LoggedOut |
//! |---|---|---|---|---|---|
//! | request, credential usable | send | send | wait | send | error |
//! | a renewal is due, at a call or where the session is kept fresh | elect, not awaited | – | – | elect (\*), not awaited | – |
//! | request, credential expired or absent | elect (†), wait | awaited from now; wait | wait | elect (\*), wait | error |
//! | rejection of this generation | elect (‡), wait | awaited from now; wait | wait | a flight settled since it was sent: that failure; else elect (\*‡), wait | error |
//! | rejection of an older one, same login | replay | replay | wait | replay | error |
//! | rejection, other login | error | error | error | error | error |
//! | rejection of a replay, or of a request that had waited before it was first sent | to the caller | to the caller | to the caller | to the caller | to the caller |
//! | settle: success | – | Active, next generation | Active, next generation | – | – |
//! | settle: transient, ambiguous | – | Failed | Failed | – | – |
//! | settle: terminal (§) | – | still usable: Failed; else LoggedOut | LoggedOut | – | – |
//! | outcome of a fenced flight | dropped | dropped | dropped | dropped | dropped |
//! | login | Active, next generation and login | the same; flight fenced, waiters get `LoginChanged` | the same | Active, next generation and login | Active, next generation and login |
//! | replace | Active, next generation | the same; flight fenced, waiters go on | the same | Active, next generation | refused |
//! | logout | LoggedOut | the same; flight fenced, waiters get `LoggedOut` | the same | LoggedOut | nothing |
//! | `refresh()` | elect, not awaited | join | join | elect (\*) | error |
//! | `acquire()` | the current one; expired or absent: elect | join | join | elect (\*) | new login, elect |
//!
//! - *Elect* starts the one flight.
//! - (\*) Until the back-off is over: that failure, at once.
//! - (†) Beyond the limit of refreshes: send, and the upstream decides.
//! - (‡) Beyond the limit of refreshes, or of a credential that a refresh brought and that was
//!   never accepted: to the caller.
//! - (§) As often in a row as [`SessionBuilder::terminal_after`] says; ambiguous ones as well, if
//!   [`SessionBuilder::on_ambiguous`] says so.
//!
//! A credential that had expired when it arrived counts as one of unknown expiry: local
//! clocks are wrong, and the upstream decides.
//!
//! # Guarantees
//!
//! Code and tests refer to them by number.
//!
//! 1. **One flight.** At most one flight that can still change the session runs at any time,
//!    however many requests, clones and layers. One that a login, a logout or a replacement fenced
//!    off may still be finishing.
//! 2. **Generations only grow,** exactly when a new credential arrives. The credential, its expiry
//!    and its generation change in one step. A logout removes the credential and keeps the number.
//! 3. **Late rejections are free.** A rejection that was overtaken by a newer generation, or by a
//!    failure that settled after its request was sent, costs no refresh.
//! 4. **Fenced.** The outcome of a flight that a login, a logout or a replacement overtook changes
//!    nothing. No request of one login is ever sent with the credential of another.
//! 5. **Settles.** A flight settles exactly once: success, failure, its own time-out, panic,
//!    aborted task, runtime shut-down. No request waits for ever.
//! 6. **Callers may leave.** Dropping any request, or all of them, or every handle, never cancels a
//!    flight; only its time-out or the end of its runtime does.
//! 7. **Bounded.** One request causes at most one flight that it waits for, one renewal and one
//!    replay. A second rejection goes to the caller as it is. A refresher that returns the rejected
//!    credential again has failed.
//! 8. **One answer for all.** All waiters of a flight get its outcome, failures included; none of
//!    them tries again by itself.
//! 9. **The end is the end.** After a terminal failure or a logout nothing that would carry this
//!    session's credential is sent. The hook runs exactly once for that login (a runtime that shuts
//!    down may cut it short); not for a login that another login replaced. A login re-arms all of
//!    it.
//! 10. **Hooks can't hurt.** The hook runs in a task of its own, after the login's last flight is
//!     over. A hook that panics, never returns or calls the session changes nothing for anyone. No
//!     lock of the session is held while your code runs.
//! 11. **No recursion.** Requests that a refresher sends, in its own task, through a client that
//!     wears the same session pass untouched; session methods that would wait for the flight fail
//!     there. What a flight causes inherits this.
//! 12. **Credentials stay home.** Only the layer's origins ever see one, and not in cleartext
//!     unless allowed. Nothing secret is in `Debug`, `Display` or errors.
//! 13. **Polite inside a stack.** Every attempt goes to an instance of the inner service that was
//!     polled ready for it. A request that waits holds no readiness, permit, response or connection
//!     of the inner service.
//! 14. **Replays are exact.** The replay differs in the credential alone. What can't be replayed
//!     gets its rejection at once, and the refresh still runs.
//!
//! # Time
//!
//! Nothing here runs on a timer, unless [`Session::keep_fresh`](crate::Session::keep_fresh) does:
//! what is due is noticed by the next request. Expiry goes by the wall clock, since a machine that
//! slept must know that its token has expired; back-off and limits go by the monotonic one. A wall
//! clock that jumps costs one needless refresh, or one rejection, at the most.
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`refresh_ahead`](SessionBuilder::refresh_ahead) | 0 | Nothing is renewed that might not be needed any more. A service that is always busy sets a minute or two, and no request of its ever waits. Half the life of a credential at the most, so that a short one isn't always expiring. |
//! | [`refresh_ahead_jitter`](SessionBuilder::refresh_ahead_jitter) | 0.2 | A fleet that was deployed together would renew together. Within the margin, never before it. |
//! | [`refresh_timeout`](SessionBuilder::refresh_timeout) | 30 s | As long as a request can wait for one refresh. Longer than any token endpoint needs, shorter than most users' patience. |
//! | [`backoff`](SessionBuilder::backoff) | 1 s to 60 s | After a failure nothing is called for so long, whatever the traffic; doubled for each further one, with jitter. A refresher that knows better says so ([`RefreshError::retry_after`](crate::RefreshError::with_retry_after)), `min` at the least and an hour at the most. |
//! | [`refresh_limit`](SessionBuilder::refresh_limit) | 5 in 30 s | An upstream that rejects every new credential must not cost a refresh for every request. No token lives for six seconds. |
//! | [`on_ambiguous`](SessionBuilder::on_ambiguous) | `Retry` | A lost answer is mostly a network that failed before anything was sent, and many servers allow a grace period. Being wrong costs a login either way. |
//! | [`terminal_after`](SessionBuilder::terminal_after) | 1 | A refusal is believed: asking again with a token that was refused looks like an attack. |
//! | [`max_waiters`](SessionBuilder::max_waiters) | no limit | The caller's own limits decide how many requests there are; a proxy sets it, so that a slow auth service doesn't fill its memory. |
//! | [`clock`](SessionBuilder::clock) | the system's | For tests. |
//!
//! A renewal that fails while its credential still works leaves that in use: nobody is logged out
//! for it, not even by a refusal, until the credential has expired or is rejected.
//!
//! # The runtime
//!
//! A flight is a Tokio task, on the runtime of whoever caused it. Its time has to be enabled:
//! `tokio::time` panics without. Where a flight is due and the caller has no runtime, it runs on
//! the first one that the session has seen, when it was built or later; if there was none, the call
//! fails with [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime). A runtime that shuts down
//! takes its flights along: they settle as [ambiguous](crate::RefreshErrorKind::Ambiguous)
//! failures. A current-thread runtime that nobody drives runs no flights, and no time-outs: don't
//! let one cause flights that others wait for.
//!
//! Two sessions whose refreshers send through each other's clients would wait for each other when
//! both refresh at once; what a flight causes is safe from that, and time-outs end the rest.

mod builder;
mod flight;
pub(crate) mod handle;
mod hook;
mod machine;
mod scope;
mod watcher;

pub use builder::SessionBuilder;
pub use handle::WeakSession;
pub use hook::{EndedLogin, Logout};
pub(crate) use machine::{
    held::Held,
    outcome::OutcomeCell,
    state::Stamped,
    transition::{Admission, Reaction},
};
pub use machine::{
    rules::AmbiguousOutcome,
    state::{EndReason, Failure, Flight, Phase, State},
};
pub use watcher::{Closed, Watcher};

pub use crate::identity::{Generation, Login};
