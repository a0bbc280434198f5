//! The log of `--log`: each refresh as a span, and each login, on standard error.

use std::time::Instant;

use tower_refresh::observe::{Event, EventKind, Observer};

/// An observer of the dashboard's session. A program with a logger uses the observer of the feature
/// `tracing` instead.
#[derive(Clone, Copy)]
pub(crate) struct Log {
    start: Instant,
}

impl Log {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Observer for Log {
    fn on(&self, event: &Event<'_>) {
        let Some(line) = line(event.kind()) else { return };
        eprintln!("{:9.3} s  {line}", self.start.elapsed().as_secs_f64());
    }
}

fn line(kind: &EventKind<'_>) -> Option<String> {
    Some(match *kind {
        EventKind::FlightStarted { flight, cause, .. } => {
            format!("> refresh {flight}: {}", cause.as_str())
        }
        EventKind::FlightSettled { flight, outcome, duration, waiters, .. } => {
            let outcome = outcome.as_str();
            format!("< refresh {flight}: {outcome} after {duration:.1?}, {waiters} requests waited")
        }
        EventKind::LoggedIn { login, .. } => format!("  login {login} began"),
        EventKind::LoginEnded { login, how, .. } => {
            format!("  login {login} ended: {}", how.as_str())
        }
        EventKind::HookDone { login, outcome, duration, .. } => {
            format!("  hook of login {login} {} after {duration:.1?}", outcome.as_str())
        }
        _ => return None,
    })
}
