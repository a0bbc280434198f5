//! Middlewares below that rewrite the URL of a request, or answer without one.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use http::{Extensions, HeaderValue, StatusCode};
use reqwest::{Client, Request, Response, redirect::Policy};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tower_refresh::{
    Origin, Origins, RefreshContext, RefreshLayer, Session, Token, refresher_fn,
    reqwest::RefreshMiddleware,
};

use crate::{in_time, server::Server, way::GOOD};

/// Sends every request to one server, and notes the URLs that it had before.
struct Rewrite {
    server: Server,
    urls: Arc<Mutex<Vec<String>>>,
}

/// Answers the first request itself, with a 401.
#[derive(Default)]
struct Refuse {
    has_refused: AtomicBool,
}

impl Rewrite {
    fn to(server: &Server) -> Self {
        Self { server: server.clone(), urls: Arc::default() }
    }
}

#[async_trait::async_trait]
impl Middleware for Rewrite {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        self.urls.lock().unwrap().push(request.url().to_string());
        request.url_mut().set_ip_host(self.server.address.ip()).unwrap();
        request.url_mut().set_port(Some(self.server.address.port())).unwrap();
        next.run(request, extensions).await
    }
}

#[async_trait::async_trait]
impl Middleware for Refuse {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        if self.has_refused.swap(true, SeqCst) {
            return next.run(request, extensions).await;
        }
        let mut response = http::Response::new("");
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        Ok(response.into())
    }
}

const SERVICE: &str = "http://api.example.com";

fn origin(url: &str) -> Origin {
    Origin::try_from(url).unwrap()
}

/// A session whose first token has expired.
fn layer(origins: impl Into<Origins>) -> RefreshLayer {
    let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer(GOOD)?) });
    RefreshLayer::new(Session::new(Token::bearer("at-1").unwrap(), refresher), origins)
}

fn over_client(refresh: RefreshMiddleware, below: impl Middleware) -> ClientWithMiddleware {
    let http = Client::builder().no_proxy().build().unwrap();
    ClientBuilder::new(http).with(refresh).with(below).build()
}

fn with_hops(refresh: RefreshMiddleware, below: impl Middleware) -> ClientWithMiddleware {
    let http = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    ClientBuilder::new(http).with(refresh.follow_redirects(10)).with(below).build()
}

#[tokio::test]
async fn a_rejection_at_a_rewritten_url_starts_a_refresh() {
    in_time(async {
        let server = Server::accepting(GOOD).await;
        let rewrite = Rewrite::to(&server);
        let client = with_hops(RefreshMiddleware::new(layer(origin(SERVICE))), rewrite);
        let post = client.post(format!("{SERVICE}/echo")).body("hello");
        assert_eq!(post.send().await.unwrap().text().await.unwrap(), "hello");
        assert_eq!(server.tokens(), ["Bearer at-1", &format!("Bearer {GOOD}")]);
    })
    .await;
}

/// A rewritten URL cannot be told from that of a redirect which the client has followed.
#[tokio::test]
async fn over_a_client_that_may_follow_redirects_a_rewritten_url_has_to_be_listed() {
    in_time(async {
        for is_listed in [true, false] {
            let server = Server::accepting(GOOD).await;
            let rewrite = Rewrite::to(&server);
            let mut origins = vec![origin(SERVICE)];
            origins.extend(is_listed.then(|| origin(&server.url(""))));
            let client = over_client(RefreshMiddleware::new(layer(origins)), rewrite);
            let response = client.get(format!("{SERVICE}/echo")).send().await.unwrap();
            assert_eq!(response.status(), if is_listed { 200 } else { 401 });
        }
    })
    .await;
}

#[tokio::test]
async fn a_relative_redirect_at_a_rewritten_url_is_relative_to_that_url() {
    in_time(async {
        let server = Server::accepting(GOOD).await;
        server.redirect("/a/b", 307, HeaderValue::from_static("../echo"));
        let rewrite = Rewrite::to(&server);
        let urls = rewrite.urls.clone();
        let origins = [origin(SERVICE), origin(&server.url(""))];
        let client = with_hops(RefreshMiddleware::new(layer(origins)), rewrite);
        let post = client.post(format!("{SERVICE}/a/b")).body("hello");
        let response = post.send().await.unwrap();
        assert_eq!(response.url().as_str(), server.url("/echo"));
        assert_eq!(response.text().await.unwrap(), "hello");
        let first = format!("{SERVICE}/a/b");
        assert_eq!(*urls.lock().unwrap(), [first.clone(), first, server.url("/echo")]);
        assert_eq!(server.accepted().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_rejection_without_a_url_starts_a_refresh() {
    in_time(async {
        for client in [with_hops, over_client] {
            let server = Server::accepting(GOOD).await;
            let refresh = RefreshMiddleware::new(layer(origin(&server.url(""))));
            let client = client(refresh, Refuse::default());
            let response = client.get(server.url("/echo")).send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(server.tokens(), [format!("Bearer {GOOD}")]);
        }
    })
    .await;
}
