//! Sessions that outlive their process, and one refresh for all processes that share a login.
//!
//! A login is lost with its process, and two processes that share a refresh token can destroy it:
//! where refresh tokens are rotated, the second process presents a used one. A [`Store`] keeps the
//! credential, and [`Stored`] is a [`Refresher`](crate::Refresher) over another one that
//!
//! - saves what a refresh brings before the session releases any request with it,
//! - adopts what another process has refreshed, and exchanges nothing then,
//! - ends the login in every process when one of them logs out or is refused.
//!
//! # Example
//!
//! A command-line program whose login lives in a directory. Any number of its processes may run at
//! once:
//!
//! ```no_run
//! use tower_refresh::{Refresher, Session, Token, store::{File, Stored}};
//!
//! # fn refresh_token_refresher() -> impl Refresher { tower_refresh::refresher_fn(|_| async { unimplemented!() }) }
//! # async fn ask_for_a_login() -> Result<Token, tower::BoxError> { unimplemented!() }
//! # #[tokio::main]
//! # async fn main() -> Result<(), tower::BoxError> {
//! let store = File::new("/home/ann/.local/state/my-app");
//! let stored = Stored::new(refresh_token_refresher(), store, "api.example.com");
//! let session = Session::builder(stored.clone()).build();
//!
//! if stored.open(&session).await?.is_none() {
//!     let token = ask_for_a_login().await?;
//!     stored.login(&session, token).await?;
//! }
//! // `session` goes into a `RefreshLayer`. To end the login everywhere:
//! stored.logout(&session).await?;
//! # Ok(()) }
//! ```
//!
//! A service with several replicas, which follows what the others do and says what happens while
//! the store is down:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use tower_refresh::{
//!     RefreshContext, RefreshError, Session, Token, refresher_fn,
//!     store::{Memory, OnOutage, Stored},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower::BoxError> {
//! let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
//! let store = Arc::new(Memory::new()); // A service has a `Redis` here.
//! let stored = Stored::builder(refresher, store, "service")
//!     .on_outage(OnOutage::Wait)
//!     .operation_timeout(Duration::from_secs(1))
//!     .on_save_error(|error| eprintln!("the login is not saved: {error}"))
//!     .build();
//! let session = Session::builder(stored.clone()).build();
//! stored.login(&session, Token::bearer("at-1")?).await?;
//!
//! tokio::spawn(stored.follow(&session));
//! assert_eq!(session.refresh().await?.access_token(), "at-2");
//! assert!(stored.is_saved());
//! # Ok(()) }
//! ```
//!
//! Log in and out by the [`Stored`], not by the session: [`Session::login`](crate::Session::login)
//! saves nothing, and [`Session::logout`](crate::Session::logout) ends the login of one process.
//! One `Stored` serves one session.
//!
//! # What a refresh does
//!
//! 1. Look: load the record.
//! 2. Adopt: where it has a newer credential that is usable, and the refresh is not
//!    [forced](crate::refresher::Cause::Forced), that credential is the answer. A tombstone, or a
//!    record that has vanished, ends the login.
//! 3. Lease: take the lease, or wait until its holder has saved or died.
//! 4. Look again, and adopt: the lease may have been another's until now.
//! 5. Exchange: call the inner refresher with the newest credential that is known.
//! 6. Save, in a task of its own, and answer. A refusal saves a tombstone.
//!
//! # Guarantees
//!
//! They go on from those of the [session](crate::session#guarantees).
//!
//! 15. **Saved first.** A credential that a flight brought is in the store before any waiter is
//!     released, or its save has failed and is [reported](StoredBuilder::on_save_error). The save
//!     outlives the flight's time-out, is tried again, and comes before the next exchange.
//! 16. **One exchange.** Replicas of one name make one exchange for each credential, as long as the
//!     store keeps what it acknowledged, leases last, and no process dies between the answer of the
//!     token endpoint and the save.
//! 17. **Never the old one.** A driver that knows of a newer credential, saved or not, never
//!     presents an older one. Where a store has gone back, the driver writes the newer one again.
//! 18. **The end is the end everywhere.** A refusal or a logout leaves a tombstone, and each
//!     replica's next refresh ends its login without a call. A logout that comes while another
//!     replica is at the token endpoint wins, and the late credential reaches the hook of that
//!     replica's session. A later login replaces the tombstone.
//! 19. **A store in trouble is no logout.** While it fails, hangs or has something that cannot be
//!     read, a usable credential is used, and a refresh fails as transient within the operation's
//!     deadline.
//!
//! Not guaranteed:
//!
//! - A process that dies between the answer and the save takes the new refresh token with it. The
//!   next process presents the old one, which many token endpoints allow for a short while.
//! - A store that loses acknowledged writes makes replicas exchange a credential twice, if none of
//!   those that know of the newer one is alive.
//! - Where a process did not know of another's login, the clocks of the two decide which login or
//!   logout came last.
//! - A record that is removed by hand is a logout for all processes that knew it. If a process that
//!   did not know it then logs in, and its clock is behind the beginning of the removed login, one
//!   of the others may end the new login with the old one. The next login succeeds.
//! - A write that is executed long after its deadline, by a store that has failed over since, may
//!   bring back an older credential for processes that do not know of the newer one.
//! - Clocks that differ cost exchanges: a credential that a fast clock takes for expired is
//!   exchanged, and not adopted.
//! - [`SessionBuilder::terminal_after`](crate::session::SessionBuilder::terminal_after) does not
//!   count on: the first refusal leaves a tombstone.
//!
//! # Observers
//!
//! The [observers](crate::observe) of the session are told of the store too: of each operation and
//! how long it took, of adopted credentials and lost leases, of saves that failed, and when the
//! store begins to fail and works again. A driver reports to the observers of the last session that
//! it was used with.
//!
//! # Cancel safety
//!
//! Where a refresher itself awaits a save, the session's time-out may pass in that await, and the
//! rotated refresh token is lost. The driver starts the save before its next await, in a task that
//! nothing cancels. All futures of the handle may be dropped at any time.
//!
//! # Secrets
//!
//! No name and no credential is in an error, in `Debug`, in a file name or in a key of Redis.
//! File names and keys have the SHA-256 of a name, which a reader who guesses the name can check.
//! Memory that held a record is not wiped. Records are not encrypted, unless a `Sealed` of the
//! feature `sealed` is around the store.

mod clock;
mod codec;
mod contract;
mod error;
mod file;
mod frame;
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sealed")]
mod sealed;
mod sha256;
mod stored;
pub mod testing;
mod version;

pub use codec::{Codec, TokenCodec};
pub use contract::{Leased, Record, Store, Swapped};
pub use error::{StoreError, StoreErrorKind};
pub use file::File;
pub use memory::Memory;
#[cfg(feature = "sealed")]
#[cfg_attr(docsrs, doc(cfg(feature = "sealed")))]
pub use sealed::{SealError, SealKey, Sealed};
#[allow(unused_imports, reason = "a leaf uses it")]
pub(crate) use stored::Desk;
pub use stored::{NotSaved, OnOutage, Stored, StoredBuilder};
pub use version::Version;

#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::Redis;
