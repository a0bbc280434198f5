//! The driver: a refresher over a store, and the handle of what a session does not see.

mod builder;
mod delivery;
mod desk;
mod driver;
mod envelope;
mod flight;
mod handle;
mod health;
mod knowledge;
mod lease;
mod leasing;
mod logging_in;
mod login;
mod operations;
mod rank;
mod receipt;
mod refresh;
mod report;
mod saver;
mod settings;

pub use builder::StoredBuilder;
#[allow(unused_imports, reason = "a leaf uses it")]
pub(crate) use desk::Desk;
pub use driver::{NotSaved, Stored};

/// The behaviour of a refresh while the store fails or hangs.
///
/// A usable credential is used in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnOutage {
    /// The refresh fails as [transient](crate::RefreshErrorKind::Transient), and is tried again.
    ///
    /// Right where refresh tokens are rotated: a second use of one would end the login.
    #[default]
    Wait,
    /// The session refreshes without the store, and saves when the store is back.
    ///
    /// Right where a refresh uses nothing up, such as client credentials.
    Alone,
}
