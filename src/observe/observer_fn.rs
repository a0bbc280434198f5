use std::fmt;

use crate::observe::{contract::Observer, event::Event};

/// An [`Observer`] from a closure. Made by [`observer_fn`].
#[derive(Clone, Copy)]
pub struct ObserverFn<F>(F);

/// Makes an [`Observer`] from a closure.
///
/// ```
/// use tower_refresh::observe::{Event, observer_fn};
///
/// let observer = observer_fn(|event: &Event<'_>| println!("{:?}", event.kind()));
/// # fn is_one(_: impl tower_refresh::observe::Observer) {}
/// # is_one(observer);
/// ```
pub const fn observer_fn<F>(on: F) -> ObserverFn<F>
where
    F: Fn(&Event<'_>) + Send + Sync + 'static,
{
    ObserverFn(on)
}

// === impl ObserverFn ===

impl<F> Observer for ObserverFn<F>
where
    F: Fn(&Event<'_>) + Send + Sync + 'static,
{
    fn on(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

impl<F> fmt::Debug for ObserverFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverFn").finish_non_exhaustive()
    }
}
