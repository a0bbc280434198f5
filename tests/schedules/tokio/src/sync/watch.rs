//! A watch channel, in the steps of Tokio's: the value behind a lock for readers and writers, a
//! version that is raised under that lock, and a notification after it.

use std::{
    fmt, ops,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use shuttle::sync::{RwLock, RwLockReadGuard};

use crate::{model::point, sync::notify::Notify};

pub mod error {
    /// The sender is gone.
    #[derive(Clone, Debug)]
    pub struct RecvError(pub(super) ());

    impl std::fmt::Display for RecvError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("channel closed")
        }
    }

    impl std::error::Error for RecvError {}
}

pub struct Sender<T>(Arc<Shared<T>>);

pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    version: usize,
}

/// A reference to the value. Holds the lock for readers.
pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

struct Shared<T> {
    value: RwLock<T>,
    /// The lowest bit says whether the sender is gone.
    state: AtomicUsize,
    receivers: AtomicUsize,
    notify_receivers: Notify,
    notify_sender: Notify,
}

const CLOSED: usize = 1;
const ONE_VERSION: usize = 2;

// === impl Sender ===

impl<T> Sender<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: RwLock::new(value),
            state: AtomicUsize::new(0),
            receivers: AtomicUsize::new(0),
            notify_receivers: Notify::default(),
            notify_sender: Notify::default(),
        }))
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.read()
    }

    pub fn subscribe(&self) -> Receiver<T> {
        let (version, _) = self.0.load();
        Receiver::new(self.0.clone(), version)
    }

    pub fn receiver_count(&self) -> usize {
        point();
        self.0.receivers.load(SeqCst)
    }

    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        {
            let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
            let result = catch_unwind(AssertUnwindSafe(|| modify(&mut value)));
            match result {
                Ok(true) => {}
                Ok(false) => return false,
                Err(panic) => {
                    drop(value);
                    resume_unwind(panic);
                }
            }
            point();
            self.0.state.fetch_add(ONE_VERSION, SeqCst);
        }
        self.0.notify_receivers.notify_waiters();
        true
    }

    pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    pub fn send_replace(&self, mut value: T) -> T {
        self.send_modify(|old| std::mem::swap(old, &mut value));
        value
    }

    pub async fn closed(&self) {
        while self.receiver_count() > 0 {
            let notified = self.0.notify_sender.notified();
            if self.receiver_count() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        point();
        self.0.state.fetch_or(CLOSED, SeqCst);
        self.0.notify_receivers.notify_waiters();
    }
}

// === impl Receiver ===

impl<T> Receiver<T> {
    fn new(shared: Arc<Shared<T>>, version: usize) -> Self {
        point();
        shared.receivers.fetch_add(1, SeqCst);
        Self { shared, version }
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.read();
        (self.version, _) = self.shared.load();
        value
    }

    pub fn mark_unchanged(&mut self) {
        (self.version, _) = self.shared.load();
    }

    pub fn has_changed(&self) -> Result<bool, error::RecvError> {
        match self.shared.load() {
            (_, true) => Err(error::RecvError(())),
            (version, false) => Ok(version != self.version),
        }
    }

    pub async fn changed(&mut self) -> Result<(), error::RecvError> {
        loop {
            let notified = self.shared.notify_receivers.notified();
            let (version, is_closed) = self.shared.load();
            if version != self.version {
                self.version = version;
                return Ok(());
            }
            if is_closed {
                return Err(error::RecvError(()));
            }
            notified.await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone(), self.version)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        point();
        if self.shared.receivers.fetch_sub(1, SeqCst) == 1 {
            self.shared.notify_sender.notify_waiters();
        }
    }
}

// === impl Ref ===

impl<T> ops::Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

// === impl Shared ===

impl<T> Shared<T> {
    fn read(&self) -> Ref<'_, T> {
        Ref(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The version, and whether the sender is gone.
    fn load(&self) -> (usize, bool) {
        point();
        let state = self.state.load(SeqCst);
        (state & !CLOSED, state & CLOSED == CLOSED)
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
