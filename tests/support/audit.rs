//! An observer that checks what holds for the events of every session, and one that writes them
//! down.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tower_refresh::{
    observe::{Event, EventKind, FlightOutcome, Observer, WaitOutcome},
    session::{Login, SessionId},
};

/// Counts events, and notes each one that contradicts an earlier one.
#[derive(Clone, Default)]
pub struct Audit(Arc<Mutex<Books>>);

#[derive(Default)]
pub struct Books {
    pub sessions_created: usize,
    pub sessions_dropped: usize,
    pub flights_started: usize,
    pub flights_settled: usize,
    pub waits_started: usize,
    pub waits_ended: usize,
    pub rejected: usize,
    pub late: usize,
    pub replayed: usize,
    pub refused: usize,
    pub logins_ended: usize,
    pub violations: Vec<String>,
    in_flight: HashSet<(SessionId, u64)>,
    settled: HashSet<(SessionId, u64)>,
    logins: HashSet<(SessionId, Login)>,
    ended: HashSet<(SessionId, Login)>,
    live: HashSet<SessionId>,
}

/// Writes each event down as a line, without durations.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

/// The duration of each flight, wait and hook, in order.
#[derive(Clone, Default)]
pub struct Durations(Arc<Mutex<Vec<Duration>>>);

// === impl Audit ===

impl Audit {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every flight and every wait that began has ended.
    pub fn is_balanced(&self) -> bool {
        let books = self.books();
        books.in_flight.is_empty() && books.waits_started == books.waits_ended
    }

    /// Checks that nothing contradicts, and that everything that began has ended.
    #[track_caller]
    pub fn assert_balanced(&self) {
        let books = self.books();
        assert_eq!(books.violations, Vec::<String>::new());
        assert_eq!(books.in_flight.len(), 0, "flights without a settle");
        assert_eq!(books.flights_started, books.flights_settled);
        assert_eq!(books.waits_started, books.waits_ended);
        assert!(books.ended.is_subset(&books.logins), "a login that never began has ended");
    }
}

impl Observer for Audit {
    fn on(&self, event: &Event<'_>) {
        let mut books = self.books();
        let session = event.session_id().expect("every event here belongs to a session");
        if let Some(violation) = books.enter(session, event.kind()) {
            books.violations.push(format!("{violation}: {event:?}"));
        }
    }
}

// === impl Books ===

impl Books {
    fn enter(&mut self, session: SessionId, kind: &EventKind<'_>) -> Option<&'static str> {
        let is_live = self.live.contains(&session);
        match *kind {
            EventKind::SessionCreated { .. } => {
                self.sessions_created += 1;
                return (!self.live.insert(session)).then_some("created twice");
            }
            EventKind::HookDone { .. } => return None,
            _ if !is_live => return Some("outside of the life of its session"),
            EventKind::SessionDropped { .. } => {
                self.sessions_dropped += 1;
                self.live.remove(&session);
                let is_in_flight = self.in_flight.iter().any(|(id, _)| *id == session);
                return is_in_flight.then_some("dropped with a flight");
            }
            EventKind::LoggedIn { login, .. } => {
                return (!self.logins.insert((session, login))).then_some("logged in twice");
            }
            EventKind::LoginEnded { login, .. } => {
                self.logins_ended += 1;
                return (!self.ended.insert((session, login))).then_some("ended twice");
            }
            EventKind::FlightStarted { flight, .. } => {
                self.flights_started += 1;
                let is_first = self.in_flight.insert((session, flight));
                return (!is_first || self.settled.contains(&(session, flight)))
                    .then_some("started twice");
            }
            EventKind::FlightSettled { flight, .. } => {
                self.flights_settled += 1;
                self.settled.insert((session, flight));
                let had_started = self.in_flight.remove(&(session, flight));
                return (!had_started).then_some("settled without a start, or twice");
            }
            EventKind::WaitStarted { .. } => self.waits_started += 1,
            EventKind::WaitEnded { .. } => {
                self.waits_ended += 1;
                return (self.waits_ended > self.waits_started).then_some("a wait ended twice");
            }
            EventKind::RequestRejected { late, .. } => {
                self.rejected += 1;
                self.late += usize::from(late);
            }
            EventKind::RequestReplayed { .. } => self.replayed += 1,
            EventKind::RequestRefused { .. } => self.refused += 1,
            _ => {}
        }
        None
    }
}

// === impl Lines ===

impl Lines {
    /// The lines since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Lines {
    fn on(&self, event: &Event<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line(event.kind()));
    }
}

fn line(kind: &EventKind<'_>) -> String {
    match *kind {
        EventKind::SessionCreated { .. } => "session created".into(),
        EventKind::SessionDropped { .. } => "session dropped".into(),
        EventKind::LoggedIn { login, generation, .. } => {
            format!("{login:?} began with {generation:?}")
        }
        EventKind::Replaced { login, generation, .. } => format!("{login:?} got {generation:?}"),
        EventKind::LoginEnded { login, generation, how, .. } => {
            format!("{login:?} with {generation:?} ended: {}", how.as_str())
        }
        EventKind::HookDone { login, outcome, .. } => {
            format!("hook of {login:?} {}", outcome.as_str())
        }
        EventKind::FlightStarted { flight, cause, awaited, failures, .. } => {
            let awaited = if awaited { "awaited" } else { "not awaited" };
            format!("flight {flight} started: {}, {awaited}, {failures} failures", cause.as_str())
        }
        EventKind::AttemptFailed { flight, attempt, error, .. } => {
            format!("flight {flight}, attempt {attempt} failed: {}", error.kind().as_str())
        }
        EventKind::FlightSettled { flight, waiters, outcome, .. } => {
            let outcome = match outcome {
                FlightOutcome::Renewed { generation, .. } => format!("renewed to {generation:?}"),
                FlightOutcome::Failed { error, in_a_row, .. } => {
                    format!("failed: {}, {in_a_row} in a row", error.kind().as_str())
                }
                outcome => outcome.as_str().to_owned(),
            };
            format!("flight {flight} settled: {outcome}, {waiters} waiters")
        }
        EventKind::RefreshHeldOff { cause, wait, .. } => {
            format!("held off for {wait:?}: {}", cause.as_str())
        }
        EventKind::RequestRejected { generation, late, replay, .. } => {
            let how = match (late, replay) {
                (false, false) => "rejected",
                (true, false) => "rejected late",
                (_, true) => "rejected again",
            };
            format!("request with {generation:?} {how}")
        }
        EventKind::WaitStarted { flight, waiters, .. } => {
            format!("request waits for {flight}, {waiters} wait")
        }
        EventKind::WaitEnded { flight, waiters, outcome, .. } => {
            let outcome = match outcome {
                WaitOutcome::Failed { kind, .. } => kind.as_str(),
                outcome => outcome.as_str(),
            };
            format!("request waited for {flight}, {waiters} wait: {outcome}")
        }
        EventKind::RequestReplayed { generation, .. } => {
            format!("request replayed with {generation:?}")
        }
        EventKind::RequestNotReplayed { obstacle, .. } => {
            format!("request not replayed: {}", obstacle.as_str())
        }
        EventKind::RequestRefused { error, .. } => {
            format!("request refused: {}", error.kind().as_str())
        }
        _ => format!("{kind:?}"),
    }
}

// === impl Durations ===

impl Durations {
    pub fn read(&self) -> Vec<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Durations {
    fn on(&self, event: &Event<'_>) {
        if let EventKind::FlightSettled { duration, .. }
        | EventKind::WaitEnded { duration, .. }
        | EventKind::HookDone { duration, .. } = event.kind()
        {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(*duration);
        }
    }
}
