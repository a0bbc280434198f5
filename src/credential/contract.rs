use std::time::SystemTime;

use http::{header::AUTHORIZATION, request};

use crate::head::ResponseHead;

/// What proves the caller to the upstream: a bearer token, cookies, a signed header.
///
/// Only [`apply`](Self::apply) is required. The methods run on the path of every request, so they
/// should neither block nor take long; none of them is called while a lock of their session is
/// held. (A service that is the inner one of another [`Refresh`](crate::Refresh) is cloned under a
/// lock of that one, see there.)
///
/// The session is asked right before `apply`: what that does to the session counts from the next
/// request on.
///
/// A credential may be logged by accident: give it a `Debug` that shows no secret, as
/// [`Token`](crate::Token) does, or none at all.
///
/// # Examples
///
/// ```
/// use http::{HeaderValue, Request, header, request};
/// use tower_refresh::Credential;
///
/// /// A session cookie that was checked when it was received.
/// struct SessionCookie(HeaderValue);
///
/// impl Credential for SessionCookie {
///     fn apply(&self, request: &mut request::Parts) {
///         request.headers.insert(header::COOKIE, self.0.clone());
///     }
///
///     fn is_present(request: &request::Parts) -> bool {
///         request.headers.contains_key(header::COOKIE)
///     }
/// }
///
/// let (mut request, ()) = Request::new(()).into_parts();
/// SessionCookie(HeaderValue::from_static("sid=31d4d96e")).apply(&mut request);
/// assert!(SessionCookie::is_present(&request));
/// ```
pub trait Credential: Send + Sync + 'static {
    /// Puts the credential on an outgoing request head, replacing what an earlier one put there.
    ///
    /// Called immediately before every send, the replay included. It can't fail: what can, must
    /// fail when the credential is made.
    fn apply(&self, request: &mut request::Parts);

    /// The time at which the upstream stops accepting the credential, if it is known.
    ///
    /// Called once, when the session receives the credential. `received_at` is that moment by the
    /// session's clock ([`SessionBuilder::clock`](crate::session::SessionBuilder::clock)), for a
    /// credential that knows its lifetime and not its end. An expiry that is not after
    /// `received_at` counts as unknown: the local clock may be wrong, so the upstream decides.
    ///
    /// Unknown by default.
    #[expect(unused_variables, reason = "the name is documentation")]
    fn expires_at(&self, received_at: SystemTime) -> Option<SystemTime> {
        None
    }

    /// Whether the caller authorised this request itself; it then passes untouched.
    ///
    /// Asked also when the session holds no credential, so it has no `self`.
    ///
    /// By default: whether the request has an `Authorization` header.
    fn is_present(request: &request::Parts) -> bool
    where
        Self: Sized,
    {
        request.headers.contains_key(AUTHORIZATION)
    }

    /// Sees the head of every response to a request that carried this credential, and which request
    /// it answers: for cookies that the upstream renews, for nonces.
    ///
    /// Called before [`Detect::inspect`](crate::detect::Detect::inspect). Does nothing by default.
    #[expect(unused_variables, reason = "the name is documentation")]
    fn observe(&self, response: &ResponseHead<'_>) {}

    /// A copy that shares no memory with this one, for a clone of the service to put on its
    /// requests. Nothing but [`apply`](Self::apply) is asked of it; [`observe`](Self::observe) sees
    /// the original.
    ///
    /// Threads that send with one credential slow one another down by what it shares, be it only
    /// the reference count of a header value. For a credential that is made of such a value and
    /// never changes.
    ///
    /// ```
    /// use http::{HeaderValue, header, request};
    /// use tower_refresh::Credential;
    ///
    /// struct ApiKey(HeaderValue);
    ///
    /// impl Credential for ApiKey {
    ///     fn apply(&self, request: &mut request::Parts) {
    ///         request.headers.insert("x-api-key", self.0.clone());
    ///     }
    ///
    ///     fn unshared(&self) -> Option<Self> {
    ///         let mut own = HeaderValue::from_bytes(self.0.as_bytes()).ok()?;
    ///         own.set_sensitive(self.0.is_sensitive());
    ///         Some(Self(own))
    ///     }
    /// }
    ///
    /// let key = ApiKey(HeaderValue::from_static("31d4d96e"));
    /// assert_eq!(key.unshared().unwrap().0, key.0);
    /// ```
    ///
    /// `None` by default: all clones send with the one.
    fn unshared(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Whether the upstream would treat `other` like this one.
    ///
    /// A refresh that yields the rejected credential again has failed; without this method that
    /// goes unnoticed until the replay is rejected as well.
    ///
    /// `false` by default.
    #[expect(unused_variables, reason = "the name is documentation")]
    fn is_same(&self, other: &Self) -> bool
    where
        Self: Sized,
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request, StatusCode};

    use super::*;

    struct Bare;

    impl Credential for Bare {
        fn apply(&self, _: &mut request::Parts) {}
    }

    fn head(request: request::Builder) -> request::Parts {
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_is_authorised_by_its_authorization_header_unless_told_otherwise() {
        assert!(!Bare::is_present(&head(Request::builder())));
        assert!(!Bare::is_present(&head(
            Request::builder().header("proxy-authorization", "Basic eDp5")
        )));
        assert!(Bare::is_present(&head(Request::builder().header("authorization", ""))));
    }

    #[test]
    fn nothing_more_is_known_of_a_credential_unless_it_says_so() {
        assert_eq!(Bare.expires_at(SystemTime::now()), None);
        assert!(!Bare.is_same(&Bare));
        assert!(Bare.unshared().is_none());
        Bare.observe(&ResponseHead::new(StatusCode::OK, &HeaderMap::new()));
    }
}
