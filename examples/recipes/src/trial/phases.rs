//! The five phases.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::task::JoinSet;
use tower::BoxError;
use tower_refresh::{Credential, Refresher, Session, session::EndedLogin};

use crate::trial::server::Server;

/// The number of requests at once.
const HERD: usize = 50;

/// Puts a client through five phases: warm; half of a herd is cancelled at the expiry; all of it is
/// cancelled; the login is revoked; a new login.
///
/// `login` makes a credential of the server, `connect` makes a client, and `call` sends a request.
///
/// # Panics
///
/// If an expiry costs more or less than one refresh, a refresh token is used twice, the login ends
/// more than once, or a request fails that should not.
pub async fn trial<C, R, T, F>(
    refresher: impl FnOnce(&Server) -> R,
    login: impl Fn(&Server) -> C,
    connect: impl FnOnce(Session<C>, &Server) -> T,
    call: impl Fn(T) -> F,
) where
    C: Credential,
    R: Refresher<C>,
    T: Clone + Send + 'static,
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let server = Server::listen().await.expect("a free port");
    let ends = Arc::new(AtomicUsize::new(0));
    let count = ends.clone();
    let session = Session::builder(refresher(&server))
        .credential(login(&server))
        .on_login_end(move |_: EndedLogin<C>| {
            count.fetch_add(1, SeqCst);
            async {}
        })
        .build();
    let client = connect(session.clone(), &server);
    let herd = |size: usize| {
        let mut herd = JoinSet::new();
        (0..size).for_each(|_| drop(herd.spawn(call(client.clone()))));
        herd
    };

    // Warm.
    call(client.clone()).await.expect("the first request");
    assert_eq!(server.refreshes(), 0, "a fresh token is not refreshed");

    // Half of a herd is cancelled while the refresh is in progress.
    server.expire();
    server.hold();
    let mut waiting = herd(HERD / 2);
    let mut leaving = herd(HERD / 2);
    server.refreshing(1).await;
    leaving.shutdown().await;
    server.release();
    while let Some(result) = waiting.join_next().await {
        result.expect("no panic").expect("a request of those that stay");
    }
    assert_eq!(server.refreshes(), 1, "half of a herd was cancelled");

    // All of a herd is cancelled. The refresh goes on, and later requests use its token.
    server.expire();
    server.hold();
    let mut leaving = herd(HERD);
    server.refreshing(2).await;
    leaving.shutdown().await;
    server.release();
    let mut later = herd(10);
    while let Some(result) = later.join_next().await {
        result.expect("no panic").expect("a request after a herd that was cancelled");
    }
    assert_eq!(server.refreshes(), 2, "all of a herd was cancelled");
    assert_eq!(ends.load(SeqCst), 0, "the login goes on");

    // Revoked: all fail, and later requests are not sent.
    server.expire();
    server.revoke();
    let mut refused = herd(HERD);
    while let Some(result) = refused.join_next().await {
        result.expect("no panic").expect_err("a request of a revoked login");
    }
    let sent = server.requests();
    let mut late = herd(10);
    while let Some(result) = late.join_next().await {
        result.expect("no panic").expect_err("a request after the end of the login");
    }
    assert_eq!(server.requests(), sent, "a request was sent after the end of the login");
    assert_eq!(server.refreshes(), 3, "the refusal");

    // Logged in again.
    session.login(login(&server));
    call(client.clone()).await.expect("a request of the new login");
    assert_eq!((server.refreshes(), server.reused()), (3, 0), "no token is used twice");
    assert_eq!(ends.load(SeqCst), 1, "one login has ended");
}
