//! Cookie sessions: a credential that is a cookie jar, for web applications that show nobody a
//! token.
//!
//! A [`Jar`] holds the cookies of one login. [`RefreshEndpoint`] renews them by a POST to the
//! application's refresh path, [`LogoutEndpoint`] tells the application when the login is over, and
//! [`Csrf`] copies the cookie of a double-submit check into its header. Both endpoints go through
//! an HTTP service of yours, with its TLS and its proxy.
//!
//! # Examples
//!
//! A session that begins with the cookies of a login's answer:
//!
//! ```no_run
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{Layer, ServiceExt};
//! use tower_refresh::{cookies::{Jar, LogoutEndpoint, RefreshEndpoint}, exchange::RequestBody};
//! use tower_refresh::{RefreshLayer, Session};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower::BoxError> {
//! let http = Client::builder(TokioExecutor::new()).build_http();
//! let login = Request::post("http://localhost:8080/auth/login").body(RequestBody::from("user=ada&password=lovelace"))?;
//! let jar = Jar::new("http://localhost:8080")?;
//! jar.store(http.request(login).await?.headers());
//!
//! let logout = LogoutEndpoint::new(http.clone(), "/auth/logout")?;
//! let session = Session::builder(RefreshEndpoint::new(http, "/auth/refresh")?)
//!     .on_login_end(logout.into_hook())
//!     .credential(jar)
//!     .build();
//!
//! let origin = "http://localhost:8080".parse::<tower_refresh::Origin>()?;
//! let client = Client::builder(TokioExecutor::new()).build_http();
//! let client = RefreshLayer::new(session.clone(), origin).layer(client);
//! let request = Request::get("http://localhost:8080/api/user").body(Full::<Bytes>::default())?;
//! let response = client.oneshot(request).await?;
//!
//! session.logout().await;
//! # drop(response);
//! # Ok(()) }
//! ```
//!
//! An application with a CSRF check, whose access cookie says when it expires, behind a firewall
//! whose 403 is not its own, and which sends to the login page whom it does not know any more:
//!
//! ```
//! use bytes::Bytes;
//! use http::{HeaderName, Request, Response, StatusCode, header};
//! use http_body_util::Full;
//! use std::{convert::Infallible, time::Duration};
//! use tower::service_fn;
//! use tower_refresh::{cookies::{Csrf, Jar, RefreshEndpoint}, RefreshError, Session};
//! # use tower_refresh::exchange::RequestBody;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower::BoxError> {
//! # let http = service_fn(|request: Request<RequestBody>| async move {
//! #     assert_eq!(request.headers()["x-csrftoken"], "6Qx2");
//! #     assert_eq!(request.headers()["referer"], "https://app.example.com/");
//! #     let answer = Response::builder().header(header::SET_COOKIE, "access=mF_9; Path=/; Secure; Max-Age=300");
//! #     Ok::<_, Infallible>(answer.body(Full::<Bytes>::default()).unwrap())
//! # });
//! let refresh = RefreshEndpoint::new(http, "/auth/refresh")?
//!     .header(header::REFERER, "https://app.example.com/".parse()?)
//!     .classify(|status, headers| match status {
//!         status if status.is_success() => Ok(()),
//!         StatusCode::FORBIDDEN => Err(RefreshError::transient("the firewall")),
//!         StatusCode::FOUND if headers.get(header::LOCATION).is_some_and(|to| to == "/login") => {
//!             Err(RefreshError::terminal("sent to the login page"))
//!         }
//!         status => Err(RefreshError::from_status(status)),
//!     });
//! let jar = Jar::new("https://app.example.com")?
//!     .with_csrf(Csrf::new("csrftoken", HeaderName::from_static("x-csrftoken")))
//!     .with_expiry_of("access")
//!     .with_cookie("csrftoken=6Qx2; Path=/; Secure")?
//!     .with_cookie("refresh=tGzv; Path=/auth; Secure; HttpOnly")?;
//! let session = Session::builder(refresh).credential(jar).refresh_ahead(Duration::from_secs(30)).build();
//!
//! let renewed = session.refresh().await?;
//! assert_eq!(renewed.value("access").as_deref(), Some("mF_9"));
//! # Ok(()) }
//! ```
//!
//! # What is sent where
//!
//! Cookies go by RFC 6265: to their host, or to the hosts below their `Domain`; below their `Path`;
//! a `Secure` one over TLS, or to this machine; none that has expired. The port makes no difference
//! to a cookie, so name the [origins](crate::Origins) to the layer.
//!
//! The caller's own `Cookie` header does not make a request the caller's own: its cookies are kept,
//! and the jar's are put before them in the one header there is. Of two of the same name the jar's
//! is sent. What does make a request pass untouched is an `Authorization` header, as with any
//! credential; where that is for somebody else (a test system behind a password), let the layer
//! [overwrite](crate::RefreshLayer::overwrite): a jar leaves that header alone.
//!
//! # What is taken from whom
//!
//! - The answer to a refresh fills a jar of its own, which takes the old one's place when the
//!   flight settles, before any waiter goes on. It starts from what the old one holds when the
//!   answer is there, so that nothing is lost that rolled meanwhile.
//! - An ordinary answer rolls the jar forward that its request carried. Where a refresh has
//!   overtaken it, the newer jar of the same login takes from it the cookies that no refresh has
//!   touched, so that a CSRF token which rolls with every form is not lost; but nothing that a
//!   refresh has set or deleted, and no deletion. What one login was answered never reaches
//!   another.
//! - A session gets to see no URL of an answer. So every cookie counts as one of the upstream that
//!   [`Jar::new`] names, and once a request with this jar has gone to a host that is not the
//!   upstream and gets no cookie of it, or to the upstream in cleartext where the jar is for
//!   `https`, the jar takes nothing from ordinary answers any more, until the next refresh. Layers
//!   with [origins](crate::Origins) don't let it come to that. Where a jar is for two
//!   hosts, an answer of either counts as one of the upstream.
//! - A cookie for a foreign domain is left out, and so is one for a domain without a dot. There is
//!   no list of public suffixes here: an upstream that sets cookies for `co.uk` sends them to all
//!   of it.
//! - A jar is bounded as in a browser: 180 cookies of 4096 bytes. Names with the prefixes `__Host-`
//!   and `__Secure-` are names like any other.
//!
//! # What an answer means
//!
//! | the refresh endpoint | kind |
//! |---|---|
//! | 2xx | success: unless it sets cookies and none that the jar may hold, or changes nothing about a jar that was rejected, which is transient |
//! | 401, 403 | terminal: the login ends |
//! | 3xx, which is not followed, and anything else | transient, with the `Retry-After` of the answer |
//! | no connection | transient |
//! | no answer, or none in time; 504 | ambiguous |
//!
//! [`RefreshEndpoint::classify`] and [`RefreshEndpoint::unsent_if`] change that. The body of an
//! answer is not waited for, and of what has come of it 64 KiB are read at the most, so that its
//! connection can be used again.
//!
//! # Secrets
//!
//! No error and no `Debug` output shows a cookie, and the headers that they travel in are
//! sensitive. Their memory is not wiped, also with the feature `zeroize`: cookies live in texts of
//! the `cookie_store` crate, which does not give them away.
//!
//! # Logout
//!
//! A [logout](crate::Session::logout) takes effect at once; then the hook calls the application
//! with the newest cookies there are, those of a refresh that the logout overtook included, and
//! closes all jars of that login: they are empty and stay so, whatever late answers set. Without a
//! hook they go when the last request that carries them does.

mod base;
mod csrf;
mod endpoint;
mod header;
mod jar;
mod logout;
mod refresh;

pub use csrf::Csrf;
pub use jar::{InvalidCookie, Jar};
pub use logout::LogoutEndpoint;
pub use refresh::RefreshEndpoint;
