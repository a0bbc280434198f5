use crate::{
    credential::{Credential, Token},
    error::RefreshError,
    refresher::Cause,
    session::{
        identity::{Generation, Login},
        outcome::OutcomeCell,
        outstanding::Outstanding,
    },
};
use std::{fmt, sync::Arc, time::SystemTime};

/// What a session knows at one moment: a snapshot.
///
/// All of it changes in one step: a credential, its expiry and its generation always belong together.
///
/// A snapshot keeps its credential alive for as long as it is held.
pub struct State<C = Token> {
    pub(super) login: Login,
    pub(super) generation: Generation,
    pub(super) held: Option<Held<C>>,
    pub(super) phase: Phase,
    pub(super) flights_started: u64,
    pub(super) flights_settled: u64,
    pub(super) outstanding: Outstanding<C>,
}

/// What is going on in a session.
///
/// Whether the credential is usable, has expired or is absent is not part of it: that follows from the
/// [`State`] and the clock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing.
    Active,
    /// A flight is in progress.
    Refreshing(Flight),
    /// The last flight failed, and the login goes on. A credential that is still usable is still sent.
    Failed(Failure),
    /// There is no login that could send anything.
    Terminated(Termination),
}

/// How the last login ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Termination {
    /// It never began.
    SignedOut,
    /// The application ended it.
    LoggedOut,
    /// The refresh was refused.
    Refused(RefreshError),
}

/// The refresh in progress.
#[derive(Clone, Debug)]
pub struct Flight {
    pub(super) number: u64,
    pub(super) cause: Cause,
    pub(super) awaited: bool,
    /// Whether the upstream has rejected the credential that it is to replace.
    pub(super) rejected: bool,
    pub(super) outcome: OutcomeCell,
}

/// A flight that failed without ending the login.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(super) error: RefreshError,
}

/// A credential and when it expires, read once.
pub(crate) struct Held<C> {
    pub(super) credential: Arc<C>,
    pub(super) expires_at: Option<SystemTime>,
}

/// What a request remembers of its sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamped {
    pub(crate) login: Login,
    pub(crate) generation: Generation,
    pub(crate) flights_settled: u64,
}

// === impl State ===

impl<C> State<C> {
    /// Before the first login.
    pub(crate) fn signed_out() -> Self {
        Self {
            login: Login::NONE,
            generation: Generation::NONE,
            held: None,
            phase: Phase::Terminated(Termination::SignedOut),
            flights_started: 0,
            flights_settled: 0,
            outstanding: Outstanding::new(),
        }
    }

    /// A first login whose credential the first request acquires.
    pub(crate) fn on_demand() -> Self {
        Self { login: Login::NONE.next(), phase: Phase::Active, ..Self::signed_out() }
    }

    /// The current login, or the last one when it is over.
    pub fn login(&self) -> Login {
        self.login
    }

    /// The number of the current credential, or of the last one when there is none.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The current credential.
    pub fn credential(&self) -> Option<&Arc<C>> {
        self.held.as_ref().map(|held| &held.credential)
    }

    /// When the current credential expires, if that is known.
    ///
    /// One that had expired when it arrived counts as unknown: the local clock may be wrong, and the upstream decides.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.held.as_ref().and_then(|held| held.expires_at)
    }

    /// What is going on.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How many flights this session has started.
    ///
    /// A watcher that is slow may miss states in between; the counters tell how many flights it missed.
    pub fn flights_started(&self) -> u64 {
        self.flights_started
    }

    /// How many of them have settled, or were overtaken by a login, a logout or a replacement.
    pub fn flights_settled(&self) -> u64 {
        self.flights_settled
    }

    pub(crate) fn stamp(&self) -> Stamped {
        Stamped { login: self.login, generation: self.generation, flights_settled: self.flights_settled }
    }

    /// The credential, unless it is absent or known to have expired.
    ///
    /// The clock is read only where the answer depends on it.
    pub(crate) fn usable(&self, now: impl FnOnce() -> SystemTime) -> Option<&Arc<C>> {
        let held = self.held.as_ref()?;
        let expired = held.expires_at.is_some_and(|at| at <= now());
        (!expired).then_some(&held.credential)
    }

    /// The credential that a request may be sent with at once: the fresh path.
    pub(crate) fn sendable(&self, now: impl FnOnce() -> SystemTime) -> Option<&Arc<C>> {
        match &self.phase {
            Phase::Active | Phase::Failed(_) => self.usable(now),
            Phase::Refreshing(flight) if !flight.awaited => self.usable(now),
            Phase::Refreshing(_) | Phase::Terminated(_) => None,
        }
    }
}

impl<C> Clone for State<C> {
    fn clone(&self) -> Self {
        Self {
            login: self.login,
            generation: self.generation,
            held: self.held.clone(),
            phase: self.phase.clone(),
            flights_started: self.flights_started,
            flights_settled: self.flights_settled,
            outstanding: self.outstanding.clone(),
        }
    }
}

impl<C> fmt::Debug for State<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("login", &self.login)
            .field("generation", &self.generation)
            .field("has_credential", &self.held.is_some())
            .field("expires_at", &self.expires_at())
            .field("phase", &self.phase)
            .field("flights_started", &self.flights_started)
            .field("flights_settled", &self.flights_settled)
            .finish()
    }
}

// === impl Flight ===

impl Flight {
    /// Why it was started.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether requests wait for it. Only a flight that was started by
    /// [`Session::refresh`](crate::Session::refresh) is not awaited, until a request finds the credential rejected or
    /// expired.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }
}

// === impl Failure ===

impl Failure {
    /// How it failed.
    pub fn error(&self) -> &RefreshError {
        &self.error
    }
}

// === impl Held ===

impl<C: Credential> Held<C> {
    /// Takes a credential in. Runs the user's code, so never under the channel's lock.
    pub(crate) fn new(credential: Arc<C>, now: SystemTime) -> Self {
        let expires_at = credential.expires_at().filter(|at| *at > now);
        Self { credential, expires_at }
    }
}

impl<C> Held<C> {
    pub(crate) fn into_credential(self) -> Arc<C> {
        self.credential
    }
}

impl<C> Clone for Held<C> {
    fn clone(&self) -> Self {
        Self { credential: self.credential.clone(), expires_at: self.expires_at }
    }
}
