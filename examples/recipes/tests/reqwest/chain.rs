//! Middlewares above and below that of this crate.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::Extensions;
use reqwest::{Client, Request, Response};
use reqwest_middleware::{ClientBuilder, Middleware, Next};
use tower_refresh::{
    ErrorKind, Origin, RefreshContext, RefreshError, RefreshLayer, Session, Token, refresher_fn,
    reqwest::RefreshMiddleware,
};

use crate::{in_time, server::Server, way::GOOD};

/// Counts its calls, and passes a note down and up the chain.
struct Noting {
    calls: Arc<AtomicUsize>,
    is_above: bool,
}

#[derive(Clone)]
struct FromAbove;

#[derive(Clone)]
struct FromBelow;

#[async_trait::async_trait]
impl Middleware for Noting {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        self.calls.fetch_add(1, SeqCst);
        if self.is_above {
            extensions.insert(FromAbove);
            let response = next.run(request, extensions).await;
            assert!(extensions.get::<FromBelow>().is_some());
            response
        } else {
            assert!(extensions.get::<FromAbove>().is_some());
            extensions.insert(FromBelow);
            next.run(request, extensions).await
        }
    }
}

fn noting(is_above: bool) -> (Noting, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    (Noting { calls: calls.clone(), is_above }, calls)
}

#[tokio::test]
async fn a_middleware_above_sees_a_request_once_and_one_below_sees_each_attempt() {
    in_time(async {
        let server = Server::accepting(GOOD).await;
        let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer(GOOD)?) });
        let session = Session::new(Token::bearer("at-1").unwrap(), refresher);
        let api = Origin::try_from(&*server.url("")).unwrap();
        let ((above, calls_above), (below, calls_below)) = (noting(true), noting(false));
        let client = ClientBuilder::new(Client::new())
            .with(above)
            .with(RefreshMiddleware::new(RefreshLayer::new(session, api)))
            .with(below)
            .build();
        let post = client.post(server.url("/echo")).body("hello").send();
        assert_eq!(post.await.unwrap().text().await.unwrap(), "hello");
        assert_eq!((calls_above.load(SeqCst), calls_below.load(SeqCst)), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn an_error_of_the_session_is_found_by_a_downcast() {
    in_time(async {
        let server = Server::accepting(GOOD).await;
        let refused =
            refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
        let session = Session::new(Token::bearer("at-1").unwrap(), refused);
        let api = Origin::try_from(&*server.url("")).unwrap();
        let client = ClientBuilder::new(Client::new())
            .with(RefreshMiddleware::new(RefreshLayer::new(session, api)))
            .build();
        for _ in 0..2 {
            let error = client.get(server.url("/user")).send().await.unwrap_err();
            let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error:?}") };
            assert_eq!(
                error.downcast_ref::<tower_refresh::Error>().unwrap().kind(),
                ErrorKind::LoggedOut
            );
        }
        assert_eq!(server.tokens(), ["Bearer at-1"]);
    })
    .await;
}
