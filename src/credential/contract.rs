use std::{sync::Arc, time::SystemTime};

use http::{header::AUTHORIZATION, request};

use crate::head::ResponseHead;

/// The proof of the caller's identity: a bearer token, cookies, a signed header.
///
/// Only [`apply`](Self::apply) is required. The methods run on the path of every request, so they
/// should neither block nor take long. None is called while a lock of the session is held. (If a
/// [`Refresh`](crate::Refresh) is the inner service of another one, that one clones it under a
/// lock; see there.)
///
/// The layer reads the state of the session right before `apply`. A change that `apply` itself
/// makes to the session takes effect from the next request on.
///
/// A credential may be logged by accident. Give it a `Debug` that shows no secret, like that of
/// [`Token`](crate::Token), or none at all. Mark its header values as
/// [sensitive](http::HeaderValue::set_sensitive): that keeps them out of the `Debug` of a request
/// and out of the HPACK table of an HTTP/2 connection.
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
/// let mut cookie = HeaderValue::from_static("sid=31d4d96e");
/// cookie.set_sensitive(true);
/// let (mut request, ()) = Request::new(()).into_parts();
/// SessionCookie(cookie).apply(&mut request);
/// assert!(SessionCookie::is_present(&request));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a credential",
    label = "not a `Credential`",
    note = "use `Token` for bearer tokens, or implement `tower_refresh::Credential`"
)]
pub trait Credential: Send + Sync + 'static {
    /// Puts the credential on the head of a request, and replaces an earlier credential there.
    ///
    /// Called right before every send, the replay included. It can't fail: a conversion that can
    /// fail belongs in the constructor of the credential.
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

    /// Whether the caller has put a credential of its own on the request. The request then passes
    /// untouched.
    ///
    /// Without `self`, because a session that is logged out has no credential to ask.
    ///
    /// Default: whether the request has an `Authorization` header.
    fn is_present(request: &request::Parts) -> bool
    where
        Self: Sized,
    {
        request.headers.contains_key(AUTHORIZATION)
    }

    /// Observes the head of every response to a request that carried this credential: cookies that
    /// the upstream renews, nonces. The head tells which request it answers.
    ///
    /// Called before [`Detect::inspect`](crate::detect::Detect::inspect). Default: does nothing.
    #[expect(unused_variables, reason = "the name is documentation")]
    fn observe(&self, response: &ResponseHead<'_>) {}

    /// A copy that shares no memory with this credential, for the requests of one clone of the
    /// service. Only [`apply`](Self::apply) is called on the copy. [`observe`](Self::observe) is
    /// called on the original.
    ///
    /// Threads that send one credential contend for the memory that it shares, even if that is only
    /// the reference count of a header value. A credential that consists of header values and never
    /// changes should implement this method.
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
    /// let mut key = HeaderValue::from_static("31d4d96e");
    /// key.set_sensitive(true);
    /// assert_eq!(ApiKey(key.clone()).unshared().unwrap().0, key);
    /// ```
    ///
    /// Default: `None`, and all clones of the service use this credential.
    fn unshared(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Whether the upstream treats `other` like this credential.
    ///
    /// A refresh that yields the rejected credential again counts as failed. Without this method,
    /// only the rejection of the replay shows it. A refresh that yields a credential which the
    /// upstream has accepted yields an accepted one.
    ///
    /// Default: `false`.
    #[expect(unused_variables, reason = "the name is documentation")]
    fn is_same(&self, other: &Self) -> bool
    where
        Self: Sized,
    {
        false
    }
}

// === impl Credential ===

impl<C: Credential> Credential for Arc<C> {
    fn apply(&self, request: &mut request::Parts) {
        (**self).apply(request);
    }

    fn expires_at(&self, received_at: SystemTime) -> Option<SystemTime> {
        (**self).expires_at(received_at)
    }

    fn is_present(request: &request::Parts) -> bool {
        C::is_present(request)
    }

    fn observe(&self, response: &ResponseHead<'_>) {
        (**self).observe(response);
    }

    fn unshared(&self) -> Option<Self> {
        (**self).unshared().map(Self::new)
    }

    fn is_same(&self, other: &Self) -> bool {
        (**self).is_same(other)
    }
}

impl<C: Credential> Credential for Box<C> {
    fn apply(&self, request: &mut request::Parts) {
        (**self).apply(request);
    }

    fn expires_at(&self, received_at: SystemTime) -> Option<SystemTime> {
        (**self).expires_at(received_at)
    }

    fn is_present(request: &request::Parts) -> bool {
        C::is_present(request)
    }

    fn observe(&self, response: &ResponseHead<'_>) {
        (**self).observe(response);
    }

    fn unshared(&self) -> Option<Self> {
        (**self).unshared().map(Self::new)
    }

    fn is_same(&self, other: &Self) -> bool {
        (**self).is_same(other)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{HeaderMap, Request, StatusCode};

    use super::*;

    struct Bare;

    impl Credential for Bare {
        fn apply(&self, _: &mut request::Parts) {}
    }

    fn head(request: request::Builder) -> request::Parts {
        request.body(()).unwrap().into_parts().0
    }

    /// A credential that overrides every method.
    #[derive(Clone)]
    struct Full {
        name: &'static str,
        observed: Arc<AtomicUsize>,
    }

    impl Credential for Full {
        fn apply(&self, request: &mut request::Parts) {
            request.headers.insert("x-name", self.name.parse().unwrap());
        }

        fn expires_at(&self, _: SystemTime) -> Option<SystemTime> {
            Some(SystemTime::UNIX_EPOCH)
        }

        fn is_present(request: &request::Parts) -> bool {
            request.headers.contains_key("x-name")
        }

        fn observe(&self, _: &ResponseHead<'_>) {
            self.observed.fetch_add(1, Ordering::SeqCst);
        }

        fn unshared(&self) -> Option<Self> {
            Some(self.clone())
        }

        fn is_same(&self, other: &Self) -> bool {
            self.name == other.name
        }
    }

    #[test]
    fn a_credential_behind_a_pointer_is_used_like_the_credential() {
        fn check<C: Credential>(make: impl Fn(Full) -> C) {
            let observed = Arc::<AtomicUsize>::default();
            let credential = |name| make(Full { name, observed: observed.clone() });
            let (one, other) = (credential("a"), credential("b"));
            let mut request = head(Request::builder());
            assert!(!C::is_present(&request));
            one.apply(&mut request);
            assert!(C::is_present(&request));
            assert_eq!(request.headers["x-name"], "a");
            assert_eq!(one.expires_at(SystemTime::now()), Some(SystemTime::UNIX_EPOCH));
            assert!(one.is_same(&one.unshared().unwrap()) && !one.is_same(&other));
            one.observe(&ResponseHead::new(StatusCode::OK, &HeaderMap::new()));
            assert_eq!(observed.load(Ordering::SeqCst), 1);
        }
        check(|credential| credential);
        check(Arc::new);
        check(Box::new);
        check(|credential| Arc::new(Box::new(credential)));
    }

    #[test]
    fn by_default_an_authorization_header_is_a_credential() {
        assert!(!Bare::is_present(&head(Request::builder())));
        assert!(!Bare::is_present(&head(
            Request::builder().header("proxy-authorization", "Basic eDp5")
        )));
        assert!(Bare::is_present(&head(Request::builder().header("authorization", ""))));
    }

    #[test]
    fn by_default_a_credential_neither_expires_nor_equals_another() {
        assert_eq!(Bare.expires_at(SystemTime::now()), None);
        assert!(!Bare.is_same(&Bare));
        assert!(Bare.unshared().is_none());
        Bare.observe(&ResponseHead::new(StatusCode::OK, &HeaderMap::new()));
    }
}
