//! reqwest: its client below a [`RefreshLayer`](crate::RefreshLayer), or a middleware.
//!
//! A [`ClientService`] makes an inner service of a reqwest client, and [`SendThrough`] sends the
//! requests of its builder through the layers. Everything that a request or a response of reqwest
//! knows comes through.
//!
//! # Examples
//!
//! A client whose requests carry a token, and whose tokens come from a token endpoint:
//!
//! ```no_run
//! # #[cfg(feature = "oauth2")]
//! # async fn f() -> Result<(), tower_refresh::BoxError> {
//! use tower::Layer;
//! use tower_refresh::oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};
//! use tower_refresh::reqwest::{ClientService, SendThrough};
//! use tower_refresh::{Origin, RefreshLayer, Session};
//!
//! let http = ClientService::new(reqwest::Client::builder())?;
//! let url = EndpointUrl::new("https://login.example.com/oauth/token")?;
//! let tokens = TokenEndpoint::new(http.clone(), url, ClientAuth::basic("my-service", "s3cr3t"));
//! let session = Session::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
//! let api = RefreshLayer::new(session, Origin::from_static("https://api.example.com")).layer(http);
//!
//! let http = api.get_ref().client();
//! let user = http.get("https://api.example.com/user").send_through(&api).await?;
//! println!("{}", user.error_for_status()?.text().await?);
//! # Ok(()) }
//! ```
//!
//! A struct keeps the layered client without a box. `send_through` takes a reference:
//!
//! ```
//! use tower_refresh::reqwest::{ClientService, SendThrough};
//! use tower_refresh::{BoxError, Refresh};
//!
//! struct Github {
//!     api: Refresh<ClientService>,
//! }
//!
//! impl Github {
//!     async fn star(&self, repository: &str) -> Result<(), BoxError> {
//!         let url = format!("https://api.github.com/user/starred/{repository}");
//!         let request = self.api.get_ref().client().put(url);
//!         request.send_through(&self.api).await?.error_for_status()?;
//!         Ok(())
//!     }
//! }
//! ```
//!
//! # reqwest-middleware
#![cfg_attr(
    feature = "reqwest-middleware",
    doc = "
With the feature `reqwest-middleware`, [`RefreshMiddleware`] is the layer as a middleware. The
application sends its requests as before:

```
use reqwest::{Client, redirect::Policy};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tower_refresh::{Origin, RefreshLayer, Session, reqwest::RefreshMiddleware};

fn client(session: Session) -> reqwest::Result<ClientWithMiddleware> {
    let http = Client::builder().redirect(Policy::none()).build()?;
    let api = Origin::from_static(\"https://api.example.com\");
    let refresh = RefreshMiddleware::new(RefreshLayer::new(session, api)).follow_redirects(10);
    Ok(ClientBuilder::new(http).with(refresh).build())
}
```

A middleware above it sees each request once. One below it sees each attempt. The error of a
session is a `reqwest_middleware::Error::Middleware`, whose content can be downcast to an
[`Error`](crate::Error).
"
)]
#![cfg_attr(
    not(feature = "reqwest-middleware"),
    doc = "The feature `reqwest-middleware` adds `RefreshMiddleware`."
)]
//!
//! # Redirects
//!
//! Redirects are followed *above* the layer, so that each hop passes through it. The layer's
//! [`Origins`](crate::Origins) decide at each hop whether the request carries the credential, and a
//! 401 of an origin that they do not list is an ordinary response. Methods, bodies and headers
//! change from hop to hop as in reqwest. A body that is a stream cannot be sent to another URL: the
//! caller gets the redirect.
//!
//! As in reqwest, a redirect to another origin drops `Authorization` and the cookies of the caller.
//! If the layer let the request pass because of one of them, the session's credential does not take
//! its place, at any hop.
//!
//! [`ClientService::new`] turns off reqwest's own redirects for that purpose. A `RefreshMiddleware`
//! cannot: build its client with `redirect::Policy::none()`, and set `follow_redirects`. Without
//! that setting the client follows redirects by its own policy, *below* the layer.
//! [`ClientService::from_client`] takes such a client for the adapter, and says what that gives up.
//!
//! # Deadlines
//!
//! `RequestBuilder::timeout` bounds the whole request: its attempts, its redirects, the wait for a
//! refresh, and the body of the response. A time-out of the client, `ClientBuilder::timeout`,
//! bounds each attempt.
//!
//! # What works, and what is lost
//!
//! | | adapter | middleware |
//! |---|---|---|
//! | `json`, `form`, `query`, `multipart`, uploads, headers, versions | works | works |
//! | whole bodies: their length, a 307 with a body, retries of the client | works, without a copy | works, without a copy |
//! | `Response::url`, `remote_addr`, `content_length`, `error_for_status`, `cookies`, downloads, `upgrade` | works | works |
//! | the URL in errors, `is_timeout`, `is_connect` | works, by a downcast | works |
//! | cookie stores, compression, proxies, HTTP/2, TLS | works, below the layer | works |
//! | redirects with and without a body | works | works |
//! | `ClientBuilder::redirect`, a policy of your own | replaced by [`max_redirects`](ClientService::max_redirects) | works without `follow_redirects`, below the layer |
//! | a credential in another header than `Authorization` or `Cookie` | works | needs `follow_redirects` |
//! | middlewares below that rewrite URLs | none there | needs `follow_redirects`, or the new URLs among the origins |
//! | `ClientBuilder::https_only` | applies to each hop | applies to each hop |
//! | `ClientBuilder::referer(false)` | lost: redirects send `Referer` | lost with `follow_redirects` |
//! | too many redirects, or one to `ftp:` | a [`SendError`] in place of a `reqwest::Error` | the same with `follow_redirects` |
//! | a time-out while the request waits for a refresh | a [`SendError`] | the same |
//!
//! # Markers
//!
//! Markers such as [`NoReplay`](crate::extension::NoReplay) are extensions, which a
//! `RequestBuilder` cannot set. An `http::Request` can:
//!
//! ```
//! use tower_refresh::{extension::NoReplay, reqwest::{ClientService, SendThrough}, BoxError, Refresh};
//!
//! # async fn f(api: Refresh<ClientService>) -> Result<(), BoxError> {
//! let http = api.get_ref().client();
//! let payment = http.post("https://api.example.com/payments").body("...").build()?;
//! let mut payment = http::Request::try_from(payment)?;
//! payment.extensions_mut().insert(NoReplay);
//! let payment = reqwest::RequestBuilder::from_parts(http.clone(), payment.try_into()?);
//! let response = payment.send_through(&api).await?;
//! # drop(response);
//! # Ok(()) }
//! ```
//!
//! # Versions
//!
//! This module is for reqwest 0.13. An application on reqwest 0.12 writes a service of its own that
//! makes a `reqwest::Request` of the `http::Request` by `TryFrom`, over a client with
//! `redirect::Policy::none()`. The body comes from
//! [`ReplayBody::try_into_bytes`](crate::ReplayBody::try_into_bytes), or else from
//! [`ReplayBody::try_into_inner`](crate::ReplayBody::try_into_inner).

mod attempt;
mod body;
mod client;
mod error;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod redirect;
mod send;

pub use client::{ClientService, ResponseFuture};
pub use error::SendError;
#[cfg(feature = "reqwest-middleware")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest-middleware")))]
pub use middleware::RefreshMiddleware;
pub use send::SendThrough;
