use std::error::Error;

use tracing::{Level, Span, event, field::Empty, info_span};

use crate::observe::{
    contract::Observer,
    event::{Event, EventKind},
    outcome::{FlightOutcome, HookOutcome, LoginEnding},
    tracing::{instrumented::Instrumented, spans::FlightSpans},
};

/// An observer that makes spans and events. See the [module docs](crate::observe::tracing) for
/// their names.
///
/// Clones share the spans of the flights in progress. One observer may serve all sessions of a
/// program.
#[derive(Clone, Debug, Default)]
pub struct TracingObserver {
    spans: FlightSpans,
}

const FLIGHT: &str = "tower_refresh::flight";
const REQUEST: &str = "tower_refresh::request";
const LOGIN: &str = "tower_refresh::login";
const SESSION: &str = "tower_refresh::session";
const STORE: &str = "tower_refresh::store";

/// An error as the value of a field.
fn value(error: &(impl Error + 'static)) -> &(dyn Error + 'static) {
    error
}

// === impl TracingObserver ===

impl TracingObserver {
    /// An observer for the subscriber of the program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a refresher inside the span of its flight.
    ///
    /// The session needs this observer, or a clone of it. Otherwise there is no span, and the
    /// refresher runs as it is.
    pub fn instrument_refresher<R>(&self, refresher: R) -> Instrumented<R> {
        Instrumented::new(refresher, self.spans.clone())
    }

    fn flight_started(&self, event: &Event<'_>) {
        let EventKind::FlightStarted { flight, login, generation, cause, awaited, .. } =
            *event.kind()
        else {
            return;
        };
        let Some(session) = event.session_id() else { return };
        let span = info_span!(
            target: FLIGHT,
            parent: None,
            "refresh",
            session.name = event.session_name(),
            flight,
            %login,
            %generation,
            cause = cause.as_str(),
            awaited,
            outcome = Empty,
            error.type = Empty,
        );
        span.follows_from(Span::current());
        self.spans.open(session, flight, span);
    }

    fn flight_settled(&self, event: &Event<'_>) {
        let EventKind::FlightSettled { flight, waiters, duration, outcome, .. } = *event.kind()
        else {
            return;
        };
        let span = event.session_id().and_then(|session| self.spans.close(session, flight));
        let span = span.unwrap_or_else(Span::none);
        span.record("outcome", outcome.as_str());
        if let Some(error) = outcome.error() {
            span.record("error.type", error.kind().as_str());
        }
        let (name, word) = (event.session_name(), outcome.as_str());
        let duration = duration.as_secs_f64();
        macro_rules! settled {
            ($level:ident, $($field:tt)*) => {
                event!(
                    target: FLIGHT, parent: &span, Level::$level, session.name = name, outcome = word, duration,
                    waiters, $($field)* "refresh settled"
                )
            };
        }
        match outcome {
            FlightOutcome::Failed { error, in_a_row, backoff } => {
                let (kind, backoff) = (error.kind().as_str(), backoff.as_secs_f64());
                if in_a_row == 1 {
                    settled!(WARN, error.type = kind, error = value(error), in_a_row, backoff,);
                } else {
                    settled!(DEBUG, error.type = kind, error = value(error), in_a_row, backoff,);
                }
            }
            FlightOutcome::Refused { error } => {
                settled!(WARN, error.type = error.kind().as_str(), error = value(error),);
            }
            FlightOutcome::Renewed { .. } | FlightOutcome::Fenced => settled!(DEBUG,),
        }
    }

    fn attempt_failed(&self, event: &Event<'_>) {
        let EventKind::AttemptFailed { flight, attempt, error, pause, .. } = *event.kind() else {
            return;
        };
        let span = event.session_id().and_then(|session| self.spans.get(session, flight));
        event!(
            target: FLIGHT,
            parent: &span.unwrap_or_else(Span::none),
            Level::DEBUG,
            session.name = event.session_name(),
            attempt,
            pause = pause.as_secs_f64(),
            error.type = error.kind().as_str(),
            error = value(error),
            "attempt failed"
        );
    }
}

impl Observer for TracingObserver {
    fn on(&self, event: &Event<'_>) {
        let name = event.session_name();
        match *event.kind() {
            EventKind::FlightStarted { .. } => self.flight_started(event),
            EventKind::FlightSettled { .. } => self.flight_settled(event),
            EventKind::AttemptFailed { .. } => self.attempt_failed(event),
            EventKind::RefreshHeldOff { cause, wait, .. } => {
                event!(target: FLIGHT, Level::DEBUG, session.name = name, cause = cause.as_str(),
                    wait = wait.as_secs_f64(), "refresh held off"
                )
            }
            EventKind::RequestRejected { .. }
            | EventKind::WaitStarted { .. }
            | EventKind::WaitEnded { .. }
            | EventKind::RequestReplayed { .. }
            | EventKind::RequestNotReplayed { .. }
            | EventKind::RequestRefused { .. } => request(name, event.kind()),
            EventKind::LoggedIn { .. }
            | EventKind::Replaced { .. }
            | EventKind::LoginEnded { .. }
            | EventKind::HookDone { .. } => login(name, event.kind()),
            EventKind::SessionCreated => {
                event!(target: SESSION, Level::TRACE, session.name = name, "session created");
            }
            EventKind::SessionEvicted => {
                event!(target: SESSION, Level::DEBUG, session.name = name, "session evicted");
            }
            EventKind::SessionsFull { capacity } => {
                event!(target: SESSION, Level::DEBUG, capacity, "registry full");
            }
            EventKind::SessionDropped => {
                event!(target: SESSION, Level::TRACE, session.name = name, "session dropped");
            }
            EventKind::StoreOperationDone { .. }
            | EventKind::StoreAdopted
            | EventKind::StoreLeaseLost
            | EventKind::StoreSaveFailed { .. }
            | EventKind::StoreDegraded { .. }
            | EventKind::StoreRecovered { .. } => store(name, event.kind()),
        }
    }
}

fn request(name: Option<&str>, kind: &EventKind<'_>) {
    match *kind {
        EventKind::RequestRejected { generation, late, replay, .. } => {
            event!(target: REQUEST, Level::DEBUG, session.name = name, %generation, late, replay,
                "credential rejected"
            )
        }
        EventKind::WaitStarted { flight, waiters, .. } => {
            event!(target: REQUEST, Level::DEBUG, session.name = name, flight, waiters, "waits for a refresh"
            )
        }
        EventKind::WaitEnded { flight, duration, outcome, .. } => {
            let wait = duration.as_secs_f64();
            Span::current().record("tower_refresh.wait", wait);
            event!(target: REQUEST, Level::DEBUG, session.name = name, flight, outcome = outcome.as_str(), wait,
                "waited for a refresh"
            );
        }
        EventKind::RequestReplayed { generation, .. } => {
            event!(target: REQUEST, Level::DEBUG, session.name = name, %generation,
                "request replayed"
            )
        }
        EventKind::RequestNotReplayed { generation, obstacle, .. } => {
            event!(target: REQUEST, Level::DEBUG, session.name = name, %generation,
                reason = obstacle.as_str(), "request not replayed"
            )
        }
        EventKind::RequestRefused { error, .. } => {
            event!(target: REQUEST, Level::DEBUG, session.name = name, kind = error.kind().as_str(),
                error = value(error), "request refused"
            )
        }
        _ => {}
    }
}

fn login(name: Option<&str>, kind: &EventKind<'_>) {
    match *kind {
        EventKind::LoggedIn { login, .. } => {
            event!(target: LOGIN, Level::DEBUG, session.name = name, %login, "logged in");
        }
        EventKind::Replaced { login, generation, .. } => {
            event!(target: LOGIN, Level::DEBUG, session.name = name, %login,
                %generation, "credential replaced"
            )
        }
        EventKind::LoginEnded { login, how: LoginEnding::Refused { error }, .. } => {
            event!(target: LOGIN, Level::WARN, session.name = name, %login, how = "refused",
                error = value(error), "login ended"
            )
        }
        EventKind::LoginEnded { login, how, .. } => {
            event!(target: LOGIN, Level::DEBUG, session.name = name, %login, how = how.as_str(),
                "login ended"
            )
        }
        EventKind::HookDone { login, duration, outcome: HookOutcome::Panicked, .. } => {
            event!(target: LOGIN, Level::WARN, session.name = name, %login, outcome = "panicked",
                duration = duration.as_secs_f64(), "logout hook done"
            )
        }
        EventKind::HookDone { login, duration, outcome, .. } => {
            event!(target: LOGIN, Level::DEBUG, session.name = name, %login,
                outcome = outcome.as_str(), duration = duration.as_secs_f64(), "logout hook done"
            )
        }
        _ => {}
    }
}

fn store(name: Option<&str>, kind: &EventKind<'_>) {
    match *kind {
        EventKind::StoreOperationDone { operation, duration, error, error_type } => {
            event!(target: STORE, Level::TRACE, session.name = name, op = operation.as_str(),
                duration = duration.as_secs_f64(), error.type = error_type,
                error = error.map(|error| error as &(dyn Error + 'static)), "store operation done"
            )
        }
        EventKind::StoreAdopted => {
            event!(target: STORE, Level::DEBUG, session.name = name, "credential adopted");
        }
        EventKind::StoreLeaseLost => {
            event!(target: STORE, Level::WARN, session.name = name, "lease lost")
        }
        EventKind::StoreSaveFailed { error, error_type } => {
            event!(target: STORE, Level::ERROR, session.name = name, error.type = error_type,
                error = error as &(dyn Error + 'static), "save failed"
            )
        }
        EventKind::StoreDegraded { error, error_type } => {
            event!(target: STORE, Level::WARN, session.name = name, error.type = error_type,
                error = error as &(dyn Error + 'static), "store degraded"
            )
        }
        EventKind::StoreRecovered { duration } => {
            event!(target: STORE, Level::INFO, session.name = name, duration = duration.as_secs_f64(),
                "store recovered"
            )
        }
        _ => {}
    }
}
