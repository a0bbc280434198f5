//! The client of the auth service for cookies. The crate has the endpoints; only the login is the
//! application's own.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use tower::BoxError;
use tower_refresh::{
    Credential, RefreshError, Refresher,
    cookies::{Jar, LogoutEndpoint, RefreshEndpoint},
    exchange::RequestBody,
    session::EndedLogin,
};

use crate::{
    client::{
        AuthService,
        auth::without_answer,
        http::{HttpClient, http_client},
    },
    clock::WallClock,
    cookies::ACCESS,
};

#[derive(Clone)]
pub(crate) struct CookieClient {
    http: HttpClient<RequestBody>,
    url: String,
    clock: WallClock,
    refresh: RefreshEndpoint,
    logout: LogoutEndpoint,
}

impl AuthService for CookieClient {
    type Credential = Jar;

    fn new(url: &str, clock: WallClock) -> Result<Self, BoxError> {
        let http = http_client();
        let refresh = RefreshEndpoint::new(http.clone(), "/auth/refresh")?.unsent_if(|error| {
            error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
        });
        let logout = LogoutEndpoint::new(http.clone(), "/auth/logout")?;
        Ok(Self { http, url: url.to_owned(), clock, refresh, logout })
    }

    async fn login(&self, user: &str, password: &str) -> Result<Jar, BoxError> {
        // The API has another port of the same host. Cookies ignore the port.
        let clock = self.clock.clone();
        // Cookies expire by the system's clock, unless the jar has another one.
        let jar = Jar::new(&self.url)?.with_expiry_of(ACCESS).with_clock(move || clock.now());
        let response =
            self.post("/auth/login", format!("user={user}&password={password}"), &jar).await?;
        match response.status() {
            StatusCode::OK => jar.store(response.headers()),
            status => return Err(format!("the login was answered with {status}").into()),
        }
        Ok(jar)
    }

    fn refresher(&self) -> impl Refresher<Jar> {
        self.refresh.clone()
    }

    /// A program that has nothing else to do at the end passes the hook to the session's builder.
    async fn end(&self, end: EndedLogin<Jar>) {
        let hook = self.logout.clone().into_hook();
        hook(end).await;
    }

    /// A refresh like [`RefreshEndpoint`]'s, for the client without the layer.
    async fn renew(&self, stale: &Jar) -> Result<Jar, RefreshError> {
        let response =
            self.post("/auth/refresh", String::new(), stale).await.map_err(without_answer)?;
        match response.status() {
            StatusCode::OK => stale.renewed(response.headers()),
            status => Err(RefreshError::from_status(status)),
        }
    }

    /// A logout like [`LogoutEndpoint`]'s, for the client without the layer.
    async fn logout(&self, last: &Jar) -> Result<(), BoxError> {
        self.post("/auth/logout", String::new(), last).await?;
        Ok(())
    }
}

impl CookieClient {
    async fn post(&self, path: &str, form: String, jar: &Jar) -> Result<Response<Bytes>, BoxError> {
        let request = Request::post(format!("{}{path}", self.url)).body(RequestBody::from(form))?;
        let (mut head, body) = request.into_parts();
        jar.apply(&mut head);
        let (head, body) = self.http.request(Request::from_parts(head, body)).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}
