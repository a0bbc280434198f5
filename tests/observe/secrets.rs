//! Guarantee 12: no secret is in an event, in an error of an event, or in its `Debug` output.

use std::{error::Error, sync::Arc};

use tower::Layer;
use tower_refresh::{
    Origins, RefreshContext, RefreshError, RefreshLayer, Session, Token,
    observe::{Event, EventKind, LoginEnding, Observer},
    refresher_fn,
};

use crate::support::{
    audit::{Audit, Lines},
    *,
};

const SECRET: &str = "s3cr3t";

/// Checks the texts of each event, and counts the kinds of events.
#[derive(Clone, Default)]
struct Censor(Arc<std::sync::Mutex<std::collections::BTreeSet<String>>>);

impl Observer for Censor {
    fn on(&self, event: &Event<'_>) {
        let texts = [format!("{event:?}"), format!("{event:#?}"), format!("{:?}", event.kind())];
        let mut leaks: Vec<_> = texts.into_iter().filter(|text| text.contains(SECRET)).collect();
        let error: Option<&dyn Error> = match event.kind() {
            EventKind::RequestRefused { error, .. } => Some(*error),
            EventKind::FlightSettled { outcome, .. } => outcome.error().map(|error| error as _),
            EventKind::LoginEnded { how: LoginEnding::Refused { error, .. }, .. } => Some(*error),
            EventKind::AttemptFailed { error, .. } => Some(*error),
            _ => None,
        };
        let mut next = error;
        while let Some(error) = next {
            leaks.extend([format!("{error}"), format!("{error:?}"), format!("{error:#?}")]);
            next = error.source();
        }
        leaks.retain(|text| text.contains(SECRET));
        let kind = format!("{:?}", event.kind());
        let kind = kind.split([' ', '{']).next().unwrap_or_default().to_owned();
        let mut kinds = self.0.lock().unwrap();
        kinds.insert(kind);
        kinds.extend(leaks.into_iter().map(|leak| format!("leak: {leak}")));
    }
}

fn secret(number: usize) -> Token {
    token(&format!("{SECRET}-at-{number}")).with_refresh_token(format!("{SECRET}-rt-{number}"))
}

#[tokio::test(start_paused = true)]
async fn g12_no_secret_is_in_any_event_of_a_session() {
    let (censor, audit, lines) = (Censor::default(), Audit::default(), Lines::default());
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let refresher = refresher_fn(move |_: RefreshContext| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            match call {
                0 => Ok(secret(2)),
                1 => Err(RefreshError::unprocessed("refused")),
                2 => Err(RefreshError::transient("503")),
                // The credential that was rejected.
                3 => Ok(secret(2)),
                _ => Err(RefreshError::terminal("revoked")),
            }
        }
    });
    let session = Session::builder(refresher)
        .credential(secret(1))
        .refresh_limit(1000, std::time::Duration::from_millis(1))
        .on_login_end(|_| async {})
        .observer(censor.clone())
        .observer(audit.clone())
        .observer(lines.clone())
        .build();
    let upstream = Upstream::accepting(&[&format!("{SECRET}-at-2")]);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());
    for turn in 0..4 {
        for request in ask_many(&client, 4, |_| post("/", "body")) {
            drop(request.await.unwrap());
        }
        if turn == 0 {
            upstream.accept_only(&[]);
            session.replace(session.state().login(), secret(2)).unwrap();
        }
        after_back_off().await;
        after_back_off().await;
    }
    session.login(secret(3));
    session.logout().await;
    drop((session, client));
    settle_tasks().await;
    audit.assert_balanced();
    let kinds = censor.0.lock().unwrap().clone();
    let expected = [
        "AttemptFailed",
        "FlightSettled",
        "FlightStarted",
        "HookDone",
        "LoggedIn",
        "LoginEnded",
        "Replaced",
        "RequestRefused",
        "RequestRejected",
        "RequestReplayed",
        "SessionCreated",
        "SessionDropped",
        "WaitEnded",
        "WaitStarted",
    ];
    assert_eq!(kinds.iter().collect::<Vec<_>>(), expected, "{:#?}", lines.take());
}
