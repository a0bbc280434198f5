//! The operations of an auth service that the clients use.

use tower::BoxError;
use tower_refresh::{Credential, RefreshError, Refresher, Session, session::EndedLogin};

use crate::clock::WallClock;

/// A client of the auth service for one kind of credential. A program with a single kind needs no
/// such trait.
pub(crate) trait AuthService: Clone + Send + Sync + 'static {
    type Credential: Credential;

    fn new(url: &str, clock: WallClock) -> Result<Self, BoxError>;

    fn login(
        &self,
        user: &str,
        password: &str,
    ) -> impl Future<Output = Result<Self::Credential, BoxError>> + Send;

    /// The refresher of the session.
    fn refresher(&self) -> impl Refresher<Self::Credential>;

    /// Tells the auth service that a login has ended.
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
