//! What the clients need to know of a kind of credential.

use tower::BoxError;
use tower_refresh::{Credential, RefreshError, Refresher, Session, session::EndedLogin};

use crate::clock::WallClock;

/// A client of the auth service, for one kind of credential. A program that has one kind needs no
/// such trait.
pub(crate) trait AuthService: Clone + Send + Sync + 'static {
    type Credential: Credential;

    fn new(url: &str, clock: WallClock) -> Result<Self, BoxError>;

    fn login(
        &self,
        user: &str,
        password: &str,
    ) -> impl Future<Output = Result<Self::Credential, BoxError>> + Send;

    /// What the session refreshes with.
    fn refresher(&self) -> impl Refresher<Self::Credential>;

    /// Tells the service that a login is over.
    fn end(&self, end: EndedLogin<Self::Credential>) -> impl Future<Output = ()> + Send;

    /// A refresh by hand.
    fn renew(
        &self,
        stale: &Self::Credential,
    ) -> impl Future<Output = Result<Self::Credential, RefreshError>> + Send;

    /// A logout by hand.
    fn logout(&self, last: &Self::Credential) -> impl Future<Output = Result<(), BoxError>> + Send;
}

pub(crate) type SessionOf<A> = Session<<A as AuthService>::Credential>;
