//! How the next credential is obtained: the [`Refresher`] seam.
//!
//! Most refreshers are a closure:
//!
//! ```
//! use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Token};
//!
//! # struct Answer { access_token: String, refresh_token: String }
//! # async fn post_to_token_endpoint(_: String) -> Result<Answer, std::io::Error> { unimplemented!() }
//! let refresher = refresher_fn(|context: RefreshContext| async move {
//!     let refresh_token = context
//!         .current()
//!         .and_then(|token| token.refresh_token())
//!         .ok_or_else(|| RefreshError::terminal("there is no refresh token"))?
//!         .to_owned();
//!     let answer = post_to_token_endpoint(refresh_token).await.map_err(RefreshError::ambiguous)?;
//!     Ok(Token::bearer(answer.access_token)?.with_refresh_token(answer.refresh_token))
//! });
//! # let _session = tower_refresh::Session::<Token>::builder(refresher).build();
//! ```
//!
//! A type of its own implements the trait; a decorator wraps another refresher and passes the
//! context on, changed where it knows better:
//!
//! ```
//! use std::sync::Arc;
//! use tower_refresh::{refresher::BoxFuture, RefreshContext, RefreshError, Refresher, Token};
//!
//! struct Logged<R>(R);
//!
//! impl<R: Refresher> Refresher for Logged<R> {
//!     fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
//!         Box::pin(async move {
//!             println!("refreshing, because {:?}", context.cause());
//!             self.0.refresh(context).await
//!         })
//!     }
//! }
//! ```
//!
//! A refresher runs in a task of its own: no caller that leaves can cancel it, only its time-out
//! ([`SessionBuilder::refresh_timeout`](crate::session::SessionBuilder::refresh_timeout)) or the
//! end of the runtime.
//!
//! # Requests of a refresher
//!
//! What it sends through a client that wears the same session passes untouched: no credential, no
//! waiting, no refresh, and a 401 comes back to it as a response. The session knows such requests
//! by the task in which the client is called, so mark them [`Anonymous`](crate::extension::Anonymous) where
//! that is another one: when the refresher spawns a task, or when a `tower::buffer::Buffer` is
//! *around* the layer. A session method that would wait for the flight fails in it with
//! [`ErrorKind::Recursive`](crate::ErrorKind::Recursive).
//!
//! A refresher, or a hook, that keeps such a client keeps the session, which keeps it: the session
//! then lives for as long as the program. That is what most programs want; where it isn't, keep a
//! [`WeakSession`](crate::session::WeakSession) and make the client from it when it is needed.
//!
//! All of this holds for what a refresher causes, too: when its request makes a second session
//! refresh, that flight does not wait for the first session either.

use std::{fmt, pin::Pin, sync::Arc};

use http::{HeaderMap, StatusCode};

use crate::{
    credential::token::Token,
    error::RefreshError,
    session::{Generation, Login, OutcomeCell},
};

/// A boxed future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Obtains the next credential.
///
/// See the [module docs](self) for examples.
pub trait Refresher<C = Token>: Send + Sync + 'static {
    /// Obtains a credential to take the place of [`RefreshContext::current`].
    ///
    /// ```
    /// use tower_refresh::{
    ///     refresher::Cause, refresher_fn, RefreshContext, RefreshError, Refresher, Token,
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let refresher = refresher_fn(|context: RefreshContext| async move {
    ///     match context.current() {
    ///         Some(_) => Ok(Token::bearer("at-2")?),
    ///         None => Err(RefreshError::terminal("log in first")),
    ///     }
    /// });
    /// // A test needs no session.
    /// let refused = refresher.refresh(RefreshContext::new(Cause::Missing)).await;
    /// assert!(refused.unwrap_err().is_terminal());
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The [kind](crate::RefreshErrorKind) of the error decides what becomes of the login.
    ///
    /// # Panics
    ///
    /// A panic counts as an [ambiguous](crate::RefreshErrorKind::Ambiguous) failure.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped before its end when the session's time-out passes, or with its
    /// runtime. Nothing else cancels it.
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>>;
}

/// A [`Refresher`] made by [`refresher_fn`].
#[derive(Clone, Copy)]
pub struct RefresherFn<F>(F);

/// What a refresher is told about the refresh that it is to do.
///
/// ```
/// use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
///
/// # async fn fetch(_: Option<&str>) -> Result<Token, RefreshError> { unimplemented!() }
/// # async fn store(_: &Token) {}
/// let refresher = refresher_fn(|context: RefreshContext| async move {
///     println!("{:?}, after {:?}", context.cause(), context.previous_error());
///     let token = fetch(context.current().and_then(|token| token.refresh_token())).await?;
///     if !context.is_fenced() {
///         store(&token).await;
///     }
///     Ok(token)
/// });
/// # let _session = Session::<Token>::builder(refresher).build();
/// ```
#[non_exhaustive]
pub struct RefreshContext<C = Token> {
    cause: Cause,
    current: Option<Arc<C>>,
    rejection: Option<Arc<Rejection>>,
    login: Login,
    generation: Generation,
    previous_error: Option<RefreshError>,
    fence: OutcomeCell,
}

/// Why a flight was started.
///
/// ```
/// use tower_refresh::{refresher::Cause, RefreshContext};
///
/// /// Whether a token that another process has stored would do.
/// fn may_reuse_stored(context: &RefreshContext) -> bool {
///     context.cause() != Cause::Forced
/// }
/// # assert!(may_reuse_stored(&RefreshContext::new(Cause::Rejected)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The upstream rejected the credential.
    Rejected,
    /// The credential has expired, by its own account.
    Expiring,
    /// There is no credential.
    Missing,
    /// [`Session::refresh`](crate::Session::refresh) was called.
    Forced,
}

/// The head of the response that rejected the credential.
///
/// `Debug` shows the status and the names of the headers.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
/// use tower_refresh::{refresher::{Cause, Rejection}, RefreshContext, Token};
///
/// let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#); // RFC 6750 §3
/// let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge)]);
/// let rejection = Rejection::new(StatusCode::UNAUTHORIZED, headers);
/// let context = RefreshContext::<Token>::new(Cause::Rejected).with_rejection(rejection);
///
/// assert!(context.rejection().unwrap().headers().contains_key(WWW_AUTHENTICATE));
/// ```
#[derive(Clone)]
pub struct Rejection {
    status: StatusCode,
    headers: HeaderMap,
}

/// Makes a [`Refresher`] of a closure.
///
/// See the [module docs](self) for an example.
pub fn refresher_fn<F>(f: F) -> RefresherFn<F> {
    RefresherFn(f)
}

// === impl Refresher ===

impl<C, R> Refresher<C> for Arc<R>
where
    R: Refresher<C> + ?Sized,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        (**self).refresh(context)
    }
}

impl<C, R> Refresher<C> for Box<R>
where
    R: Refresher<C> + ?Sized,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        (**self).refresh(context)
    }
}

// === impl RefresherFn ===

impl<C, F, Fut> Refresher<C> for RefresherFn<F>
where
    F: Fn(RefreshContext<C>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, RefreshError>> + Send + 'static,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        Box::pin((self.0)(context))
    }
}

impl<F> fmt::Debug for RefresherFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefresherFn").finish_non_exhaustive()
    }
}

// === impl RefreshContext ===

impl<C> RefreshContext<C> {
    /// A context that knows nothing but the cause: the start of one for a test.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tower_refresh::{refresher::Cause, RefreshContext, Token};
    ///
    /// let token = Arc::new(Token::bearer("stale").unwrap());
    /// let context = RefreshContext::new(Cause::Rejected).with_current(token);
    /// assert_eq!(context.current().unwrap().access_token(), "stale");
    /// assert!(!context.is_fenced());
    /// ```
    pub fn new(cause: Cause) -> Self {
        Self {
            cause,
            current: None,
            rejection: None,
            login: Login::NONE,
            generation: Generation::NONE,
            previous_error: None,
            fence: OutcomeCell::default(),
        }
    }

    /// Takes another credential as the one to replace.
    #[must_use]
    pub fn with_current(mut self, current: Arc<C>) -> Self {
        self.current = Some(current);
        self
    }

    /// Takes another rejection.
    #[must_use]
    pub fn with_rejection(mut self, rejection: Rejection) -> Self {
        self.rejection = Some(Arc::new(rejection));
        self
    }

    /// Takes another error as the one of the flight before.
    #[must_use]
    pub fn with_previous_error(mut self, error: RefreshError) -> Self {
        self.previous_error = Some(error);
        self
    }

    /// The credential to replace; `None` when the first one is to be acquired.
    pub fn current(&self) -> Option<&Arc<C>> {
        self.current.as_ref()
    }

    /// Why the flight was started.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// What the upstream said when it rejected the credential: a claims challenge, a nonce
    /// (RFC 9449 §9).
    pub fn rejection(&self) -> Option<&Rejection> {
        self.rejection.as_deref()
    }

    /// The login that the credential is for.
    pub fn login(&self) -> Login {
        self.login
    }

    /// The generation of the credential to replace.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How the flight before this one failed, if no newer credential has arrived since.
    pub fn previous_error(&self) -> Option<&RefreshError> {
        self.previous_error.as_ref()
    }

    /// Whether a login, a logout or a replacement has made the outcome pointless: nothing need be
    /// stored.
    ///
    /// It may become so at any time: ask after the last `.await`.
    pub fn is_fenced(&self) -> bool {
        self.fence.is_fenced()
    }

    /// What only a flight knows.
    pub(crate) fn for_flight(
        mut self,
        login: Login,
        generation: Generation,
        fence: OutcomeCell,
    ) -> Self {
        self.login = login;
        self.generation = generation;
        self.fence = fence;
        self
    }

    pub(crate) fn with_evidence(
        mut self,
        current: Option<Arc<C>>,
        rejection: Option<Arc<Rejection>>,
        previous_error: Option<RefreshError>,
    ) -> Self {
        self.current = current;
        self.rejection = rejection;
        self.previous_error = previous_error;
        self
    }
}

impl<C> Clone for RefreshContext<C> {
    fn clone(&self) -> Self {
        Self {
            cause: self.cause,
            current: self.current.clone(),
            rejection: self.rejection.clone(),
            login: self.login,
            generation: self.generation,
            previous_error: self.previous_error.clone(),
            fence: self.fence.clone(),
        }
    }
}

impl<C> fmt::Debug for RefreshContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshContext")
            .field("cause", &self.cause)
            .field("rejection", &self.rejection)
            .field("login", &self.login)
            .field("generation", &self.generation)
            .field("previous_error", &self.previous_error)
            .field("is_fenced", &self.is_fenced())
            .finish_non_exhaustive()
    }
}

// === impl Rejection ===

impl Rejection {
    /// The head of a response.
    pub fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Self { status, headers }
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish()
    }
}
