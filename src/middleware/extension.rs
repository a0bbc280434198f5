//! Markers in the extensions of a request, and the stamp that says which credential it was sent
//! with.

use std::{fmt, sync::Arc};

use http::{HeaderMap, StatusCode};

use crate::{
    credential::contract::Credential,
    refresher::Rejection,
    session::{Epoch, Generation, Login, WeakSession},
};

/// Marks a request that is none of the session's business: put into its extensions, it passes
/// untouched.
///
/// For requests that must not carry the credential, and for those of a refresher that are sent from
/// another task than its own (see [`refresher`](crate::refresher)).
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

/// Marks a request that must not be sent twice: put into its extensions, a rejection starts a
/// refresh and goes to the caller at once.
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

/// Which credential a request was sent with.
///
/// With [`RefreshLayer::expose_stamp`](crate::RefreshLayer::expose_stamp) it is in the extensions
/// of every request that carries a credential, for the layers below, and of its response, for those
/// above. It does not keep the session alive.
///
/// ```
/// use http::Response;
/// use tower_refresh::extension::Stamp;
///
/// /// A body that says in its last line that the token was no good: too late for a replay.
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
    session: Arc<dyn Rejects>,
}

/// A session, whatever its credential.
pub(crate) trait Rejects: Send + Sync {
    fn rejected(&self, epoch: Epoch);
}

// === impl Stamp ===

impl Stamp {
    pub(crate) fn new(epoch: Epoch, session: Arc<dyn Rejects>) -> Self {
        Self { epoch, session }
    }

    /// The login in whose name the request was sent.
    pub fn login(&self) -> Login {
        self.epoch.login
    }

    /// The generation of the credential that it carried.
    pub fn generation(&self) -> Generation {
        self.epoch.generation
    }

    /// Reports a rejection that was noticed elsewhere than in the head of the response: in a
    /// trailer, in a body.
    ///
    /// A refresh starts, and later requests wait for it, under the same conditions as for a
    /// rejection that the layer noticed itself: not if a newer credential has arrived, or a refresh
    /// has failed, since the request was sent, nor during a back-off or beyond the limit of
    /// refreshes. Nothing happens where the login is over, the session is gone or there is no Tokio
    /// runtime.
    pub fn reject(&self) {
        self.session.rejected(self.epoch);
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

// === impl Rejects ===

impl<C: Credential> Rejects for WeakSession<C> {
    fn rejected(&self, epoch: Epoch) {
        if let Some(session) = self.upgrade() {
            // Whoever calls has its answer already; how the session reacts is for the next request.
            drop(
                session
                    .rejected(epoch, || Rejection::new(StatusCode::UNAUTHORIZED, HeaderMap::new())),
            );
        }
    }
}
