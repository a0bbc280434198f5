//! Observers that panic, block or call the session. None of them changes an outcome.

use std::{
    panic::{panic_any, resume_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use http::StatusCode;
use tower::Layer;
use tower_refresh::{
    Origins, RefreshContext, RefreshError, RefreshLayer, Session,
    observe::{Event, EventKind, Observer, observer_fn},
    refresher_fn,
    session::{Phase, SessionBuilder, WeakSession},
};

use crate::support::{
    audit::{Audit, Lines},
    *,
};

/// Panics without a message on stderr, with a payload whose `Drop` panics as well. So does the drop
/// of the observer.
struct Panicking {
    dropped: Arc<AtomicUsize>,
}

struct PanicsOnDrop;

impl Observer for Panicking {
    fn on(&self, _: &Event<'_>) {
        resume_unwind(Box::new(PanicsOnDrop));
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
        resume_unwind(Box::new("the drop of the observer"));
    }
}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        resume_unwind(Box::new("the drop of the payload"));
    }
}

/// A session goes through a success, a failure, a panic of its refresher, a refusal with a hook,
/// and a login. Returns what its requests got, in words.
async fn story(observe: impl FnOnce(SessionBuilder) -> SessionBuilder) -> Vec<String> {
    story_with(observe, |_| {}).await
}

async fn story_with(
    observe: impl FnOnce(SessionBuilder) -> SessionBuilder,
    built: impl FnOnce(&Session),
) -> Vec<String> {
    let journal = Journal::default();
    let calls = AtomicUsize::new(0);
    let refresher = refresher_fn(move |_: RefreshContext| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            match call {
                0 => Ok(token("at-2")),
                1 => Err(RefreshError::transient("503")),
                2 => resume_unwind(Box::new("a panic without a message")),
                _ => Err(RefreshError::terminal("revoked")),
            }
        }
    });
    let builder = Session::builder(refresher)
        .credential(token("at-1"))
        .backoff(Duration::from_millis(1), Duration::from_millis(1))
        .refresh_limit(1, Duration::ZERO)
        .on_login_end(journal.hook());
    let session = observe(builder).build();
    built(&session);
    let upstream = Upstream::accepting(&["at-2"]);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());
    for turn in 0..4 {
        for request in ask_many(&client, 8, |_| get("/")) {
            journal.note(match request.await.unwrap() {
                Ok(response) => response.status().to_string(),
                Err(error) => format!("{:?}", session_error(&error).kind()),
            });
        }
        if turn == 0 {
            upstream.accept_only(&["at-9"]);
        }
        tokio::time::advance(Duration::from_millis(5)).await;
    }
    session.login(token("at-9"));
    journal.note(status(ask(&client, get("/"))).await.to_string());
    settle_tasks().await;
    let state = session.state();
    journal.note(format!("{} {}", state.flights_started(), state.flights_settled()));
    journal.read()
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_changes_nothing_and_hides_nothing_from_the_next_one() {
    let plain = story(|builder| builder).await;
    assert_eq!(plain.iter().filter(|line| *line == "200 OK").count(), 9);
    assert_eq!(plain.last().unwrap(), "4 4");

    let (audit, dropped) = (Audit::default(), Arc::new(AtomicUsize::new(0)));
    let panicking = Panicking { dropped: dropped.clone() };
    let observed = story(|builder| builder.observer(panicking).observer(audit.clone())).await;
    assert_eq!(observed, plain);
    audit.assert_balanced();
    assert_eq!(audit.books().flights_started, 4);
    settle_tasks().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "dropped with its session");
    assert_eq!(audit.books().sessions_dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_with_a_message_changes_nothing() {
    let plain = story(|builder| builder).await;
    let panics = observer_fn(|event: &Event<'_>| {
        if let EventKind::FlightSettled { .. } = event.kind() {
            panic_any("a message");
        }
    });
    assert_eq!(story(|builder| builder.observer(panics)).await, plain);
}

#[tokio::test]
async fn an_observer_that_blocks_changes_no_outcome() {
    let (refresher, mut flights) = manual_refresher();
    let audit = Audit::default();
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .observer(observer_fn(|_: &Event<'_>| thread::sleep(Duration::from_millis(100))))
        .observer(audit.clone())
        .build();
    let (client, mut upstream) = over_mock(&session);
    let requests = ask_many(&client, 2, |_| get("/"));
    for arrived in upstream.take(2).await {
        arrived.reject();
    }
    flights.next().await.succeed("at-2");
    for arrived in upstream.take(2).await {
        assert_eq!(arrived.token(), "at-2");
        arrived.accept();
    }
    for request in requests {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    audit.assert_balanced();
}

/// Calls of the session that change nothing by themselves, made within every event.
#[tokio::test(start_paused = true)]
async fn an_observer_that_reads_the_session_within_every_event_changes_nothing() {
    let plain = story(|builder| builder).await;
    let cell: Arc<OnceLock<WeakSession>> = Arc::default();
    let (within, calls) = (cell.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    let observer = observer_fn(move |_: &Event<'_>| {
        let Some(session) = within.get().and_then(WeakSession::upgrade) else { return };
        counted.fetch_add(1, Ordering::SeqCst);
        drop((session.state(), session.credential(), session.waiters(), session.subscribe()));
        if let Phase::Refreshing(_) = session.state().phase() {
            // Joins the flight, or is refused. The future is not polled.
            drop(session.refresh());
        }
    });
    let observed = story_with(
        |builder| builder.observer(observer),
        |session| cell.set(session.downgrade()).unwrap(),
    )
    .await;
    assert!(calls.load(Ordering::SeqCst) > 40, "the observer has called the session");
    assert_eq!(observed, plain);
}

/// Logs out, logs in or replaces within one event of each kind, at any point of a flight. Every
/// flight still settles once, and every request is answered.
#[tokio::test(start_paused = true)]
async fn an_observer_may_log_out_log_in_or_replace_within_any_event() {
    type Act = fn(&Session);
    let acts: [Act; 4] = [
        |session| drop(session.logout()),
        |session| {
            session.login(token("at-8"));
        },
        |session| drop(session.replace(session.state().login(), token("at-7"))),
        |session| drop(session.refresh()),
    ];
    for act in acts {
        for nth in 0..8 {
            let cell: Arc<OnceLock<WeakSession>> = Arc::default();
            let (within, count) = (cell.clone(), AtomicUsize::new(0));
            let (audit, lines) = (Audit::default(), Lines::default());
            let upstream = Upstream::accepting(&["at-2", "at-3", "at-7", "at-8"]);
            let refresher = refresher_fn(|context: RefreshContext| async move {
                tokio::task::yield_now().await;
                let next = if context.cause().as_str() == "forced" { "at-3" } else { "at-2" };
                Ok(token(next))
            });
            let session = Session::builder(refresher)
                .credential(token("at-1"))
                .observer(audit.clone())
                .observer(lines.clone())
                .observer(observer_fn(move |_: &Event<'_>| {
                    let Some(session) = within.get().and_then(WeakSession::upgrade) else {
                        return;
                    };
                    if count.fetch_add(1, Ordering::SeqCst) == nth {
                        act(&session);
                    }
                }))
                .build();
            cell.set(session.downgrade()).unwrap();
            let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream);
            for request in ask_many(&client, 4, |_| get("/")) {
                drop(request.await.unwrap());
            }
            settle_tasks().await;
            audit.assert_balanced();
            let state = session.state();
            assert_eq!(state.flights_started(), state.flights_settled());
            assert_eq!(session.waiters(), 0, "{:?}", lines.take());
        }
    }
}

/// A logout within an event takes effect before anything more is sent.
#[tokio::test(start_paused = true)]
async fn g09_nothing_is_sent_after_an_observer_has_logged_out() {
    for nth in 0..17 {
        let cell: Arc<OnceLock<WeakSession>> = Arc::default();
        let (within, count) = (cell.clone(), AtomicUsize::new(0));
        let sent_until_logout = Arc::new(OnceLock::new());
        let upstream = Upstream::accepting(&["at-2"]);
        let (logout, seen) = (sent_until_logout.clone(), upstream.clone());
        let refresher = refresher_fn(|_: RefreshContext| async { Ok(token("at-2")) });
        let session = Session::builder(refresher)
            .credential(token("at-1"))
            .observer(observer_fn(move |_: &Event<'_>| {
                let Some(session) = within.get().and_then(WeakSession::upgrade) else { return };
                if count.fetch_add(1, Ordering::SeqCst) == nth {
                    drop(session.logout());
                    logout.set(seen.log().len()).unwrap();
                }
            }))
            .build();
        cell.set(session.downgrade()).unwrap();
        let client = RefreshLayer::new(session, Origins::any()).layer(upstream.clone());
        for request in ask_many(&client, 4, |_| get("/")) {
            drop(request.await.unwrap());
        }
        let sent = *sent_until_logout.get().expect("the story has more events");
        assert_eq!(upstream.log().len(), sent, "event {nth}: {:?}", upstream.log());
    }
}
