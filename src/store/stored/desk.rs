use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tokio::sync::{Notify, watch};

use crate::{
    credential::contract::Credential,
    identity::{Generation, Login},
    observe::outcome::StoreOperation,
    refresher::contract::BoxFuture,
    session::{EndReason, WeakSession, handle::Session},
    store::{
        contract::{Record, Store, Swapped},
        error::StoreError,
        stored::{
            envelope,
            health::Health,
            knowledge::{Content, Fate, Found, Knowledge},
            lease::{Lease, Leasing},
            rank::Rank,
            settings::DriverSettings,
        },
        version::Version,
    },
};

/// The state that the refreshes, the saver and the handle of one driver share.
pub(super) struct Desk<S, C> {
    pub(super) leasing: Leasing<S>,
    pub(super) settings: Arc<DriverSettings<C>>,
    pub(super) health: Arc<Health>,
    state: Mutex<DeskState<C>>,
}

/// The knowledge of a driver, and what its session has been given of it.
pub(super) struct DeskState<C> {
    pub(super) knowledge: Knowledge<C>,
    /// The content that the session was given last, and its generation before that.
    pub(super) handed: Option<(Rank, Generation)>,
    /// The login whose end the session was told of.
    pub(super) told: Option<Login>,
    /// How many logins by the handle have begun, and how many of them are being saved.
    pub(super) logins: u64,
    pub(super) logging_in: u32,
    /// How many logouts by the handle there were.
    pub(super) logouts: u64,
    session: Option<WeakSession<C>>,
    /// The login whose refresh brought the credential that is being saved.
    pub(super) rotated: Option<Login>,
    /// How many refreshes and logouts wait for the saver.
    pub(super) attended: u32,
    pub(super) is_saving: bool,
    /// The failed attempts since something was saved last.
    pub(super) failures: u32,
    /// All failed attempts.
    pub(super) failed: u64,
    pub(super) save_error: Option<StoreError>,
    /// Kept while something is unsaved.
    pub(super) kept_lease: Option<Arc<Lease>>,
    lease: Weak<Lease>,
    /// Shared by the saver and by all that wait for it. There is none while nothing is saved: most
    /// drivers of a process with many sessions rest.
    pub(super) signal: Weak<Signal>,
}

/// The signals between a saver and those that wait for it.
pub(super) struct Signal {
    /// Changes after each attempt to save.
    pub(super) progress: watch::Sender<()>,
    /// Ends the saver's pause between two attempts.
    pub(super) poke: Notify,
}

/// Counts a refresh or a logout that waits for the saver. A credential that cannot be saved goes to
/// it.
struct Attending<'a, S, C>(&'a Desk<S, C>);

/// How often a refresh lets a save be tried before it answers without.
pub(super) const ATTEMPTS: u32 = 3;
/// How often an answer may come too late to count.
const LOOKS: u32 = 32;

// === impl Desk ===

impl<S, C> Desk<S, C> {
    /// The lock is never held while code of the user or of the store runs, except for the clones of
    /// credentials.
    pub(super) fn state(&self) -> MutexGuard<'_, DeskState<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Store, C: Credential + Clone> Desk<S, C> {
    pub(super) fn new(store: Arc<S>, name: Arc<str>, settings: Arc<DriverSettings<C>>) -> Self {
        let author = fastrand::u64(..);
        let state = DeskState {
            knowledge: Knowledge::new(author),
            handed: None,
            told: None,
            logins: 0,
            logging_in: 0,
            logouts: 0,
            session: None,
            rotated: None,
            attended: 0,
            is_saving: false,
            failures: 0,
            failed: 0,
            save_error: None,
            kept_lease: None,
            lease: Weak::new(),
            signal: Weak::new(),
        };
        let (ttl, limit) = (settings.lease_ttl, settings.operation_timeout);
        let health = Arc::new(Health::new());
        Self {
            leasing: Leasing::new(store, name, author, ttl, limit, health.clone()),
            settings,
            health,
            state: Mutex::new(state),
        }
    }

    pub(super) fn bind(&self, session: &Session<C>) {
        self.state().session = Some(session.downgrade());
        self.health.observe(session.reporter());
    }

    /// Tells a session that this login has ended. A later login of the session goes on.
    pub(super) fn end(&self, session: &Session<C>, login: Login) {
        self.state().told = Some(login);
        session.end_login(login, &EndReason::Logout);
    }

    pub(super) fn session(&self) -> Option<Session<C>> {
        self.state().session.as_ref().and_then(WeakSession::upgrade)
    }

    pub(super) fn is_usable(credential: &C, now: SystemTime) -> bool {
        credential.expires_at(now).is_none_or(|at| at > now)
    }

    /// A copy that knows its end where the original knows its lifetime.
    pub(super) fn with_end(&self, credential: &C, received_at: SystemTime) -> C {
        let codec = &self.settings.codec;
        let copy = codec.encode(credential, received_at).and_then(|bytes| codec.decode(&bytes));
        // What cannot be written fails in the saver, with its error.
        copy.unwrap_or_else(|_| credential.clone())
    }

    /// Loads the record, and takes it in.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        for _ in 0..LOOKS {
            let asked = self.state().knowledge.moment();
            let found = self.load().await?;
            if self.state().knowledge.observe(asked, found) {
                return Ok(());
            }
        }
        Err(StoreError::unavailable("the record changes without a pause"))
    }

    /// The error of a record that cannot be read has its version.
    pub(super) async fn load(&self) -> Result<Option<Found<C>>, StoreError> {
        let Leasing { store, name, operation_timeout, .. } = &self.leasing;
        let load = store.load(name);
        let record = self.health.within(StoreOperation::Load, *operation_timeout, load).await?;
        self.open(record)
    }

    /// Waits for a hint that the record has another version.
    pub(super) fn changed(&self, at: Option<Version>) -> BoxFuture<'_, ()> {
        self.leasing.store.changed(&self.leasing.name, at)
    }

    /// Writes a record. `Ok(Err(_))` has what is there where that is not the version `seen`, and
    /// the error of a record there that cannot be read has its version.
    pub(super) async fn swap(
        &self,
        seen: Option<Version>,
        rank: Rank,
        content: &Content<C>,
    ) -> Result<Result<Version, Option<Found<C>>>, StoreError> {
        let bytes = envelope::seal(rank, content, &*self.settings.codec, SystemTime::now())?;
        let Leasing { store, name, operation_timeout, .. } = &self.leasing;
        let swap = store.swap(name, seen, Some(bytes));
        match self.health.within(StoreOperation::Swap, *operation_timeout, swap).await? {
            Swapped::Done(version) => Ok(Ok(version)),
            Swapped::Lost(record) => self.open(record).map(Err),
        }
    }

    fn open(&self, record: Option<Record>) -> Result<Option<Found<C>>, StoreError> {
        record.map(|record| envelope::open(&record, &*self.settings.codec)).transpose()
    }

    /// The lease, shared with the saver where that still has it.
    pub(super) async fn lease(&self) -> Result<Result<Arc<Lease>, Duration>, StoreError> {
        if let Some(lease) = self.state().lease.upgrade().filter(|lease| lease.is_held()) {
            return Ok(Ok(lease));
        }
        Ok(self.leasing.take().await?.map(|lease| {
            let lease = Arc::new(lease);
            self.state().lease = Arc::downgrade(&lease);
            lease
        }))
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
            (state.failed + attempts, state.signal())
        };
        let mut progress = signal.progress.subscribe();
        loop {
            {
                let state = self.state();
                if let Some(done) = done(&state) {
                    return Ok(done);
                }
                if let (true, Some(error)) = (state.failed >= limit, &state.save_error) {
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
    /// The signal of the saver and of those that wait for it, or a new one.
    pub(super) fn signal(&mut self) -> Arc<Signal> {
        self.signal.upgrade().unwrap_or_else(|| {
            let signal = Arc::new(Signal { progress: watch::Sender::new(()), poke: Notify::new() });
            self.signal = Arc::downgrade(&signal);
            signal
        })
    }
}

// === impl Attending ===

impl<'a, S, C> Attending<'a, S, C> {
    fn new(desk: &'a Desk<S, C>) -> Self {
        desk.state().attended += 1;
        Self(desk)
    }
}

impl<S, C> Drop for Attending<'_, S, C> {
    fn drop(&mut self) {
        self.0.state().attended -= 1;
    }
}
