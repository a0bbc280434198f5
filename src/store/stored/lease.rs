use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{self, Instant},
};

use crate::{
    observe::{event::EventKind, outcome::StoreOperation},
    store::{
        contract::{Leased, Store},
        error::StoreError,
        stored::health::Health,
    },
};

/// A lease that is held: extended by a task of its own, and given up when it is dropped.
pub(super) struct Lease {
    term: Arc<Mutex<Term>>,
    /// Whether its loss is reported.
    is_lost: Arc<AtomicBool>,
    health: Arc<Health>,
    keeper: AbortHandle,
    _give_up: GiveUp,
}

/// The end of a lease. `None` once another holder may have had it: it stays lost even where it is
/// taken again, since its holder acts on what it has read before.
struct Term(Option<Instant>);

/// Gives a lease up when it is dropped: also one that was asked for, and whose answer was lost.
struct GiveUp(Option<Box<dyn FnOnce() + Send + Sync>>);

/// Takes the leases of a driver.
pub(super) struct Leasing<S> {
    pub(super) store: Arc<S>,
    pub(super) name: Arc<str>,
    pub(super) author: u64,
    pub(super) ttl: Duration,
    pub(super) operation_timeout: Duration,
    health: Arc<Health>,
    count: AtomicU64,
}

/// Reports the loss of a lease once.
fn report_lost(health: &Health, is_lost: &AtomicBool) {
    // `Relaxed`: the flag guards no other data.
    if !is_lost.swap(true, Ordering::Relaxed) {
        health.report(EventKind::StoreLeaseLost);
    }
}

// === impl Leasing ===

impl<S: Store> Leasing<S> {
    pub(super) fn new(
        store: Arc<S>,
        name: Arc<str>,
        author: u64,
        ttl: Duration,
        operation_timeout: Duration,
        health: Arc<Health>,
    ) -> Self {
        Self { store, name, author, ttl, operation_timeout, health, count: AtomicU64::new(0) }
    }

    /// Takes the lease, or tells how long another holder has it.
    pub(super) async fn take(&self) -> Result<Result<Lease, Duration>, StoreError> {
        // Another holder each time: a lease that is given up late must not end the next one.
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let holder: Arc<str> = format!("{:016x}.{count}", self.author).into();
        let mut give_up = self.give_up(holder.clone());
        let asked = Instant::now();
        let lease = self.store.lease(&self.name, &holder, self.ttl);
        match self.health.within(StoreOperation::Lease, self.operation_timeout, lease).await? {
            Leased::Held => Ok(Ok(self.keep(holder, asked + self.ttl, give_up))),
            Leased::Busy(left) => {
                give_up.0 = None;
                Ok(Err(left))
            }
        }
    }

    fn keep(&self, holder: Arc<str>, until: Instant, give_up: GiveUp) -> Lease {
        let term = Arc::new(Mutex::new(Term(Some(until))));
        let is_lost = Arc::new(AtomicBool::new(false));
        let (ttl, limit) = (self.ttl, self.operation_timeout);
        let keeper = tokio::spawn({
            let (store, name) = (self.store.clone(), self.name.clone());
            let (term, health, is_lost) = (term.clone(), self.health.clone(), is_lost.clone());
            async move {
                loop {
                    time::sleep(ttl / 3).await;
                    let asked = Instant::now();
                    let lease = store.lease(&name, &holder, ttl);
                    let lasts = match health.within(StoreOperation::Lease, limit, lease).await {
                        Ok(Leased::Held) => Term::of(&term).extend(asked + ttl),
                        Ok(Leased::Busy(_)) => Term::of(&term).end(),
                        Err(_) => Term::of(&term).lasts(),
                    };
                    // A lost lease is asked for again nevertheless: its holder may be in
                    // mid-exchange, or have something unsaved.
                    if !lasts {
                        report_lost(&health, &is_lost);
                    }
                }
            }
        });
        let health = self.health.clone();
        Lease { term, is_lost, health, keeper: keeper.abort_handle(), _give_up: give_up }
    }

    fn give_up(&self, holder: Arc<str>) -> GiveUp {
        let (store, name, limit) = (self.store.clone(), self.name.clone(), self.operation_timeout);
        let health = self.health.clone();
        GiveUp(Some(Box::new(move || {
            // Without a runtime the lease ends by itself.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(async move {
                    let give_up = store.lease(&name, &holder, Duration::ZERO);
                    drop(health.within(StoreOperation::Lease, limit, give_up).await);
                });
            }
        })))
    }
}

// === impl Lease ===

impl Lease {
    pub(super) fn report_lost(&self) {
        report_lost(&self.health, &self.is_lost);
    }

    /// Whether no other holder can have it, as far as this process can tell.
    pub(super) fn is_held(&self) -> bool {
        Term::of(&self.term).lasts()
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

// === impl Term ===

impl Term {
    fn of(term: &Mutex<Self>) -> MutexGuard<'_, Self> {
        term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lasts(&self) -> bool {
        self.0.is_some_and(|until| until > Instant::now())
    }

    /// An answer that comes after the end does not tell whether another holder was there before
    /// it. `false` where the lease is lost.
    fn extend(&mut self, until: Instant) -> bool {
        self.0 = Some(until).filter(|_| self.lasts());
        self.0.is_some()
    }

    fn end(&mut self) -> bool {
        self.0 = None;
        false
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
