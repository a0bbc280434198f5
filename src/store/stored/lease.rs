use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{self, Instant},
};

use crate::store::{
    contract::{Leased, Store},
    error::StoreError,
};

/// A lease that is held: extended by a task of its own, and given up when it is dropped.
pub(super) struct Lease {
    until: Arc<Mutex<Instant>>,
    keeper: AbortHandle,
    _give_up: GiveUp,
}

/// Gives a lease up when it is dropped: also one that was asked for, and whose answer was lost.
struct GiveUp(Option<Box<dyn FnOnce() + Send + Sync>>);

/// Takes the leases of a driver.
pub(super) struct Leasing<S> {
    pub(super) store: Arc<S>,
    pub(super) name: Arc<str>,
    pub(super) author: u64,
    pub(super) ttl: Duration,
    pub(super) operation_timeout: Duration,
    count: AtomicU64,
}

// === impl Leasing ===

impl<S: Store> Leasing<S> {
    pub(super) fn new(
        store: Arc<S>,
        name: Arc<str>,
        author: u64,
        ttl: Duration,
        operation_timeout: Duration,
    ) -> Self {
        Self { store, name, author, ttl, operation_timeout, count: AtomicU64::new(0) }
    }

    /// Takes the lease, or tells how long another holder has it.
    pub(super) async fn take(&self) -> Result<Result<Lease, Duration>, StoreError> {
        // Another holder each time: a lease that is given up late must not end the next one.
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let holder: Arc<str> = format!("{:016x}.{count}", self.author).into();
        let mut give_up = self.give_up(holder.clone());
        let asked = Instant::now();
        match within(self.operation_timeout, self.store.lease(&self.name, &holder, self.ttl))
            .await?
        {
            Leased::Held => Ok(Ok(self.keep(holder, asked + self.ttl, give_up))),
            Leased::Busy(left) => {
                give_up.0 = None;
                Ok(Err(left))
            }
        }
    }

    fn keep(&self, holder: Arc<str>, until: Instant, give_up: GiveUp) -> Lease {
        let until = Arc::new(Mutex::new(until));
        let (ttl, limit) = (self.ttl, self.operation_timeout);
        let keeper = tokio::spawn({
            let (store, name) = (self.store.clone(), self.name.clone());
            let until = until.clone();
            async move {
                loop {
                    time::sleep(ttl / 3).await;
                    let asked = Instant::now();
                    let extended = match within(limit, store.lease(&name, &holder, ttl)).await {
                        Ok(Leased::Held) => asked + ttl,
                        Ok(Leased::Busy(_)) => asked,
                        // Tried again before the lease ends.
                        Err(_) => continue,
                    };
                    *until.lock().unwrap_or_else(PoisonError::into_inner) = extended;
                }
            }
        });
        Lease { until, keeper: keeper.abort_handle(), _give_up: give_up }
    }

    fn give_up(&self, holder: Arc<str>) -> GiveUp {
        let (store, name, limit) = (self.store.clone(), self.name.clone(), self.operation_timeout);
        GiveUp(Some(Box::new(move || {
            // Without a runtime the lease ends by itself.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(async move {
                    drop(within(limit, store.lease(&name, &holder, Duration::ZERO)).await);
                });
            }
        })))
    }
}

pub(super) async fn within<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    time::timeout(limit, operation).await.unwrap_or_else(|_| Err(StoreError::timed_out()))
}

// === impl Lease ===

impl Lease {
    /// Whether no other holder can have it, as far as this process can tell.
    pub(super) fn is_held(&self) -> bool {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) > Instant::now()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("is_held", &self.is_held()).finish()
    }
}

// === impl GiveUp ===

impl Drop for GiveUp {
    fn drop(&mut self) {
        if let Some(give_up) = self.0.take() {
            give_up();
        }
    }
}
