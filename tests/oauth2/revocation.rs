//! The hook that revokes the last token of a login.

use std::{error::Error, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use tokio::sync::Notify;
use tower::{BoxError, service_fn, util::BoxCloneSyncService};
use tower_refresh::{
    ErrorKind, Session, Token,
    exchange::RequestBody,
    oauth2::{ClientAuth, EndpointUrl, RefreshTokenGrant, Revocation},
};

use crate::hand::*;

const REVOKE: &str = "https://login.example.com/revoke?tenant=7";

fn revocation(http: Http) -> Revocation {
    Revocation::new(http, EndpointUrl::new(REVOKE).unwrap(), me())
}

fn revoking(status: u16, body: impl Into<Bytes>) -> (Revocation, Log) {
    let body = body.into();
    let (http, log) = http(move || answer(status, body.clone()));
    (revocation(http), log)
}

#[tokio::test]
async fn a_logout_revokes_the_newest_refresh_token() {
    let (revocation, log) = revoking(200, "");
    let session = Session::builder(RefreshTokenGrant::new(answering(200, GOOD)))
        .credential(stale())
        .on_login_end(revocation.into_hook())
        .build();
    session.refresh().await.unwrap();
    session.logout().await;
    let seen = log.only();
    assert_eq!(seen.head.uri, REVOKE);
    assert_eq!(seen.field("token").as_deref(), Some(NEW_REFRESH));
    assert_eq!(seen.field("token_type_hint").as_deref(), Some("refresh_token"));
    assert!(seen.header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn a_token_that_a_refresh_brings_after_the_logout_is_revoked() {
    let (arrived, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arrival, release) = (arrived.clone(), released.clone());
    let slow = service_fn(move |_: Request<RequestBody>| {
        arrival.notify_one();
        let released = released.clone();
        async move {
            released.notified().await;
            Ok::<_, BoxError>(answer(200, GOOD))
        }
    });
    let (revocation, log) = revoking(200, "");
    let session = Session::builder(RefreshTokenGrant::new(at(BoxCloneSyncService::new(slow))))
        .credential(stale())
        .on_login_end(revocation.into_hook())
        .build();
    let refresh = session.refresh();
    arrived.notified().await;
    let logout = session.logout();
    assert!(session.credential().is_none());
    release.notify_one();
    logout.await;
    assert_eq!(log.only().field("token").as_deref(), Some(NEW_REFRESH));
    assert_eq!(refresh.await.unwrap_err().kind(), ErrorKind::LoggedOut);
    assert!(session.credential().is_none());
}

#[tokio::test]
async fn a_refusal_runs_it_once() {
    let (revocation, log) = revoking(200, "");
    let session =
        Session::builder(RefreshTokenGrant::new(answering(400, r#"{"error":"invalid_grant"}"#)))
            .credential(stale())
            .on_login_end(revocation.into_hook())
            .build();
    session.refresh().await.unwrap_err();
    session.logout().await;
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.only().field("token").as_deref(), Some(OLD_REFRESH));
}

#[tokio::test]
async fn without_a_refresh_token_the_access_token_is_revoked() {
    let (revocation, log) = revoking(200, "");
    revocation.revoke(&Token::bearer("at").unwrap()).await.unwrap();
    let seen = log.only();
    assert_eq!(seen.field("token").as_deref(), Some("at"));
    assert_eq!(seen.field("token_type_hint").as_deref(), Some("access_token"));
}

#[tokio::test]
async fn a_client_assertion_is_sent_along() {
    let (http, log) = http(|| answer(200, ""));
    let client = ClientAuth::assertion("me", || Ok("jwt".to_owned()));
    let revocation = Revocation::new(http, EndpointUrl::new(REVOKE).unwrap(), client);
    revocation.revoke(&stale()).await.unwrap();
    assert_eq!(log.only().field("client_assertion").as_deref(), Some("jwt"));
}

#[tokio::test]
async fn a_token_is_revoked_by_a_success_only() {
    for (status, body) in [(200, ""), (200, "<html>"), (204, ""), (200, r#"{"error":"whatever"}"#)]
    {
        revoking(status, body).0.revoke(&stale()).await.expect(body);
    }
    let wordy = revoking(200, " ".repeat(100_000)).0;
    wordy.revoke(&stale()).await.expect("what it says makes no difference");
    for (status, body, text) in [
        (400, r#"{"error":"unsupported_token_type"}"#, "400 Bad Request, unsupported_token_type"),
        (503, "", "503 Service Unavailable"),
        (302, "", "302 Found, which is not followed"),
        (401, "hush", "401 Unauthorized"),
    ] {
        let error = revoking(status, body).0.revoke(&stale()).await.unwrap_err();
        assert_eq!(error.to_string(), "the token was not revoked");
        let cause = error.source().unwrap().to_string();
        assert_eq!(cause, format!("the authorization server answered {text}"));
        assert!(!all_texts(&error).contains("hush"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_delays_a_logout_by_its_time_limit_only() {
    let never = service_fn(|_: Request<RequestBody>| pending::<Result<Answer, BoxError>>());
    let never = BoxCloneSyncService::new(never);
    let started = tokio::time::Instant::now();
    let session = Session::builder(RefreshTokenGrant::new(answering(200, GOOD)))
        .credential(stale())
        .on_login_end(revocation(never).timeout(Duration::from_secs(3)).into_hook())
        .build();
    session.logout().await;
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}
