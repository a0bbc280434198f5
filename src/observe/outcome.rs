use std::time::Duration;

use crate::{
    error::{ErrorKind, RefreshError},
    identity::Generation,
};

/// The result of a flight.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum FlightOutcome<'a> {
    /// The flight brought a newer credential.
    #[non_exhaustive]
    Renewed {
        /// The generation of the newer credential.
        generation: Generation,
    },
    /// The flight failed, and the login goes on.
    #[non_exhaustive]
    Failed {
        /// The failure.
        error: &'a RefreshError,
        /// How many flights have failed in a row, this one included.
        in_a_row: u32,
        /// The back-off: no flight starts for this long.
        backoff: Duration,
    },
    /// The flight was refused, which ended the login.
    #[non_exhaustive]
    Refused {
        /// The refusal.
        error: &'a RefreshError,
    },
    /// A login, a logout or a replacement has overtaken the flight. Its result does not count.
    Fenced,
}

/// How a login ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum LoginEnding<'a> {
    /// The refresher reported that the login was refused.
    #[non_exhaustive]
    Refused {
        /// The refusal.
        error: &'a RefreshError,
    },
    /// The application called [`Session::logout`](crate::Session::logout).
    Logout,
    /// A registry of sessions ended it, because it was not used.
    Idle,
    /// A registry of sessions ended it, because it had lasted as long as it may.
    Lifetime,
    /// Another login took its place. No hook runs.
    Replaced,
}

/// How the hook of an ended login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HookOutcome {
    /// The hook ran to its end.
    Completed,
    /// The hook panicked.
    Panicked,
    /// The runtime of the hook shut down first.
    Cancelled,
}

/// How the wait of a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitOutcome {
    /// A newer credential arrived.
    Released,
    /// The flight brought no newer credential.
    #[non_exhaustive]
    Failed {
        /// The kind of the request's error.
        kind: ErrorKind,
    },
    /// The caller dropped the request.
    Dropped,
}

/// The reason why a rejected request is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplayObstacle {
    /// The request is marked [`NoReplay`](crate::extension::NoReplay).
    Marked,
    /// The body is still being sent, and
    /// [`FailureMode::Response`](crate::FailureMode::Response) does not interrupt that.
    Uploading,
    /// The body is longer than [`RefreshLayer::replay_limit`](crate::RefreshLayer::replay_limit),
    /// or has failed.
    Unrecorded,
}

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreOperation {
    /// Loads a record.
    Load,
    /// Writes or deletes a record.
    Swap,
    /// Takes, extends or gives up a lease.
    Lease,
}

// === impl FlightOutcome ===

impl<'a> FlightOutcome<'a> {
    /// A stable word for logs and metrics: `renewed`, `failed`, `refused` or `fenced`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Renewed { .. } => "renewed",
            Self::Failed { .. } => "failed",
            Self::Refused { .. } => "refused",
            Self::Fenced => "fenced",
        }
    }

    /// The failure or the refusal.
    pub const fn error(&self) -> Option<&'a RefreshError> {
        match self {
            Self::Failed { error, .. } | Self::Refused { error } => Some(error),
            Self::Renewed { .. } | Self::Fenced => None,
        }
    }
}

// === impl LoginEnding ===

impl LoginEnding<'_> {
    /// A stable word for logs and metrics: `refused`, `logout`, `idle`, `lifetime` or `replaced`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Logout => "logout",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Replaced => "replaced",
        }
    }
}

// === impl HookOutcome ===

impl HookOutcome {
    /// A stable word for logs and metrics: `completed`, `panicked` or `cancelled`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Panicked => "panicked",
            Self::Cancelled => "cancelled",
        }
    }
}

// === impl WaitOutcome ===

impl WaitOutcome {
    /// A stable word for logs and metrics: `released`, `failed` or `dropped`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Failed { .. } => "failed",
            Self::Dropped => "dropped",
        }
    }
}

// === impl ReplayObstacle ===

impl ReplayObstacle {
    /// A stable word for logs and metrics: `marked`, `uploading` or `unrecorded`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Marked => "marked",
            Self::Uploading => "uploading",
            Self::Unrecorded => "unrecorded",
        }
    }
}

// === impl StoreOperation ===

impl StoreOperation {
    /// A stable word for logs and metrics: `load`, `swap` or `lease`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Swap => "swap",
            Self::Lease => "lease",
        }
    }
}
