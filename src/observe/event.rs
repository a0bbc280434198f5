use std::{error, time::Duration};

use crate::{
    cause::Cause,
    error::{Error, RefreshError},
    identity::{Generation, Login, SessionId},
    observe::outcome::{
        FlightOutcome, HookOutcome, LoginEnding, ReplayObstacle, StoreOperation, WaitOutcome,
    },
};

/// One event in the life of a session.
///
/// An event borrows: an observer copies what it keeps. Neither an event nor its `Debug` output
/// holds a credential. An error of the application is shown as the application made it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    session_id: Option<SessionId>,
    session_name: Option<&'a str>,
    kind: EventKind<'a>,
}

/// The kind of an [`Event`], with what belongs to it.
///
/// Kinds and fields may be added in a minor release, so that a pattern ends with `..`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// A session was built. The first event of a session.
    #[non_exhaustive]
    SessionCreated,
    /// A registry forgot the session, because another one needed its place. The login has not
    /// ended. Only with the feature `sessions`.
    #[non_exhaustive]
    SessionEvicted,
    /// A registry is full: it could forget no session, and refused one more. The event belongs to
    /// no session. Only with the feature `sessions`.
    #[non_exhaustive]
    SessionsFull {
        /// The capacity of the registry, in sessions.
        capacity: usize,
    },
    /// The last handle, service and flight of a session are gone. The last event of a session,
    /// except for a hook or a save that still runs.
    #[non_exhaustive]
    SessionDropped,

    /// A login began: by [`Session::login`](crate::Session::login), by
    /// [`Session::acquire`](crate::Session::acquire), or at the start of a session that acquires
    /// its credential on demand.
    #[non_exhaustive]
    LoggedIn {
        /// The new login.
        login: Login,
        /// The generation of its credential. `None` if the login has no credential yet.
        generation: Option<Generation>,
    },
    /// [`Session::replace`](crate::Session::replace) installed a newer credential.
    #[non_exhaustive]
    Replaced {
        /// The login that goes on.
        login: Login,
        /// The generation of the newer credential.
        generation: Generation,
    },
    /// A login ended.
    #[non_exhaustive]
    LoginEnded {
        /// The login that is over.
        login: Login,
        /// The generation of its last credential, or that of an earlier login's if it had none.
        generation: Generation,
        /// How the login ended.
        how: LoginEnding<'a>,
    },
    /// The hook of an ended login is over.
    #[non_exhaustive]
    HookDone {
        /// The login for which the hook ran.
        login: Login,
        /// The time from the call of the hook to its end.
        duration: Duration,
        /// How the hook ended.
        outcome: HookOutcome,
    },

    /// A flight is about to start: its refresher is called after this event.
    #[non_exhaustive]
    FlightStarted {
        /// The number of the flight in its session, starting at 1.
        flight: u64,
        /// The login whose credential is refreshed.
        login: Login,
        /// The generation of the credential to replace.
        generation: Generation,
        /// The reason for the flight.
        cause: Cause,
        /// Whether requests wait for the flight from its start.
        awaited: bool,
        /// How many flights have failed in a row right before this one.
        failures: u32,
    },
    /// An attempt of a flight failed, and the flight makes another one.
    #[non_exhaustive]
    AttemptFailed {
        /// The number of the flight.
        flight: u64,
        /// The login whose credential is refreshed.
        login: Login,
        /// The number of the failed attempt within the flight, starting at 1.
        attempt: u32,
        /// The failure.
        error: &'a RefreshError,
        /// The pause before the next attempt.
        pause: Duration,
    },
    /// A flight settled. Each flight that started has exactly one such event, however it ends.
    ///
    /// The waiters of the flight are released first. Their events may come before this one. A
    /// fenced flight settles when its refresher is done.
    #[non_exhaustive]
    FlightSettled {
        /// The number of the flight.
        flight: u64,
        /// The login whose credential was to be refreshed.
        login: Login,
        /// The generation of the credential that was to be replaced.
        generation: Generation,
        /// The reason for the flight.
        cause: Cause,
        /// The number of requests that waited for the flight when it settled. Zero for a fenced
        /// one, whose waiters are released by the login, logout or replacement.
        waiters: usize,
        /// The time from the start of the flight until its refresher was done.
        duration: Duration,
        /// How the flight settled.
        outcome: FlightOutcome<'a>,
    },
    /// A flight was due, and the session held it off.
    ///
    /// [`Session::keep_fresh`](crate::Session::keep_fresh) reports a renewal that is held off. A
    /// request with a usable credential does not. Each request reports a refresh that its rejection
    /// does not start, and its caller gets the rejection.
    #[non_exhaustive]
    RefreshHeldOff {
        /// The current login.
        login: Login,
        /// The generation of the credential that was to be replaced.
        generation: Generation,
        /// The reason for the flight that did not start: `Expiring` for a renewal that was due.
        cause: Cause,
        /// The time until the back-off or the refresh limit allows the flight. Zero if neither
        /// forbids it: a flight issued the credential, and the upstream has never accepted it.
        wait: Duration,
    },

    /// An upstream rejected the credential of a request.
    ///
    /// A request that is marked [`NoRefresh`](crate::extension::NoRefresh) reports none: its
    /// response says nothing about the credential.
    #[non_exhaustive]
    RequestRejected {
        /// The login of the request.
        login: Login,
        /// The generation of the rejected credential. Zero for an older credential that
        /// [`Session::reject`](crate::Session::reject) reports: the session does not know it.
        generation: Generation,
        /// Whether a newer credential had arrived already, so that the rejection costs no refresh.
        late: bool,
        /// Whether the request was a replay. The rejection goes to the caller then.
        replay: bool,
    },
    /// A request begins to wait for a flight.
    #[non_exhaustive]
    WaitStarted {
        /// The login of the request.
        login: Login,
        /// The number of the flight.
        flight: u64,
        /// The number of requests that wait in the session, this one included.
        waiters: usize,
    },
    /// A request waits no longer. Each [`WaitStarted`](Self::WaitStarted) has exactly one such
    /// event.
    #[non_exhaustive]
    WaitEnded {
        /// The login of the request.
        login: Login,
        /// The number of the flight.
        flight: u64,
        /// The number of requests that still wait in the session.
        waiters: usize,
        /// How long the request has waited.
        duration: Duration,
        /// How the wait ended.
        outcome: WaitOutcome,
    },
    /// A rejected request was sent again, with a newer credential.
    #[non_exhaustive]
    RequestReplayed {
        /// The login of the request.
        login: Login,
        /// The generation of the newer credential.
        generation: Generation,
    },
    /// A rejected request was not sent again, because its body is not available. Its caller gets
    /// the rejection. A request whose response asks for a repetition
    /// ([`Verdict::Retry`](crate::detect::Verdict::Retry)) reports the same.
    #[non_exhaustive]
    RequestNotReplayed {
        /// The login of the request.
        login: Login,
        /// The generation of the credential that the request carried.
        generation: Generation,
        /// The obstacle.
        obstacle: ReplayObstacle,
    },
    /// A request failed with an error of the session, or with one of its registry. The event
    /// belongs to no session if the registry has none for the request.
    ///
    /// With [`FailureMode::Response`](crate::FailureMode::Response) a request that has a rejection
    /// gets that rejection instead.
    #[non_exhaustive]
    RequestRefused {
        /// The login of the request. Zero without a session.
        login: Login,
        /// The error. [`Error::kind`] gives the reason.
        error: &'a Error,
    },

    /// An operation of the session's store is over. Only with the feature `store`, like the events
    /// below.
    #[non_exhaustive]
    StoreOperationDone {
        /// The operation.
        operation: StoreOperation,
        /// The time that it took.
        duration: Duration,
        /// The failure: a `store::StoreError`. `None` after a success.
        error: Option<&'a (dyn error::Error + Send + Sync + 'static)>,
        /// The kind of the failure as a word, such as `timed_out`.
        error_type: Option<&'static str>,
    },
    /// The session took over a credential that another process had stored, without an exchange.
    #[non_exhaustive]
    StoreAdopted,
    /// Another process took the lease that this one held, or the lease ran out unextended. Both may
    /// exchange the same credential now.
    #[non_exhaustive]
    StoreLeaseLost,
    /// A credential or the end of a login could not be saved by several attempts. The driver goes
    /// on trying, except at a login, which then has not begun.
    #[non_exhaustive]
    StoreSaveFailed {
        /// The last failure: a `store::StoreError`.
        error: &'a (dyn error::Error + Send + Sync + 'static),
        /// The kind of the failure as a word, such as `unavailable`.
        error_type: &'static str,
    },
    /// The store began to fail: an operation failed, and no other was failing.
    #[non_exhaustive]
    StoreDegraded {
        /// The failure: a `store::StoreError`.
        error: &'a (dyn error::Error + Send + Sync + 'static),
        /// The kind of the failure as a word, such as `unavailable`.
        error_type: &'static str,
    },
    /// The store works again: each operation that failed has succeeded since.
    #[non_exhaustive]
    StoreRecovered {
        /// The time from the first failure to the last of these successes.
        duration: Duration,
    },
}

// === impl Event ===

impl<'a> Event<'a> {
    pub(crate) const fn new(
        session_id: Option<SessionId>,
        session_name: Option<&'a str>,
        kind: EventKind<'a>,
    ) -> Self {
        Self { session_id, session_name, kind }
    }

    /// The identity of the session. `None` for an event that belongs to no session.
    pub const fn session_id(&self) -> Option<SessionId> {
        self.session_id
    }

    /// The name of the session, if it has one
    /// ([`SessionBuilder::name`](crate::session::SessionBuilder::name)).
    ///
    /// Not a secret, but often the name of a user. Do not use it as the label of a metric: each
    /// name makes a series of its own.
    pub const fn session_name(&self) -> Option<&'a str> {
        self.session_name
    }

    /// The kind of the event, and what belongs to it.
    pub const fn kind(&self) -> &EventKind<'a> {
        &self.kind
    }
}
