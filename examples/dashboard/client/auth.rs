//! The client of the auth service for bearer tokens. It is also the session's [`Refresher`].

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use tower::BoxError;
use tower_refresh::{
    RefreshContext, RefreshError, Refresher, Token, refresher::BoxFuture, session::EndedLogin,
};

use crate::{
    client::{
        http::{HttpClient, http_client},
        service::AuthService,
    },
    clock::WallClock,
    form,
};

#[derive(Clone)]
pub(crate) struct AuthClient {
    http: HttpClient<Full<Bytes>>,
    url: String,
    clock: WallClock,
}

impl Refresher for AuthClient {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let stale = context.current().ok_or_else(|| RefreshError::terminal("not logged in"))?;
            self.renew(stale).await
        })
    }
}

impl AuthService for AuthClient {
    type Credential = Token;

    fn new(url: &str, clock: WallClock) -> Result<Self, BoxError> {
        Ok(Self { http: http_client(), url: url.to_owned(), clock })
    }

    async fn login(&self, user: &str, password: &str) -> Result<Token, BoxError> {
        let response = self.post("/auth/login", format!("user={user}&password={password}")).await?;
        match response.status() {
            StatusCode::OK => self.token(response.body()),
            status => Err(format!("the login was answered with {status}").into()),
        }
    }

    fn refresher(&self) -> impl Refresher {
        self.clone()
    }

    async fn end(&self, end: EndedLogin) {
        if let Some(token) = end.credential() {
            // If this fails, the session on the server lives until it expires.
            _ = self.logout(token).await;
        }
    }

    async fn renew(&self, stale: &Token) -> Result<Token, RefreshError> {
        let refresh_token = stale
            .refresh_token()
            .ok_or_else(|| RefreshError::terminal("there is no refresh token"))?;
        let response = self
            .post("/auth/refresh", format!("refresh_token={refresh_token}"))
            .await
            .map_err(without_answer)?;
        match response.status() {
            // An unreadable answer may still have used up the refresh token.
            StatusCode::OK => self.token(response.body()).map_err(RefreshError::ambiguous),
            // 401 and 403 end the login. An overloaded or broken service does not.
            status => Err(RefreshError::from_status(status)),
        }
    }

    async fn logout(&self, token: &Token) -> Result<(), BoxError> {
        let refresh_token = token.refresh_token().unwrap_or_default();
        self.post("/auth/logout", format!("refresh_token={refresh_token}")).await?;
        Ok(())
    }
}

impl AuthClient {
    fn token(&self, form: &[u8]) -> Result<Token, BoxError> {
        let field =
            |key: &str| form::field(form, key).ok_or_else(|| format!("the answer has no {key}"));
        let lifetime = Duration::from_secs(field("expires_in")?.parse()?);
        Ok(Token::bearer(field("access_token")?)?
            .with_refresh_token(field("refresh_token")?)
            // By the session's clock. With the system's clock, use `with_expires_in(lifetime)`.
            .with_expires_at(self.clock.now() + lifetime))
    }

    async fn post(&self, path: &str, form: String) -> Result<Response<Bytes>, BoxError> {
        let request = Request::post(format!("{}{path}", self.url)).body(Full::from(form))?;
        let (head, body) = self.http.request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// Classifies a refresh that got no answer. Without a connection nothing was sent, so the refresh
/// can be repeated later. After any other error the server may have done it.
pub(crate) fn without_answer(error: BoxError) -> RefreshError {
    match error.downcast_ref::<legacy::Error>() {
        Some(client) if client.is_connect() => RefreshError::transient(error),
        _ => RefreshError::ambiguous(error),
    }
}
