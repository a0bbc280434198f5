use std::sync::Arc;

use crate::observe::event::Event;

/// Receives the events of a session, as they happen.
///
/// See the [module docs](crate::observe) for examples. [`SessionBuilder::observer`] adds an
/// observer to a session; one observer may serve any number of sessions.
///
/// [`SessionBuilder::observer`]: crate::session::SessionBuilder::observer
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an `Observer`",
    note = "wrap a closure with `tower_refresh::observe::observer_fn`, and write the type of its \
            argument: `event: &Event<'_>`"
)]
pub trait Observer: Send + Sync + 'static {
    /// Receives one event.
    ///
    /// The task that causes the event calls this method and waits for it. See
    /// [the cost of a slow observer](crate::observe#the-cost-of-a-slow-observer).
    ///
    /// # Panics
    ///
    /// A panic is caught. It affects no request, no flight and no other observer.
    fn on(&self, event: &Event<'_>);
}

// === impl Observer ===

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn on(&self, event: &Event<'_>) {
        (**self).on(event);
    }
}

/// An observer that the configuration of a program may leave out.
impl<O: Observer> Observer for Option<O> {
    fn on(&self, event: &Event<'_>) {
        if let Some(observer) = self {
            observer.on(event);
        }
    }
}

impl<O: Observer + ?Sized> Observer for Box<O> {
    fn on(&self, event: &Event<'_>) {
        (**self).on(event);
    }
}
