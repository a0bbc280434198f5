//! The status page for the operator. It has numbers, and no token, session key or name of a user.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{Json, extract::State, response::Html};
use serde::Serialize;
use tower_refresh::observe::{Event, EventKind, FlightOutcome, Observer};

use crate::backend::app::Backend;

/// An observer of all sessions that counts.
#[derive(Default)]
pub(super) struct StatusBoard(Mutex<Status>);

/// The numbers of the status page.
#[derive(Clone, Default, Serialize)]
pub(super) struct Status {
    /// The sessions in memory now.
    sessions: u64,
    /// The calls that wait for a refresh now.
    waiters: u64,
    /// The logins since the start.
    logins: u64,
    refreshes: Refreshes,
    /// The failed refreshes by their kind: `terminal`, `transient` or `ambiguous`.
    failures: BTreeMap<&'static str, u64>,
    /// The logins that ended, by the way they did: `refused`, `logout`, `idle` or `lifetime`.
    logins_ended: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Default, Serialize)]
struct Refreshes {
    started: u64,
    succeeded: u64,
    failed: u64,
}

const PAGE: &str = include_str!("pages/status.html");

pub(super) async fn json(State(backend): State<Backend>) -> Json<Status> {
    Json(backend.board.status().clone())
}

pub(super) async fn page(State(backend): State<Backend>) -> Html<String> {
    let status = backend.board.status().clone();
    let values = [
        ("{{sessions}}", status.sessions.to_string()),
        ("{{waiters}}", status.waiters.to_string()),
        ("{{logins}}", status.logins.to_string()),
        ("{{started}}", status.refreshes.started.to_string()),
        ("{{succeeded}}", status.refreshes.succeeded.to_string()),
        ("{{failed}}", status.refreshes.failed.to_string()),
        ("{{failures}}", rows(&status.failures)),
        ("{{logins_ended}}", rows(&status.logins_ended)),
    ];
    Html(values.iter().fold(PAGE.to_owned(), |page, (name, value)| page.replace(name, value)))
}

/// The rows of a table, or one that says that there is none.
fn rows(numbers: &BTreeMap<&'static str, u64>) -> String {
    if numbers.is_empty() {
        return r#"<tr><th scope="row">none</th><td>0</td></tr>"#.to_owned();
    }
    let row = |(name, number)| format!(r#"<tr><th scope="row">{name}</th><td>{number}</td></tr>"#);
    numbers.iter().map(row).collect()
}

// === impl StatusBoard ===

impl StatusBoard {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for StatusBoard {
    fn on(&self, event: &Event<'_>) {
        self.status().count(event.kind());
    }
}

// === impl Status ===

impl Status {
    fn count(&mut self, event: &EventKind<'_>) {
        match event {
            EventKind::SessionCreated { .. } => self.sessions += 1,
            EventKind::SessionDropped { .. } => self.sessions = self.sessions.saturating_sub(1),
            EventKind::LoggedIn { .. } => self.logins += 1,
            EventKind::LoginEnded { how, .. } => {
                *self.logins_ended.entry(how.as_str()).or_default() += 1;
            }
            EventKind::WaitStarted { .. } => self.waiters += 1,
            EventKind::WaitEnded { .. } => self.waiters = self.waiters.saturating_sub(1),
            EventKind::FlightStarted { .. } => self.refreshes.started += 1,
            EventKind::FlightSettled { outcome, .. } => self.settle(outcome),
            _ => {}
        }
    }

    fn settle(&mut self, outcome: &FlightOutcome<'_>) {
        match outcome {
            FlightOutcome::Renewed { .. } => self.refreshes.succeeded += 1,
            // A logout has overtaken the refresh.
            FlightOutcome::Fenced => {}
            _ => self.refreshes.failed += 1,
        }
        if let Some(error) = outcome.error() {
            *self.failures.entry(error.kind().as_str()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use http::{Request, Response, StatusCode};
    use tokio::sync::Notify;
    use tower::{Layer, ServiceExt, service_fn};
    use tower_refresh::{
        BoxError, Origins, RefreshContext, RefreshError, RefreshLayer, ReplayBody, Session, Token,
        refresher_fn,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_that_wait_are_counted_until_the_refresh_is_over() -> Result<(), BoxError> {
        let board = Arc::new(StatusBoard::default());
        let is_up = Arc::new(Notify::new());
        let refresher = refresher_fn({
            let is_up = is_up.clone();
            move |_: RefreshContext| {
                let is_up = is_up.clone();
                async move {
                    is_up.notified().await;
                    Err(RefreshError::transient("down"))
                }
            }
        });
        let session = Session::builder(refresher)
            .credential(Token::bearer("at-1")?)
            .observer(board.clone())
            .build();
        let rejects = service_fn(|_: Request<ReplayBody<Body>>| async {
            let response = Response::builder().status(StatusCode::UNAUTHORIZED);
            Ok::<_, BoxError>(response.body(Body::empty())?)
        });
        let client = RefreshLayer::new(session, Origins::any()).layer(rejects);
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let request = Request::get("https://api.example.com/").body(Body::empty());
                tokio::spawn(client.clone().oneshot(request.expect("the request is valid")))
            })
            .collect();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let status = board.status().clone();
        assert_eq!((status.waiters, status.refreshes.started), (10, 1));
        is_up.notify_one();
        for call in calls {
            assert!(call.await?.is_err());
        }
        tokio::task::yield_now().await;
        let status = board.status().clone();
        assert_eq!((status.sessions, status.waiters, status.refreshes.failed), (1, 0, 1));
        assert_eq!(status.failures, BTreeMap::from([("transient", 1)]));
        assert!(status.logins_ended.is_empty());
        Ok(())
    }
}
