//! Helpers: registries of users whose refreshers and loads the test answers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::oneshot;
use tower_refresh::{
    BoxError, RefreshContext, RefreshError, Session, Token, refresher_fn,
    session::{EndReason, EndedLogin, SessionTemplate},
    sessions::{Sessions, SessionsBuilder},
};

use crate::support::token;

/// Loads that the test answers, by key.
#[derive(Clone, Default)]
pub(crate) struct ManualLoads {
    pending: Arc<Mutex<HashMap<String, oneshot::Sender<LoadResult>>>>,
    started: Arc<AtomicUsize>,
}

pub(crate) type LoadResult = Result<Option<(String, Token)>, BoxError>;

/// The ends of logins, as text.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<Vec<String>>>);

pub(crate) fn key(name: &str) -> String {
    name.to_owned()
}

/// A template whose refresher is never refused, and whose hook notes each end.
pub(crate) fn template() -> (SessionTemplate, Ends) {
    let ends = Ends::default();
    let hook = {
        let ends = ends.clone();
        move |end: EndedLogin| {
            ends.note(&end);
            std::future::ready(())
        }
    };
    let refresher = refresher_fn(|context: RefreshContext| async move {
        let name = context.session_name().unwrap_or("unnamed").to_owned();
        Ok(Token::bearer(format!("{name}-fresh"))?)
    });
    (Session::builder(refresher).on_login_end(hook).template(), ends)
}

pub(crate) fn refused() -> SessionTemplate {
    let refresher =
        refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    Session::builder(refresher).template()
}

/// A registry in which names of sessions are their keys.
pub(crate) fn builder(template: SessionTemplate) -> SessionsBuilder<String> {
    Sessions::builder(template).name(String::clone)
}

pub(crate) async fn log_in(sessions: &Sessions<String>, name: &str) -> Session {
    sessions.login(&key(name), token(name)).await.unwrap()
}

pub(crate) fn bearer(session: &Session) -> Option<String> {
    session.credential().map(|credential| credential.access_token().to_owned())
}

// === impl ManualLoads ===

impl ManualLoads {
    pub(crate) fn put_into(&self, builder: SessionsBuilder<String>) -> SessionsBuilder<String> {
        let loads = self.clone();
        builder.load(move |key: String| {
            let (answer, answered) = oneshot::channel();
            loads.started.fetch_add(1, SeqCst);
            loads.pending.lock().unwrap().insert(key, answer);
            async move { answered.await.expect("the test answers its loads") }
        })
    }

    pub(crate) fn started(&self) -> usize {
        self.started.load(SeqCst)
    }

    pub(crate) fn answer(&self, name: &str, result: LoadResult) {
        let answer = self.pending.lock().unwrap().remove(name).expect("the load has started");
        drop(answer.send(result));
    }

    /// Finds the login of this user, whose token has the user's name.
    pub(crate) fn find(&self, name: &str) {
        self.answer(name, Ok(Some((key(name), token(name)))));
    }
}

// === impl Ends ===

impl Ends {
    fn note(&self, end: &EndedLogin) {
        let how = match end.reason() {
            EndReason::Logout => "logout",
            EndReason::Refused(_) => "refused",
            EndReason::Idle => "idle",
            EndReason::Lifetime => "lifetime",
            _ => "?",
        };
        let token = end.credential().map_or("-", |credential| credential.access_token());
        self.0.lock().unwrap().push(format!("{token} {how}"));
    }

    pub(crate) fn read(&self) -> Vec<String> {
        let mut ends = self.0.lock().unwrap().clone();
        ends.sort();
        ends
    }
}
