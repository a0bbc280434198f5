use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    thread,
};

use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use crate::{
    credential::token::Token,
    identity::{Login, SessionId},
    observe::{event::EventKind, observers::Reporter, outcome::HookOutcome},
    refresher::contract::BoxFuture,
    session::{
        machine::{state::EndReason, transition::LoginEnd},
        scope::{Role, Scope},
    },
};

/// A login that is over: the argument of an `on_login_end` hook.
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
    session_name: Option<Arc<str>>,
    login: Login,
    reason: EndReason,
    credential: Option<Arc<C>>,
}

/// A future that waits for the hook of a logout. Made by
/// [`Session::logout`](crate::Session::logout).
///
/// The logout itself has taken effect when `logout` returns. This future completes when the hook
/// has completed, or at once if there is no hook to run.
///
/// Only the call that ends a login can wait for its hook. A program that exits after a refusal
/// needs a signal from the hook itself.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::timeout;
/// use tower_refresh::Session;
///
/// /// At the exit of the program. Returns whether the hook has completed.
/// async fn sign_off(session: Session) -> bool {
///     timeout(Duration::from_secs(5), session.logout()).await.is_ok()
/// }
/// ```
///
/// # Panics
///
/// Only if the session knew no running Tokio runtime at the call, or if that one shut down before
/// the hook started. The hook then runs in this future, and a panic of the hook propagates.
///
/// # Cancel safety
///
/// Dropping the future does not cancel the hook, except where the hook runs in this future (see
/// above).
pub struct Logout(HookRun);

/// The hook of the application.
pub(super) type Hook<C> = Arc<dyn Fn(EndedLogin<C>) -> BoxFuture<'static, ()> + Send + Sync>;

/// The place where a hook runs.
enum HookRun {
    /// There is no hook, or it has completed.
    None,
    Task(JoinHandle<()>, Arc<PendingHook>),
    Inline(BoxFuture<'static, ()>),
}

/// A hook that has not started. Its task takes it from here at its first poll; the [`Logout`] takes
/// it back if the runtime shuts down before that.
type PendingHook = Mutex<Option<BoxFuture<'static, ()>>>;

/// Reports the end of a hook, also if the hook panics or its task is dropped.
struct HookReport {
    reporter: Reporter,
    login: Login,
    /// The call of the hook.
    since: Instant,
    is_completed: bool,
}

/// Starts the hook in its own task. A hook that panics or hangs then affects no caller.
pub(super) fn start<C: Send + Sync + 'static>(
    hook: Hook<C>,
    session: SessionId,
    session_name: Option<Arc<str>>,
    reporter: Option<Reporter>,
    ended: LoginEnd<C>,
    runtime: Option<&Handle>,
) -> Logout {
    let scope = Scope::enter(session, Role::Hook);
    let run = scope.run(async move {
        // A flight that the logout fenced may still bring a credential. That one is then the
        // newest, and the one to revoke.
        let late = ended.flights.wait().await;
        let LoginEnd { login, reason, credential, .. } = ended;
        let report = reporter.map(|reporter| HookReport::new(reporter, login));
        hook(EndedLogin::new(session_name, login, reason, late.or(credential))).await;
        if let Some(report) = report {
            report.completed();
        }
    });
    let run: BoxFuture<'static, ()> = Box::pin(run);
    let Some(runtime) = runtime else { return Logout(HookRun::Inline(run)) };
    let pending = Arc::new(PendingHook::new(Some(run)));
    let task = runtime.spawn({
        let pending = pending.clone();
        async move {
            if let Some(run) = take(&pending) {
                run.await;
            }
        }
    });
    Logout(HookRun::Task(task, pending))
}

fn take(pending: &PendingHook) -> Option<BoxFuture<'static, ()>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner).take()
}

// === impl EndedLogin ===

impl<C> EndedLogin<C> {
    pub(crate) fn new(
        session_name: Option<Arc<str>>,
        login: Login,
        reason: EndReason,
        credential: Option<Arc<C>>,
    ) -> Self {
        Self { session_name, login, reason, credential }
    }

    /// The name of the session, if it has one
    /// ([`SessionBuilder::name`](crate::session::SessionBuilder::name)).
    pub fn session_name(&self) -> Option<&str> {
        self.session_name.as_deref()
    }

    /// The login that is over.
    pub fn login(&self) -> Login {
        self.login
    }

    /// The reason for its end.
    pub fn reason(&self) -> &EndReason {
        &self.reason
    }

    /// The last credential of the login: the one to revoke, or to call the logout endpoint with.
    ///
    /// If a refresh was in progress at the logout and still succeeded, this is the credential that
    /// the refresh brought. The session drops the credential of a refresh that a
    /// [replacement](crate::Session::replace) has overtaken; no hook gets it.
    pub fn credential(&self) -> Option<&Arc<C>> {
        self.credential.as_ref()
    }
}

impl<C> Clone for EndedLogin<C> {
    fn clone(&self) -> Self {
        Self {
            session_name: self.session_name.clone(),
            login: self.login,
            reason: self.reason.clone(),
            credential: self.credential.clone(),
        }
    }
}

impl<C> fmt::Debug for EndedLogin<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndedLogin")
            .field("session_name", &self.session_name)
            .field("login", &self.login)
            .field("reason", &self.reason)
            .field("has_credential", &self.credential.is_some())
            .finish()
    }
}

// === impl Logout ===

impl Logout {
    /// A logout without a hook to wait for.
    pub(super) fn done() -> Self {
        Self(HookRun::None)
    }
}

impl Future for Logout {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match &mut self.0 {
                HookRun::None => return Poll::Ready(()),
                // ## Task => (None | Inline)
                //
                // A panic of the hook ends up in the `JoinError`; the hook is over then. If the
                // runtime has shut down before the task was first polled, the hook is still there,
                // and this future runs it.
                HookRun::Task(task, pending) => {
                    drop(ready!(Pin::new(task).poll(cx)));
                    take(pending).map_or(HookRun::None, HookRun::Inline)
                }
                HookRun::Inline(run) => {
                    ready!(run.as_mut().poll(cx));
                    HookRun::None
                }
            };
            self.0 = next;
        }
    }
}

impl fmt::Debug for Logout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logout").finish_non_exhaustive()
    }
}

// === impl HookReport ===

impl HookReport {
    fn new(reporter: Reporter, login: Login) -> Self {
        Self { reporter, login, since: Instant::now(), is_completed: false }
    }

    fn completed(mut self) {
        self.is_completed = true;
    }
}

impl Drop for HookReport {
    fn drop(&mut self) {
        let outcome = match self.is_completed {
            true => HookOutcome::Completed,
            false if thread::panicking() => HookOutcome::Panicked,
            false => HookOutcome::Cancelled,
        };
        let (login, duration) = (self.login, self.since.elapsed());
        self.reporter.report(EventKind::HookDone { login, duration, outcome });
    }
}
