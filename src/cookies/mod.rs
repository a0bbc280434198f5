//! Cookie sessions: a cookie jar as the credential for a web application.
//!
//! A [`Jar`] holds the cookies of one login. [`RefreshEndpoint`] renews them by a POST to the
//! application's refresh path. [`LogoutEndpoint`] tells the application about the end of the login.
//! [`Csrf`] copies the cookie of a double-submit check into its header. Both endpoints send through
//! any HTTP client that is a Tower service.
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
//! An application with a CSRF check and an access cookie with an expiry. It redirects to its login
//! page when a session is over, and a 403 comes from the firewall before it:
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
//! # Cookies of a request
//!
//! Cookies go by RFC 6265: to their host, or to the hosts below their `Domain`; to the paths below
//! their `Path`; with `Secure`, only over TLS or to this machine; until they expire. Longer paths
//! come first, then older cookies. The port makes no difference to a cookie, so the layer's
//! [`Origins`](crate::Origins) should name the upstream.
//!
//! The caller's own cookies are kept. They follow the jar's in the same header, and of two cookies
//! of the same name the jar's is sent. A `Cookie` header does not make a request the caller's own.
//! An `Authorization` header does, as with any credential. Where that header belongs to another
//! system, such as a test system behind a password, the layer has to
//! [overwrite](crate::RefreshLayer::overwrite): a jar leaves the header as it is.
//!
//! # Cookies of an answer
//!
//! - The answer to a refresh fills a new jar, which replaces the old one before any waiting request
//!   is sent. It starts with the cookies that the old jar holds when the answer arrives, so that
//!   ordinary answers that came meanwhile are not lost.
//! - An ordinary answer updates the jar of its request. If a refresh has replaced that jar, the
//!   newer jar of the same login takes the cookies that no refresh has changed, such as a CSRF
//!   token that changes with every form. It deletes none for a late answer. An answer never reaches
//!   the jar of another login.
//! - Every cookie counts as set by the URL of [`Jar::new`]. An answer of a host that is not the
//!   upstream, and gets no cookie of the jar, sets none; nor does an answer over `http` where the
//!   upstream is `https`.
//! - A cookie for another domain is refused, and so is one for a domain without a dot. There is no
//!   list of public suffixes: a cookie of the upstream for `co.uk` would be sent to all hosts below
//!   it.
//! - Dates go by RFC 6265 §5.1.1. Without `Max-Age`, the lifetime of a cookie is its `Expires` less
//!   the `Date` of the answer, so that a wrong clock does not matter.
//! - A jar holds at most 180 cookies of 4096 bytes, as browsers do. Names with the prefixes
//!   `__Host-` and `__Secure-` have no special meaning.
//!
//! [`StripSetCookieLayer`] keeps the upstream's cookies from the callers of a proxy.
//!
//! # Answers
//!
//! | answer of the refresh endpoint | kind |
//! |---|---|
//! | 2xx | success |
//! | 2xx that leaves the jar without a new cookie: all refused, only deletions, none for an empty jar | ambiguous |
//! | 401 or 403 with a [page](crate::exchange::is_page) for people | transient |
//! | other 401 or 403 | terminal: the login ends |
//! | 3xx, which is not followed, and every other status | transient, after the wait of a `Retry-After` |
//! | none, and the request was [certainly not sent](crate::exchange#was-it-sent) | transient |
//! | none otherwise; 504 | ambiguous |
//!
//! A success that does not change a jar that was rejected fails, because the session finds the old
//! credential. [`RefreshEndpoint::classify`] and [`RefreshEndpoint::unsent_if`] change the table.
//! The endpoint does not wait for the body of an answer. It reads up to 64 KiB of the part that has
//! come, so that the connection can be used again.
//!
//! # Secrets
//!
//! No error and no `Debug` output shows a cookie, and the headers of cookies are sensitive. A jar
//! keeps the values in a [`Secret`](crate::credential::Secret), which is wiped with the feature
//! `zeroize`. The copies in headers are not wiped.
//!
//! # Logout
//!
//! A [logout](crate::Session::logout) takes effect at once. The hook then calls the application
//! with the newest cookies, also those of a refresh that the logout overtook, and closes all jars
//! of the login: they are empty and stay empty, whatever late answers set. Without a hook, the
//! cookies are dropped with the last request that carries them.

mod base;
mod csrf;
mod endpoint;
mod header;
mod jar;
mod logout;
mod refresh;
mod set_cookie;
mod store;
mod strip;

pub use csrf::Csrf;
pub use jar::{InvalidCookie, Jar};
pub use logout::LogoutEndpoint;
pub use refresh::RefreshEndpoint;
pub use strip::{StripFuture, StripSetCookie, StripSetCookieLayer};
