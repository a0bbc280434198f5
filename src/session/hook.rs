use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    credential::token::Token,
    identity::Login,
    refresher::BoxFuture,
    session::{
        machine::{state::EndReason, transition::Ended},
        scope::{Role, Scope, SessionId},
    },
};

/// What an `on_login_end` hook is told about the login that is over.
///
/// ```
/// use tower_refresh::{session::{EndReason, EndedLogin, SessionBuilder}, Token};
///
/// # async fn revoke(_: &Token) {}
/// fn with_revocation(builder: SessionBuilder) -> SessionBuilder {
///     builder.on_login_end(|end: EndedLogin| async move {
///         if let EndReason::Refused(error) = end.reason() {
///             println!("please log in again: {error}");
///         }
///         if let Some(token) = end.credential() {
///             revoke(token).await; // RFC 7009 §2.1
///         }
///     })
/// }
/// ```
pub struct EndedLogin<C = Token> {
    login: Login,
    reason: EndReason,
    credential: Option<Arc<C>>,
}

/// Ends when the hook of the login that was logged out has ended; at once when there is nothing to
/// wait for.
///
/// The logout itself has taken effect when [`Session::logout`](crate::Session::logout) returned.
/// Only the call that ended the login waits for its hook: a program that is about to exit after a
/// refusal has its hook say when it is done.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::timeout;
/// use tower_refresh::Session;
///
/// /// At the exit of the program: whether its hook has ended.
/// async fn sign_off(session: Session) -> bool {
///     timeout(Duration::from_secs(5), session.logout()).await.is_ok()
/// }
/// ```
///
/// # Panics
///
/// Only where no Tokio runtime was known at the call: the hook then runs in this future, and panics
/// in it.
///
/// # Cancel safety
///
/// May be dropped at any time: the hook runs on. Only where no Tokio runtime was known at the call,
/// the hook runs in this future, and is dropped with it.
pub struct Logout(Hooked);

/// The user's hook.
pub(super) type Hook<C> = Arc<dyn Fn(EndedLogin<C>) -> BoxFuture<'static, ()> + Send + Sync>;

enum Hooked {
    Nothing,
    Task(JoinHandle<()>),
    Inline(BoxFuture<'static, ()>),
}

/// Runs the hook in a task of its own, so that nothing it does can hurt whoever ended the login.
pub(super) fn launch<C: Send + Sync + 'static>(
    hook: Hook<C>,
    session: SessionId,
    ended: Ended<C>,
    runtime: Option<&Handle>,
) -> Logout {
    let scope = Scope::enter(session, Role::Hook);
    let run = scope.run(async move {
        let late = ended.outstanding.finished().await;
        let Ended { login, reason, credential, .. } = ended;
        hook(EndedLogin { login, reason, credential: late.or(credential) }).await;
    });
    Logout(match runtime {
        Some(runtime) => Hooked::Task(runtime.spawn(run)),
        None => Hooked::Inline(Box::pin(run)),
    })
}

// === impl EndedLogin ===

impl<C> EndedLogin<C> {
    /// The login that is over.
    pub fn login(&self) -> Login {
        self.login
    }

    /// How it ended.
    pub fn reason(&self) -> &EndReason {
        &self.reason
    }

    /// The last credential of that login: what to revoke, or to call the logout endpoint with.
    ///
    /// When a logout overtook a refresh that then succeeded, it is the one that the refresh
    /// brought.
    pub fn credential(&self) -> Option<&Arc<C>> {
        self.credential.as_ref()
    }
}

impl<C> Clone for EndedLogin<C> {
    fn clone(&self) -> Self {
        Self { login: self.login, reason: self.reason.clone(), credential: self.credential.clone() }
    }
}

impl<C> fmt::Debug for EndedLogin<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndedLogin")
            .field("login", &self.login)
            .field("reason", &self.reason)
            .field("has_credential", &self.credential.is_some())
            .finish()
    }
}

// === impl Logout ===

impl Logout {
    pub(super) fn nothing() -> Self {
        Self(Hooked::Nothing)
    }
}

impl Future for Logout {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Hooked::Nothing => {}
            // A hook that panicked has ended.
            Hooked::Task(task) => drop(ready!(Pin::new(task).poll(cx))),
            Hooked::Inline(run) => ready!(run.as_mut().poll(cx)),
        }
        self.0 = Hooked::Nothing;
        Poll::Ready(())
    }
}

impl fmt::Debug for Logout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logout").finish_non_exhaustive()
    }
}
