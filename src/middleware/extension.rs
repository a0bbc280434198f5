//! Markers in the extensions of requests and responses, and the stamp of a credential.
//!
//! | in a request | the layer |
//! |---|---|
//! | [`Anonymous`] | lets the request and its response pass untouched |
//! | [`NoReplay`] | applies the credential; a rejection starts a refresh and goes to the caller |
//! | [`NoRefresh`] | applies the credential; a rejection starts no refresh and goes to the caller |
//!
//! | in a response, put there by a layer below | the layer |
//! |---|---|
//! | [`Rejected`] | treats the response as a rejection, whatever its head says |
//! | [`TargetUri`] | lets the response pass if another origin sent it |
//!
//! With [`RefreshLayer::expose_stamp`](crate::RefreshLayer::expose_stamp) a [`Stamp`] is in both.

use std::{fmt, sync::Weak};

use http::{HeaderMap, StatusCode, Uri};

use crate::{
    observe::observers::Observers,
    refresher::Rejection,
    session::{Epoch, Generation, Login, requests::ReportRejection},
};

/// Marks a request that passes the layer untouched: without a credential, a wait or a refresh.
///
/// A refresher marks the requests that it sends from a task other than its own (see
/// [`refresher`](crate::refresher)).
///
/// ```
/// use http::Request;
/// use tower_refresh::extension::Anonymous;
///
/// let request = Request::post("https://api.example.com/auth/refresh").extension(Anonymous).body(());
/// # assert!(request.is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

/// Marks a request that must not be sent twice. Its rejection starts a refresh, and goes to the
/// caller at once.
///
/// ```
/// use http::Request;
/// use tower_refresh::extension::NoReplay;
///
/// let request = Request::post("https://api.example.com/payments").extension(NoReplay).body(());
/// # assert!(request.is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

/// Marks a request that the layer let pass because it has a credential of the caller. The layer
/// inserts it, for an adapter that follows redirects above the layer: a hop to another origin loses
/// that credential, and must not get the session's in its place.
#[derive(Clone, Copy)]
pub(crate) struct OwnCredential;

/// The observers of a registry that found no session for a request. Its layer inserts them, so that
/// a layer below can report that the request fails.
#[derive(Clone)]
#[allow(dead_code, reason = "a leaf makes it")]
pub(crate) struct Unclaimed(pub(crate) Observers);

/// Marks a request whose rejection starts no refresh. The request carries the credential, and its
/// rejection goes to the caller at once.
///
/// A form that changes a password answers 401 to a wrong password, which a newer credential does
/// not change:
///
/// ```
/// use http::Request;
/// use tower_refresh::extension::NoRefresh;
///
/// let request = Request::post("https://api.example.com/password").extension(NoRefresh).body(());
/// # assert!(request.is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRefresh;

/// Marks a response that rejects the credential although its head does not say so.
///
/// A layer below the [`RefreshLayer`](crate::RefreshLayer) inserts it into the extensions of a
/// response whose body or trailers reject the credential. It takes precedence over
/// [`Detect`](crate::detect::Detect).
///
/// ```
/// use http::Response;
/// use tower_refresh::extension::Rejected;
///
/// /// A service that answers 200 with an error code in a header of its own.
/// fn classify<B>(response: &mut Response<B>) {
///     if response.headers().get("x-error-code").is_some_and(|code| code == "498") {
///         response.extensions_mut().insert(Rejected);
///     }
/// }
/// # classify(&mut Response::new(()));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Rejected;

/// The URI of the server that sent a response, where that is not the URI of the request.
///
/// A client that follows redirects *below* the layer inserts it into the extensions of the
/// response. A response from an origin that gets no credential passes the layer untouched: the 401
/// of a foreign host starts no refresh.
///
/// The adapter of the feature `reqwest` does so. A client without such an adapter should follow no
/// redirects, with tower-http's `FollowRedirect` around the layer. Otherwise the layer treats a 401
/// of any redirect target as a rejection, and refreshes.
///
/// ```
/// use http::{Response, Uri};
/// use tower_refresh::extension::TargetUri;
///
/// fn redirected<B>(response: &mut Response<B>, last_hop: Uri) {
///     response.extensions_mut().insert(TargetUri(last_hop));
/// }
/// # redirected(&mut Response::new(()), Uri::from_static("https://files.example.org/"));
/// ```
#[derive(Clone)]
pub struct TargetUri(pub Uri);

/// The login and the generation of the credential that a request carries.
///
/// With [`RefreshLayer::expose_stamp`](crate::RefreshLayer::expose_stamp) a stamp is in the
/// extensions of every request that carries the credential, for the layers below, and of its
/// response, for those above. A stamp does not keep the session alive.
///
/// ```
/// use http::Response;
/// use tower_refresh::extension::Stamp;
///
/// /// The last line of a body says that the token has expired, too late for a replay.
/// fn rejected_late<B>(response: &Response<B>) {
///     if let Some(stamp) = response.extensions().get::<Stamp>() {
///         stamp.reject();
///     }
/// }
/// # rejected_late(&Response::new(()));
/// ```
#[derive(Clone)]
pub struct Stamp {
    epoch: Epoch,
    session: Weak<dyn ReportRejection>,
}

// === impl TargetUri ===

impl fmt::Debug for TargetUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A presigned URL holds its key in the query, and an authority may hold a password.
        f.debug_struct("TargetUri").field("host", &self.0.host()).finish_non_exhaustive()
    }
}

// === impl Stamp ===

impl Stamp {
    pub(super) fn new(epoch: Epoch, session: Weak<dyn ReportRejection>) -> Self {
        Self { epoch, session }
    }

    /// The login of the request.
    pub fn login(&self) -> Login {
        self.epoch.login
    }

    /// The generation of the credential.
    pub fn generation(&self) -> Generation {
        self.epoch.generation
    }

    /// Reports a rejection that is not in the head of the response but, for example, in its body.
    /// The refresher gets no [`Rejection`](crate::refresher::Rejection).
    ///
    /// A refresh starts, and later requests wait for it, under the conditions that hold for a
    /// rejection which the layer finds. No refresh starts if a newer credential has arrived or a
    /// refresh has failed since the request was sent, during a back-off, or beyond the limit of
    /// refreshes. The report has no effect if the login is over, the session is gone, or no Tokio
    /// runtime is known.
    pub fn reject(&self) {
        self.report(None);
    }

    /// Like [`reject`](Self::reject), with the status of the response and the headers or trailers
    /// that reject the credential. The refresher gets them as
    /// [`RefreshContext::rejection`](crate::RefreshContext::rejection).
    pub fn reject_with(&self, status: StatusCode, headers: HeaderMap) {
        self.report(Some(Rejection::new(status, headers)));
    }

    fn report(&self, rejection: Option<Rejection>) {
        if let Some(session) = self.session.upgrade() {
            session.reject(self.epoch, rejection);
        }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamp")
            .field("login", &self.epoch.login)
            .field("generation", &self.epoch.generation)
            .finish_non_exhaustive()
    }
}
