use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    credential::contract::Credential,
    identity::Login,
    observe::{observers::Reporter, outcome::StoreOperation},
    refresher::contract::BoxFuture,
    session::{EndReason, WeakSession, handle::Session},
    store::{
        contract::{Record, Swapped},
        error::StoreError,
        stored::{
            envelope,
            knowledge::{Content, Fate, Found, Knowledge},
            operations::Operations,
            rank::Rank,
            receipt::Receipt,
            settings::DriverSettings,
        },
        version::Version,
    },
};

/// The state that the refreshes, the saver and the handle of one driver share.
pub(crate) struct Desk<C> {
    pub(super) settings: Arc<DriverSettings<C>>,
    pub(super) name: Arc<str>,
    state: Mutex<DeskState<C>>,
}

/// The knowledge of a driver, and its session.
///
/// The size of a driver at rest counts: a process may have one for each of many sessions.
pub(super) struct DeskState<C> {
    pub(super) knowledge: Knowledge<Receipt<C>>,
    /// The login after the one whose end the session was told of. [`Login::NONE`]: the session was
    /// told of no end.
    after_end: Login,
    session: Option<WeakSession<C>>,
    /// `None` while the driver is at rest.
    operations: Option<Box<Operations>>,
}

/// The state of a driver under its lock.
///
/// Has a handle of the content that was newest when the lock was taken. A credential that is
/// displaced is dropped after the lock is released: its `Drop` is code of the user, and may call
/// the driver.
pub(super) struct LockedState<'a, C> {
    // Fields are dropped in this order.
    state: MutexGuard<'a, DeskState<C>>,
    _newest: Content<Receipt<C>>,
}

/// A running operation of a driver. [`Operations`] exists while there is one.
pub(super) struct Operation<C>(Arc<Desk<C>>);

/// The version of the record that was written, or the record that is there instead.
pub(super) type Written<C> = Result<Version, Option<Found<Receipt<C>>>>;

/// Counts a refresh or a logout that waits for the saver. A credential that cannot be saved goes to
/// it.
struct Attending<'a, C>(&'a Desk<C>);

/// How often a refresh lets a save be tried before it answers without.
pub(super) const ATTEMPTS: u32 = 3;
/// How often an answer may come too late to count.
const LOOKS: u32 = 32;

// === impl Desk ===

impl<C> Desk<C> {
    /// The lock is never held while code of the user or of the store runs, nor when a credential or
    /// an error is dropped. A lease and an operation take the lock when they are dropped.
    pub(super) fn state(&self) -> LockedState<'_, C> {
        let state = self.lock();
        let newest = state.knowledge.content().clone();
        LockedState { state, _newest: newest }
    }

    /// [`Stored::is_saved`](crate::store::Stored::is_saved). Takes no handle of a credential, which
    /// could become its last: a registry asks under a lock of its own.
    pub(crate) fn is_saved(&self) -> bool {
        !self.lock().knowledge.is_pending()
    }

    fn lock(&self) -> MutexGuard<'_, DeskState<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Credential + Clone> Desk<C> {
    pub(super) fn new(settings: Arc<DriverSettings<C>>, name: Arc<str>) -> Self {
        let knowledge = Knowledge::new();
        let state =
            DeskState { knowledge, after_end: Login::NONE, session: None, operations: None };
        Self { settings, name, state: Mutex::new(state) }
    }

    /// Starts an operation of the handle, for its session.
    pub(super) fn bind(self: &Arc<Self>, session: &Session<C>) -> Operation<C> {
        self.state().session = Some(session.downgrade());
        Operation::start(self, session.reporter())
    }

    /// Tells a session that this login has ended. A later login of the session goes on.
    pub(super) fn end(&self, session: &Session<C>, login: Login) {
        self.state().has_told(login);
        session.end_login(login, &EndReason::Logout);
    }

    pub(super) fn session(&self) -> Option<Session<C>> {
        self.state().session.as_ref().and_then(WeakSession::upgrade)
    }

    /// Loads the record, and takes it in.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        for _ in 0..LOOKS {
            let asked = self.state().knowledge.moment();
            let found = self.load().await?;
            if self.state().knowledge.observe(asked, found.as_ref()) {
                return Ok(());
            }
        }
        Err(StoreError::unavailable("the record changes without a pause"))
    }

    /// The error of a record that cannot be read has its version.
    pub(super) async fn load(&self) -> Result<Option<Found<Receipt<C>>>, StoreError> {
        let load = self.settings.store.load(&self.name);
        let record = self.within(StoreOperation::Load, load).await?;
        self.read(record)
    }

    /// Waits for a hint that the record has another version.
    pub(super) fn changed(&self, at: Option<Version>) -> BoxFuture<'_, ()> {
        self.settings.store.changed(&self.name, at)
    }

    /// Writes a record where the version `seen` is there. The error of a record there that cannot
    /// be read has its version.
    pub(super) async fn swap(
        &self,
        seen: Option<Version>,
        rank: Rank,
        content: &Content<Receipt<C>>,
    ) -> Result<Written<C>, StoreError> {
        let bytes = envelope::seal(rank, content, &*self.settings.codec)?;
        let swap = self.settings.store.swap(&self.name, seen, Some(bytes));
        match self.within(StoreOperation::Swap, swap).await? {
            Swapped::Done(version) => Ok(Ok(version)),
            Swapped::Lost(record) => self.read(record).map(Err),
        }
    }

    fn read(&self, record: Option<Record>) -> Result<Option<Found<Receipt<C>>>, StoreError> {
        record.map(|record| envelope::open(&record, &*self.settings.codec)).transpose()
    }

    /// Waits until that content was saved or overtaken.
    ///
    /// # Errors
    ///
    /// The save has failed several times. It goes on.
    pub(super) async fn saved(&self, rank: Rank) -> Result<Fate, StoreError> {
        self.settled(ATTEMPTS.into(), |state| match state.knowledge.fate(rank) {
            Fate::Pending => None,
            fate => Some(fate),
        })
        .await
    }

    /// Waits until nothing is unsaved any more, or one more attempt has failed.
    pub(super) async fn nothing_unsaved(&self) -> Result<(), StoreError> {
        self.settled(1, |state| (!state.knowledge.is_pending()).then_some(())).await
    }

    /// Waits until nothing is unsaved any more.
    ///
    /// # Errors
    ///
    /// The save has failed several times. It goes on.
    pub(super) async fn all_saved(&self) -> Result<(), StoreError> {
        self.settled(ATTEMPTS.into(), |state| (!state.knowledge.is_pending()).then_some(())).await
    }

    async fn settled<T>(
        &self,
        attempts: u64,
        done: impl Fn(&DeskState<C>) -> Option<T>,
    ) -> Result<T, StoreError> {
        let _attending = Attending::new(self);
        let (limit, signal) = {
            let mut state = self.state();
            let operations = state.operations();
            (operations.failed + attempts, operations.signal.clone())
        };
        let mut progress = signal.progress.subscribe();
        loop {
            {
                let mut state = self.state();
                if let Some(done) = done(&state) {
                    return Ok(done);
                }
                let Operations { failed, save_error, .. } = state.operations();
                if let (true, Some(error)) = (*failed >= limit, save_error) {
                    return Err(error.clone());
                }
            }
            if progress.changed().await.is_err() {
                return Err(StoreError::unavailable("the driver is gone"));
            }
        }
    }
}

// === impl DeskState ===

impl<C> DeskState<C> {
    /// The session was told of the end of this login.
    pub(super) fn has_told(&mut self, login: Login) {
        self.after_end = login.next();
    }

    /// A login was saved, in the place of a stored end.
    pub(super) fn forget_end(&mut self) {
        self.after_end = Login::NONE;
    }

    /// Whether the session was told of the end of another login. A stored end does not end this
    /// one.
    pub(super) fn is_after_end(&self, login: Login) -> bool {
        self.after_end != Login::NONE && self.after_end != login.next()
    }

    /// The state of the running operations. Its caller is one of them, or runs within one.
    pub(super) fn operations(&mut self) -> &mut Operations {
        self.operations.get_or_insert_default()
    }
}

// === impl LockedState ===

impl<C> Deref for LockedState<'_, C> {
    type Target = DeskState<C>;

    fn deref(&self) -> &Self::Target {
        &self.state
    }
}

impl<C> DerefMut for LockedState<'_, C> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.state
    }
}

// === impl Operation ===

impl<C> Operation<C> {
    /// Starts an operation. Its events go to this reporter, or else to that of the operations that
    /// run.
    pub(super) fn start(desk: &Arc<Desk<C>>, reporter: Option<Reporter>) -> Self {
        let displaced = {
            let mut state = desk.state();
            let operations = state.operations();
            operations.running += 1;
            reporter.and_then(|reporter| operations.reporter.replace(reporter))
        };
        // Outside of the lock: this may be the last handle of an observer.
        drop(displaced);
        Self(desk.clone())
    }
}

impl<C> Deref for Operation<C> {
    type Target = Arc<Desk<C>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<C> Drop for Operation<C> {
    fn drop(&mut self) {
        let mut state = self.state();
        state.operations().running -= 1;
        let over = state.operations.take_if(|operations| operations.are_over());
        drop(state);
        // Outside of the lock: this may be the last handle of an observer.
        drop(over);
    }
}

// === impl Attending ===

impl<'a, C> Attending<'a, C> {
    fn new(desk: &'a Desk<C>) -> Self {
        desk.state().operations().attended += 1;
        Self(desk)
    }
}

impl<C> Drop for Attending<'_, C> {
    fn drop(&mut self) {
        self.0.state().operations().attended -= 1;
    }
}
