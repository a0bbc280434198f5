//! Guarantee 11: a flight does not wait for itself.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use support::*;
use tower::ServiceExt;
use tower_refresh::{
    ErrorKind, RefreshContext, RefreshError, RefreshErrorKind, Session, Token,
    extension::Anonymous,
    refresher::Cause,
    refresher_fn,
    session::{Phase, WeakSession},
};

/// A value that a refresher uses and that is created after the refresher.
type LateInit<T> = Arc<OnceLock<T>>;

/// Sends a token request through the client and turns the response into a token.
async fn request_token(
    client: Client,
    request: Request<Full<Bytes>>,
) -> Result<Token, RefreshError> {
    let answer = client.oneshot(request).await.map_err(RefreshError::transient)?;
    match answer.status() {
        StatusCode::OK => Ok(Token::bearer(text(answer).await)?),
        status => Err(RefreshError::from_status(status)),
    }
}

fn token_response(body: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::from(body))
}

#[tokio::test(start_paused = true)]
async fn g11_requests_of_a_refresher_through_the_same_client_pass_untouched() {
    let (session, client, mut upstream) =
        session_refreshed_through_its_client(|client| request_token(client, get("/auth/refresh")));
    let request = ask(&client, get("/api"));
    upstream.next().await.reject();
    let refresh = upstream.next().await;
    assert_eq!((refresh.token(), refresh.request.uri().path()), ("-", "/auth/refresh"));
    assert_eq!(session.waiters(), 1);
    // Requests of other tasks wait for the flight.
    let other = ask(&client, get("/other"));
    upstream.none().await;
    assert_eq!(session.waiters(), 2);

    refresh.answer(token_response("at-2"));
    for arrived in upstream.take(2).await {
        assert_eq!(arrived.token(), "at-2");
        arrived.accept();
    }
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(status(other).await, StatusCode::OK);
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn g11_a_rejection_of_a_refreshers_own_request_is_returned_to_it() {
    let (session, client, mut upstream) =
        session_refreshed_through_its_client(|client| request_token(client, get("/auth/refresh")));
    let request = ask(&client, get("/api"));
    upstream.next().await.reject();
    upstream.next().await.reject();
    let error = request.await.unwrap().unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::LoggedOut);
    assert!(refresh_error(session_error(&error)).is_terminal());
    upstream.none().await;
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn g11_the_authorization_of_a_refreshers_own_request_is_kept() {
    let (_session, client, mut upstream) = session_refreshed_through_its_client(|client| {
        let request =
            Request::post("/auth/refresh").header("authorization", "Bearer of-the-client");
        request_token(client, request.body(Full::default()).unwrap())
    });
    let request = ask(&client, get("/api"));
    upstream.next().await.reject();
    let refresh = upstream.next().await;
    assert_eq!(refresh.token(), "of-the-client");
    refresh.answer(token_response("at-2"));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g11_requests_of_a_refresher_pass_during_refresh_and_acquire() {
    let (session, _client, mut upstream) =
        session_refreshed_through_its_client(|client| request_token(client, get("/auth/refresh")));
    let refreshed = tokio::spawn(session.refresh());
    let refresh = upstream.next().await;
    assert_eq!(refresh.token(), "-", "the request carries no credential, even a usable one");
    refresh.answer(token_response("at-2"));
    assert_eq!(refreshed.await.unwrap().unwrap().access_token(), "at-2");

    session.logout().await;
    let acquired = tokio::spawn(session.acquire());
    let login = upstream.next().await;
    assert_eq!(login.token(), "-");
    login.answer(token_response("at-3"));
    assert_eq!(acquired.await.unwrap().unwrap().access_token(), "at-3");
}

#[tokio::test(start_paused = true)]
async fn g11_session_methods_that_would_wait_for_their_own_flight_fail_and_the_others_work() {
    let cell: LateInit<WeakSession> = Arc::default();
    let journal = Journal::default();
    let (in_flight, noted) = (cell.clone(), journal.clone());
    let refresher = refresher_fn(move |context: RefreshContext| {
        let session = in_flight.get().unwrap().upgrade().unwrap();
        let noted = noted.clone();
        async move {
            assert_eq!(session.refresh().await.unwrap_err().kind(), ErrorKind::Recursive);
            assert_eq!(session.acquire().await.unwrap_err().kind(), ErrorKind::Recursive);
            assert!(matches!(session.state().phase(), Phase::Refreshing(_)));
            assert_eq!(session.credential().unwrap().access_token(), "at-1");
            assert_eq!(session.subscribe().state().login(), context.login());
            assert_eq!(session.subscribe().state().generation(), context.generation());
            assert_eq!(session.waiters(), 0);
            noted.note("all methods called");
            Ok(token("at-2"))
        }
    });
    let session = Session::new(token("at-1"), refresher);
    cell.set(session.downgrade()).unwrap();
    assert_eq!(session.refresh().await.unwrap().access_token(), "at-2");
    assert_eq!(journal.read(), ["all methods called"]);
    // The task of the flight has ended, so the same calls succeed.
    assert_eq!(session.acquire().await.unwrap().access_token(), "at-2");
}

#[tokio::test(start_paused = true)]
async fn g11_a_refresher_may_log_in_replace_and_log_out() {
    for (what, expected, credential) in [
        ("login", Some(ErrorKind::LoginChanged), Some("at-by-hand")),
        ("replace", None, Some("at-by-hand")),
        ("logout", Some(ErrorKind::LoggedOut), None),
    ] {
        let cell: LateInit<WeakSession> = Arc::default();
        let journal = Journal::default();
        let in_flight = cell.clone();
        let refresher = refresher_fn(move |context: RefreshContext| {
            let session = in_flight.get().unwrap().upgrade().unwrap();
            async move {
                match what {
                    "login" => drop(session.login(token("at-by-hand"))),
                    "replace" => {
                        session.replace(context.login(), token("at-by-hand")).map(drop).unwrap()
                    }
                    // `logout` does not wait for its hook here, because the hook waits for this
                    // refresher.
                    _ => session.logout().await,
                }
                assert!(context.is_fenced());
                Ok(token("at-2"))
            }
        });
        let session = Session::builder(refresher)
            .credential(token("at-1"))
            .on_login_end(journal.hook())
            .build();
        cell.set(session.downgrade()).unwrap();
        let (client, mut upstream) = over_mock(&session);
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        match expected {
            Some(expected) => assert_eq!(kind(request.await.unwrap()), expected),
            None => {
                let replay = upstream.next().await;
                assert_eq!(replay.token(), "at-by-hand");
                replay.accept();
                assert_eq!(status(request).await, StatusCode::OK);
            }
        }
        settle_tasks().await;
        let now = session.credential();
        assert_eq!(now.as_ref().map(|credential| credential.access_token()), credential);
        let hook: &[&str] = if what == "logout" { &["logged out at-2"] } else { &[] };
        assert_eq!(journal.read(), hook);
    }
}

#[tokio::test(start_paused = true)]
async fn g11_two_sessions_whose_refreshers_use_each_others_clients_do_not_deadlock() {
    let (cell_of_a, cell_of_b): (LateInit<Client>, LateInit<Client>) = Default::default();
    let (by_a, by_b) = (cell_of_b.clone(), cell_of_a.clone());
    let a = Session::new(
        token("a-1"),
        refresher_fn(move |_: RefreshContext| {
            request_token(by_a.get().unwrap().clone(), get("/token-for-a"))
        }),
    );
    let b = Session::new(
        token("b-1"),
        refresher_fn(move |_: RefreshContext| {
            request_token(by_b.get().unwrap().clone(), get("/token-for-b"))
        }),
    );
    let (client_of_a, mut upstream_of_a) = over_mock(&a);
    let (client_of_b, mut upstream_of_b) = over_mock(&b);
    assert!(cell_of_a.set(client_of_a.clone()).is_ok());
    assert!(cell_of_b.set(client_of_b).is_ok());

    let request = ask(&client_of_a, get("/api"));
    upstream_of_a.next().await.reject();
    // For B, the request of A's refresher is like any other. It carries B's credential and may
    // start a flight of B.
    let for_a = upstream_of_b.next().await;
    assert_eq!((for_a.token(), for_a.request.uri().path()), ("b-1", "/token-for-a"));
    for_a.reject();
    // A's flight started B's flight, so the request of B's refresher passes through A's client
    // untouched.
    let for_b = upstream_of_a.next().await;
    assert_eq!((for_b.token(), for_b.request.uri().path()), ("-", "/token-for-b"));
    assert_eq!((a.waiters(), b.waiters()), (1, 1));
    for_b.answer(token_response("b-2"));
    let for_a = upstream_of_b.next().await;
    assert_eq!(for_a.token(), "b-2");
    for_a.answer(token_response("a-2"));
    let replay = upstream_of_a.next().await;
    assert_eq!(replay.token(), "a-2");
    replay.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!((a.waiters(), b.waiters()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn g11_refresh_in_a_flight_that_another_flight_started_fails_as_recursive() {
    let cell: LateInit<WeakSession> = Arc::default();
    let in_b = cell.clone();
    let b = Session::builder(refresher_fn(move |_: RefreshContext| {
        let a = in_b.get().unwrap().upgrade().unwrap();
        async move {
            assert_eq!(a.refresh().await.unwrap_err().kind(), ErrorKind::Recursive);
            Ok(token("b-1"))
        }
    }))
    .build();
    let in_a = b.clone();
    let a = Session::new(
        token("a-1"),
        refresher_fn(move |_: RefreshContext| {
            let b = in_a.clone();
            async move {
                b.acquire().await.map_err(RefreshError::transient)?;
                Ok(token("a-2"))
            }
        }),
    );
    cell.set(a.downgrade()).unwrap();
    assert_eq!(a.refresh().await.unwrap().access_token(), "a-2");
    assert_eq!(b.credential().unwrap().access_token(), "b-1");
}

/// Both flights start before either waits for the other, so neither is recursive. A time-out ends
/// them.
#[tokio::test(start_paused = true)]
async fn g11_two_flights_that_wait_for_each_other_time_out() {
    let (cell_of_a, cell_of_b): (LateInit<WeakSession>, LateInit<WeakSession>) = Default::default();
    let wait_for = |cell: LateInit<WeakSession>| {
        refresher_fn(move |_: RefreshContext| {
            let other = cell.get().unwrap().upgrade().unwrap();
            async move {
                tokio::task::yield_now().await;
                let waited = other.refresh().await.map_err(RefreshError::transient)?;
                Ok(waited.as_ref().clone())
            }
        })
    };
    let a = Session::builder(wait_for(cell_of_b.clone())).credential(token("a-1"));
    let a = a.refresh_timeout(Duration::from_secs(5)).build();
    let b = Session::builder(wait_for(cell_of_a.clone())).credential(token("b-1"));
    let b = b.refresh_timeout(Duration::from_secs(60)).build();
    cell_of_a.set(a.downgrade()).unwrap();
    cell_of_b.set(b.downgrade()).unwrap();
    let (of_a, of_b) = (a.refresh(), b.refresh());
    let (of_a, of_b) = tokio::join!(of_a, of_b);
    assert_eq!(refresh_kind(&of_a.unwrap_err()), RefreshErrorKind::Ambiguous);
    assert_eq!(refresh_kind(&of_b.unwrap_err()), RefreshErrorKind::Transient);
}

#[tokio::test(start_paused = true)]
async fn g11_a_request_that_a_refresher_spawns_must_be_anonymous() {
    for anonymous in [false, true] {
        let cell: LateInit<Client> = Arc::default();
        let in_flight = cell.clone();
        let refresher = refresher_fn(move |_: RefreshContext| {
            let client = in_flight.get().unwrap().clone();
            async move {
                let mut request = get("/auth/refresh");
                if anonymous {
                    request.extensions_mut().insert(Anonymous);
                }
                tokio::spawn(request_token(client, request))
                    .await
                    .map_err(RefreshError::transient)?
            }
        });
        let session = Session::builder(refresher)
            .credential(token("at-1"))
            .refresh_timeout(Duration::from_secs(5))
            .build();
        let (client, mut upstream) = over_mock(&session);
        assert!(cell.set(client.clone()).is_ok());
        let request = ask(&client, get("/api"));
        upstream.next().await.reject();
        if anonymous {
            let refresh = upstream.next().await;
            assert_eq!(refresh.token(), "-");
            refresh.answer(token_response("at-2"));
            upstream.next().await.accept();
            assert_eq!(status(request).await, StatusCode::OK);
        } else {
            // The spawned request waits for the flight, and the flight waits for the request until
            // it times out.
            upstream.none().await;
            assert_eq!(session.waiters(), 2);
            let error = request.await.unwrap().unwrap_err();
            assert_eq!(refresh_kind(session_error(&error)), RefreshErrorKind::Ambiguous);
        }
        settle_tasks().await;
        assert_eq!(session.waiters(), 0);
    }
}

/// Only the task of the flight is recursive.
#[tokio::test(start_paused = true)]
async fn g11_the_task_that_started_a_flight_is_not_recursive() {
    let (session, client, mut upstream) =
        session_refreshed_through_its_client(|client| request_token(client, get("/auth/refresh")));
    let refreshed = session.refresh();
    let refresh = upstream.next().await;
    let request = ask(&client, get("/api"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-1");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    refresh.answer(token_response("at-2"));
    assert_eq!(refreshed.await.unwrap().access_token(), "at-2");
    let again = session.refresh();
    upstream.next().await.answer(token_response("at-3"));
    assert_eq!(again.await.unwrap().access_token(), "at-3");
}

#[tokio::test(start_paused = true)]
async fn g11_anonymous_requests_pass_in_every_phase_and_their_rejections_start_no_flight() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (client, mut upstream) = over_mock(&session);
    let anonymous = || {
        let mut request = get("/public");
        request.extensions_mut().insert(Anonymous);
        request
    };
    for phase in ["active", "refreshing", "failed", "logged out"] {
        let request = match phase {
            "refreshing" => {
                let request = ask(&client, get("/"));
                upstream.next().await.reject();
                Some(request)
            }
            "failed" => {
                flights.next().await.answer(Err(RefreshError::transient("503")));
                settle_tasks().await;
                assert!(matches!(session.state().phase(), Phase::Failed(_)));
                None
            }
            "logged out" => {
                session.logout().await;
                None
            }
            _ => None,
        };
        settle_tasks().await;
        let started = session.state().flights_started();
        let public = ask(&client, anonymous());
        let arrived = upstream.next().await;
        assert_eq!(arrived.token(), "-", "{phase}");
        arrived.reject();
        assert_eq!(status(public).await, StatusCode::UNAUTHORIZED);
        assert_eq!(session.state().flights_started(), started);
        drop(request);
    }
}

#[tokio::test(start_paused = true)]
async fn g11_a_flight_started_by_the_hook_passes_through_the_same_client() {
    let cell: LateInit<(WeakSession, Client)> = Arc::default();
    let (in_flight, in_hook) = (cell.clone(), cell.clone());
    let refresher = refresher_fn(move |context: RefreshContext| {
        let client = in_flight.get().unwrap().1.clone();
        async move {
            assert_eq!(context.cause(), Cause::Missing);
            request_token(client, get("/auth/guest")).await
        }
    });
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .on_login_end(move |_| {
            let session = in_hook.get().unwrap().0.upgrade().unwrap();
            async move {
                assert_eq!(session.acquire().await.unwrap().access_token(), "at-guest");
            }
        })
        .build();
    let (client, mut upstream) = over_mock(&session);
    assert!(cell.set((session.downgrade(), client.clone())).is_ok());
    let logout = session.logout();
    let guest = upstream.next().await;
    assert_eq!((guest.token(), guest.request.uri().path()), ("-", "/auth/guest"));
    guest.answer(token_response("at-guest"));
    logout.await;
    assert_eq!(session.credential().unwrap().access_token(), "at-guest");
}

/// A session whose refresher sends its requests through a client of the same session.
fn session_refreshed_through_its_client<F, Fut>(refresh: F) -> (Session, Client, Arrivals)
where
    F: Fn(Client) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, RefreshError>> + Send + 'static,
{
    let cell: LateInit<Client> = Arc::default();
    let in_flight = cell.clone();
    let refresher =
        refresher_fn(move |_: RefreshContext| refresh(in_flight.get().unwrap().clone()));
    let session = Session::new(token("at-1"), refresher);
    let (client, upstream) = over_mock(&session);
    assert!(cell.set(client.clone()).is_ok());
    (session, client, upstream)
}
