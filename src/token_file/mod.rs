//! Tokens in a file that another program rotates.
//!
//! Kubernetes mounts the token of a service account, a CSI driver mounts secrets, and the agent of
//! Vault writes the tokens that it renews. A [`TokenFile`] is a refresher that reads such a file:
//!
//! ```no_run
//! use tower_refresh::{Session, token_file::TokenFile};
//!
//! let file = TokenFile::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
//! let session = Session::builder(file).acquire_on_demand(true).build();
//! # let _: Session = session;
//! ```
//!
//! A token that several programs share, read ahead of time, so that no request waits for the disk:
//!
//! ```no_run
//! use std::time::Duration;
//! use tower_refresh::{Session, token_file::TokenFile};
//!
//! let file = TokenFile::new("/vault/secrets/token").margin(Duration::from_secs(30));
//! let session = Session::builder(file)
//!     .acquire_on_demand(true)
//!     .refresh_ahead(Duration::from_secs(20))
//!     .build();
//! # let _: Session = session;
//! ```
//!
//! # When the file is read
//!
//! | event | the refresher |
//! |---|---|
//! | the session has no token | reads the file |
//! | the upstream rejects the token | reads the file; an unchanged token is a transient failure |
//! | the token is a JWT, and its `exp` less the [margin](TokenFile::margin) has come | reads the file; an unchanged token stays in use until its `exp`, and the file is read every minute |
//! | any other token is a minute old | reads the file; an unchanged token stays in use |
//!
//! The `exp` of a JWT is parsed and not verified. The upstream verifies the token, and decides
//! about one that has expired by the session's clock when it is read.
//!
//! # Failures
//!
//! No failure of a file ends a login: the program that writes it may be late. A file that is
//! missing, empty, longer than 64 KiB, or no token is a transient failure. So is a path to a
//! directory, a named pipe or a device, and an expired token that the file still has. While the
//! token in use has not expired, such a file changes nothing: requests go on with that token, and
//! the file is read again after a minute.
//!
//! After a failure, the next request causes another read, at most once a second
//! ([`SessionBuilder::backoff`](crate::session::SessionBuilder::backoff) sets a longer time).
//! Requests are sent with a new token a second after the file has it, or earlier.
//!
//! A file that is replaced, by a rename or by the swap of a symbolic link, is read as it was before
//! or as it is afterwards. A file that is written in place while it is read is read again.

mod jwt;
mod read;
mod refresher;

#[cfg(feature = "oauth2")]
pub(crate) use read::read;
pub use refresher::TokenFile;
