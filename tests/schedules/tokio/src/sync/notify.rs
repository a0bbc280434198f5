use std::{
    cell::Cell,
    collections::BTreeMap,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::model::point;

/// Wakes all tasks that wait, as `tokio::sync::Notify` does. A [`Notified`] counts from the moment
/// it is made and not from its first poll.
///
/// Its lock is held across no scheduling point, so it never blocks.
#[derive(Default)]
pub(super) struct Notify(Mutex<Waiting>);

pub(super) struct Notified<'a> {
    notify: &'a Notify,
    round: u64,
    key: Cell<Option<u64>>,
}

#[derive(Default)]
struct Waiting {
    round: u64,
    next_key: u64,
    wakers: BTreeMap<u64, Waker>,
}

// === impl Notify ===

impl Notify {
    pub(super) fn notified(&self) -> Notified<'_> {
        point();
        Notified { notify: self, round: self.with(|waiting| waiting.round), key: Cell::new(None) }
    }

    pub(super) fn notify_waiters(&self) {
        point();
        let wakers = self.with(|waiting| {
            waiting.round += 1;
            std::mem::take(&mut waiting.wakers)
        });
        for waker in wakers.into_values() {
            waker.wake();
            point();
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Waiting) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Notified ===

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        point();
        self.notify.with(|waiting| {
            if waiting.round != self.round {
                return Poll::Ready(());
            }
            let key = self.key.get().unwrap_or_else(|| {
                waiting.next_key += 1;
                waiting.next_key
            });
            self.key.set(Some(key));
            waiting.wakers.insert(key, cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.get() {
            drop(self.notify.with(|waiting| waiting.wakers.remove(&key)));
        }
    }
}
