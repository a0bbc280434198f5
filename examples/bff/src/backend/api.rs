use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, StatusCode, Uri,
    header::{
        ACCEPT, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, IF_MATCH,
        IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
    },
    request::Parts,
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_refresh::{
    BoxError, Error, Origin, RefreshLayer,
    session::State as SessionState,
    sessions::{SelectKey, Sessions, SessionsLayer},
};

use crate::backend::{
    app::Backend, browser::Browser, cookies::Cookies, problem::Problem, session_key::SessionKey,
};

/// The stack that forwards a call: finds its session, puts the token on it, and sends it.
pub(super) type Api = BoxCloneSyncService<Request, Response, BoxError>;

/// Finds the session of a request by its cookie. A key that no login has made has none, so that
/// invented cookies take no place in the registry.
struct KnownSession {
    sessions: Sessions<SessionKey>,
    cookies: Cookies,
}

/// The request headers that the upstream gets. All others stay behind: `cookie`, `host`, hop-by-hop
/// headers, and a forged `x-forwarded-for`.
const TO_UPSTREAM: [HeaderName; 5] =
    [ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH];

/// The response headers that the browser gets. All others stay behind, `set-cookie` among them.
const TO_BROWSER: [HeaderName; 6] =
    [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, RETRY_AFTER];

/// The time for the head of an answer. It includes the wait for a refresh.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the stack. `upstream` is an origin.
pub(super) fn stack(
    upstream: &str,
    sessions: Sessions<SessionKey>,
    cookies: Cookies,
) -> Result<Api, BoxError> {
    let origin: Origin = upstream.parse()?;
    let target: Uri = upstream.parse()?;
    let stack = ServiceBuilder::new()
        .timeout(CALL_TIMEOUT)
        .layer(SessionsLayer::new(sessions.clone(), KnownSession { sessions, cookies }))
        .map_request(move |request| to_upstream(&target, request))
        .layer(RefreshLayer::per_request(origin).overwrite(true))
        .map_response(to_browser)
        .service(Client::builder(TokioExecutor::new()).build_http());
    Ok(BoxCloneSyncService::new(stack))
}

/// Forwards a call of `/api/*`.
pub(super) async fn forward(
    State(backend): State<Backend>,
    browser: Browser,
    request: Request,
) -> Response {
    match backend.api.oneshot(request).await {
        // A 401 of this server would say that the user has to log in again.
        Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
            Problem::UpstreamRejected.into_response()
        }
        Ok(response) => response,
        Err(error) => match error.downcast_ref::<Error>() {
            Some(error) => problem(error, browser.session_key, &backend.sessions).into_response(),
            None => Problem::UpstreamUnreachable.into_response(),
        },
    }
}

fn problem(error: &Error, key: Option<SessionKey>, sessions: &Sessions<SessionKey>) -> Problem {
    let session = key.as_ref().and_then(|key| sessions.peek(key));
    let state = session.map(|session| session.state());
    Problem::of(error, key.is_some(), state.as_ref().map(SessionState::phase))
}

fn to_upstream(target: &Uri, request: Request) -> Request {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let path = path.strip_prefix("/api").unwrap_or(path).parse().ok();
    let mut parts = target.clone().into_parts();
    parts.path_and_query = path.or(parts.path_and_query);
    head.uri = Uri::from_parts(parts).unwrap_or_else(|_| target.clone());
    head.headers = only(&TO_UPSTREAM, &head.headers);
    Request::from_parts(head, body)
}

fn to_browser<B>(response: http::Response<B>) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (head, body) = response.into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = only(&TO_BROWSER, &head.headers);
    response
}

fn only(names: &[HeaderName], headers: &HeaderMap) -> HeaderMap {
    let allowed = headers.iter().filter(|(name, _)| names.contains(name));
    allowed.map(|(name, value)| (name.clone(), value.clone())).collect()
}

// === impl KnownSession ===

impl SelectKey for KnownSession {
    type Key = SessionKey;

    fn key(&self, request: &Parts) -> Option<SessionKey> {
        let key = self.cookies.session_key(request)?;
        self.sessions.peek(&key).map(|_| key)
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header};
    use tokio::net::TcpListener;
    use tower::timeout::error::Elapsed;
    use tower_refresh::{RefreshContext, RefreshError, Session, Token, refresher_fn};

    use super::*;

    /// Sends a call of a user to this upstream, through the stack.
    async fn call(upstream: &str) -> Result<Response, BoxError> {
        let refused = |_: RefreshContext| async { Err(RefreshError::terminal("no refresh")) };
        let sessions = Sessions::new(Session::builder(refresher_fn(refused)).template());
        let key = SessionKey::random();
        sessions.login(&key, Token::bearer("at-1")?).await?;
        let cookie = format!("bff-session={}", key.as_str());
        let cookies = Cookies::new(&"http://127.0.0.1:1".parse()?);
        let request = Request::get("/api/user").header(header::COOKIE, cookie).body(Body::empty());
        stack(upstream, sessions, cookies)?.oneshot(request?).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_hangs_or_is_gone_fails_the_call() -> Result<(), BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let upstream = format!("http://{}", listener.local_addr()?);
        let hung = call(&upstream).await.expect_err("there is no answer");
        assert!(hung.is::<Elapsed>(), "{hung:?}");
        drop(listener);
        let gone = call(&upstream).await.expect_err("there is no listener");
        assert!(!gone.is::<Error>(), "{gone:?}");
        Ok(())
    }

    #[test]
    fn a_forwarded_request_has_the_listed_headers_and_the_address_of_the_upstream() {
        let target = Uri::from_static("http://127.0.0.1:1");
        for (path, expected) in [
            ("/api/user", "http://127.0.0.1:1/user"),
            ("/api/user?a=b&c", "http://127.0.0.1:1/user?a=b&c"),
            ("/api//evil.example/x", "http://127.0.0.1:1//evil.example/x"),
            ("/api/@evil.example", "http://127.0.0.1:1/@evil.example"),
            ("/api/../admin", "http://127.0.0.1:1/../admin"),
            ("http://evil.example/api/user", "http://127.0.0.1:1/user"),
        ] {
            let mut request = Request::post(path).header(CONTENT_TYPE, "application/json");
            for name in [
                header::COOKIE,
                header::HOST,
                header::CONNECTION,
                header::UPGRADE,
                header::TE,
                header::TRANSFER_ENCODING,
                header::CONTENT_LENGTH,
                header::AUTHORIZATION,
                header::PROXY_AUTHORIZATION,
                header::FORWARDED,
                HeaderName::from_static("x-forwarded-for"),
                HeaderName::from_static("x-bff"),
            ] {
                request = request.header(name, "1");
            }
            let forwarded = to_upstream(&target, request.body(Body::empty()).expect("a request"));
            assert_eq!(forwarded.uri(), expected);
            assert_eq!(forwarded.method(), "POST");
            assert_eq!(forwarded.headers().keys().collect::<Vec<_>>(), [CONTENT_TYPE]);
        }
    }

    #[test]
    fn an_answer_brings_no_cookie_of_the_upstream() {
        let response = http::Response::builder()
            .status(StatusCode::CREATED)
            .header(header::SET_COOKIE, "a=b")
            .header(header::LOCATION, "http://10.0.0.1/")
            .header(header::CONNECTION, "close")
            .header(CONTENT_TYPE, "text/plain")
            .body(Body::empty());
        let response = to_browser(response.expect("a response"));
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers().keys().collect::<Vec<_>>(), [CONTENT_TYPE]);
    }
}
