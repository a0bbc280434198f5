//! Against oidc-provider. Run by `tests/interop/oidc.sh`, which installs it.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod provider;
mod soak;

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::StatusCode;
use provider::{Provider, SECRET, api, http, in_time, me};
use tokio::{sync::Semaphore, task::JoinSet};
use tower_refresh::{
    Error, ErrorKind, RefreshContext, RefreshError, RefreshErrorKind, Refresher, Session, Token,
    oauth2::{ClientCredentialsGrant, RefreshTokenGrant, Revocation},
    refresher::Cause,
    session::{EndReason, Phase},
};

const EXPIRIES: usize = 200;
const CLIENTS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn no_refresh_token_is_used_twice_over_200_expiries_under_64_clients_that_come_and_go() {
    let provider = Provider::start();
    let ended = Arc::new(AtomicUsize::new(0));
    let session = provider.user_session(&ended).await;
    let api = api(&session);
    let (mut answered, mut cancelled) = (0, 0);
    in_time(async {
        for _ in 0..EXPIRIES {
            provider.say("expire").await;
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let ask = provider.ask(&api);
                    let client = tokio::spawn(ask);
                    // Some leave at once, and some in the middle of it.
                    let steps = if fastrand::u8(..3) == 0 { 0 } else { fastrand::usize(..40) };
                    tokio::spawn(async move {
                        if steps > 0 {
                            for _ in 0..steps {
                                tokio::task::yield_now().await;
                            }
                            client.abort();
                        }
                        client.await
                    })
                })
                .collect();
            for client in clients {
                match client.await.unwrap() {
                    Ok(answer) => {
                        assert_eq!(answer.unwrap(), StatusCode::OK);
                        answered += 1;
                    }
                    Err(aborted) => {
                        assert!(aborted.is_cancelled());
                        cancelled += 1;
                    }
                }
            }
        }
    })
    .await;
    assert!(
        answered > EXPIRIES && cancelled > EXPIRIES,
        "{answered} answered, {cancelled} cancelled"
    );
    println!(
        "{EXPIRIES} expiries: {EXPIRIES} refreshes, {answered} requests answered, {cancelled} cancelled"
    );
    let books = provider.say("books").await;
    assert!(books.contains("most 1\n"), "{books}");
    assert!(books.contains(&format!("200 refresh_token {EXPIRIES}")), "{books}");
    assert!(!books.contains("invalid"), "{books}");
    assert_eq!(ended.load(SeqCst), 0);
    assert!(session.credential().is_some());
}

/// The provider detects reuse, so the test above proves something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn the_provider_notices_a_refresh_token_that_is_used_twice() {
    let provider = Provider::start();
    let first = Token::bearer("none-yet").unwrap().with_refresh_token(provider.say("login").await);
    let first = Arc::new(first);
    let tokens = RefreshTokenGrant::new(provider.tokens(SECRET));
    let refresh = |token: &Arc<Token>| {
        tokens.refresh(RefreshContext::new(Cause::Forced).with_current(token.clone()))
    };
    in_time(async {
        let second = Arc::new(refresh(&first).await.unwrap());
        assert_ne!(second.refresh_token(), first.refresh_token());
        assert!(refresh(&first).await.unwrap_err().is_terminal());
        assert!(refresh(&second).await.unwrap_err().is_terminal(), "it has ended the whole grant");
    })
    .await;
    assert!(provider.say("books").await.contains("most 2\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_grant_that_is_revoked_from_outside_ends_the_login_once() {
    let provider = Provider::start();
    let ended = Arc::new(AtomicUsize::new(0));
    let session = provider.user_session(&ended).await;
    let api = api(&session);
    in_time(async {
        assert_eq!(provider.ask(&api).await.unwrap(), StatusCode::OK);
        provider.say("revoke").await;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(provider.ask(&api));
        }
        while let Some(answer) = clients.join_next().await {
            let error = answer.unwrap().unwrap_err();
            assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::LoggedOut);
        }
        let state = session.state();
        let Phase::LoggedOut(EndReason::Refused(error)) = state.phase() else {
            panic!("{state:?}")
        };
        assert!(error.is_terminal());
        session.logout().await;
        while ended.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let books = provider.say("books").await;
    assert!(books.contains("400 invalid_grant 1"), "{books}");
    assert_eq!(ended.load(SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_logout_revokes_the_newest_refresh_token() {
    let provider = Provider::start();
    let refresh_token = provider.say("login").await;
    let revocation = Revocation::new(http(), provider.url("/token/revocation"), me(SECRET));
    let tokens = RefreshTokenGrant::new(provider.tokens(SECRET));
    let session = Session::builder(tokens.clone())
        .credential(Token::bearer("none-yet").unwrap().with_refresh_token(refresh_token))
        .on_login_end(revocation.into_hook())
        .build();
    in_time(async {
        let newest = session.refresh().await.unwrap();
        session.logout().await;
        let context = RefreshContext::new(Cause::Forced).with_current(newest);
        assert!(tokens.refresh(context).await.unwrap_err().is_terminal());
    })
    .await;
    let books = provider.say("books").await;
    assert!(books.contains("400 invalid_grant 1"), "{books}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn client_credentials_cost_one_request_each_expiry() {
    let provider = Provider::start();
    let session = Session::<Token>::builder(ClientCredentialsGrant::new(
        provider.tokens(SECRET).scope("read"),
    ))
    .acquire_on_demand(true)
    .refresh_limit(1000, Duration::ZERO)
    .build();
    let api = api(&session);
    in_time(async {
        for _ in 0..20 {
            let mut clients = JoinSet::new();
            for _ in 0..CLIENTS {
                clients.spawn(provider.ask(&api));
            }
            while let Some(answer) = clients.join_next().await {
                assert_eq!(answer.unwrap().unwrap(), StatusCode::OK);
            }
            provider.say("expire").await;
        }
    })
    .await;
    let books = provider.say("books").await;
    assert!(books.contains("200 client_credentials 20"), "{books}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_wrong_client_secret_ends_no_login() {
    let provider = Provider::start();
    let refresh_token = provider.say("login").await;
    let session = Session::builder(RefreshTokenGrant::new(provider.tokens("wrong")))
        .credential(Token::bearer("none-yet").unwrap().with_refresh_token(refresh_token))
        .on_login_end(|_| async { panic!("it is no logout") })
        .build();
    in_time(async {
        let error = session.refresh().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RefreshFailed);
        assert_eq!(failure(&session).kind(), RefreshErrorKind::Transient);
    })
    .await;
    assert!(provider.say("books").await.contains("401 invalid_client 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_provider_that_is_away_for_a_while_ends_no_login() {
    let provider = Arc::new(Provider::start());
    let ended = Arc::new(AtomicUsize::new(0));
    let session = provider.user_session(&ended).await;
    let api = api(&session);
    in_time(async {
        assert_eq!(provider.ask(&api).await.unwrap(), StatusCode::OK);
        let failed = Arc::new(Semaphore::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let (provider, api, failed) = (provider.clone(), api.clone(), failed.clone());
            clients.spawn(async move {
                // Until it has failed, and then until it has recovered.
                let mut has_failed = false;
                loop {
                    match provider.ask(&api).await {
                        Ok(status) => {
                            assert_eq!(status, StatusCode::OK);
                            if has_failed {
                                return;
                            }
                        }
                        Err(error) => {
                            let error = error.downcast_ref::<Error>().unwrap();
                            assert_eq!(error.kind(), ErrorKind::RefreshFailed);
                            let cause = error.source().and_then(|cause| cause.downcast_ref());
                            let kind = cause.map(RefreshError::kind);
                            assert_eq!(kind, Some(RefreshErrorKind::Transient));
                            if !has_failed {
                                failed.add_permits(1);
                            }
                            has_failed = true;
                        }
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        provider.say("stop").await;
        provider.say("expire").await;
        let _ = failed.acquire_many(8).await.unwrap();
        provider.say("start").await;
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    })
    .await;
    assert_eq!(ended.load(SeqCst), 0);
    let books = provider.say("books").await;
    assert!(books.contains("most 1\n") && !books.contains("invalid"), "{books}");
}

fn failure(session: &Session) -> RefreshError {
    match session.state().phase() {
        Phase::Failed(failure) => failure.error().clone(),
        phase => panic!("{phase:?}"),
    }
}
