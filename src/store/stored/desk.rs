use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    time,
};

use crate::{
    credential::contract::Credential,
    identity::{Generation, Login},
    observe::{event::EventKind, observers::catch, outcome::StoreOperation},
    refresher::contract::BoxFuture,
    session::{EndReason, WeakSession, handle::Session},
    store::{
        contract::{Record, Store, Swapped},
        error::StoreError,
        stored::{
            envelope,
            health::Health,
            knowledge::{Content, Fate, Found, Knowledge, Write},
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
    rotated: Option<Login>,
    /// How many refreshes wait for the saver.
    attended: u32,
    is_saving: bool,
    /// The failed attempts since something was saved last.
    failures: u32,
    /// All failed attempts.
    failed: u64,
    save_error: Option<StoreError>,
    /// Kept while something is unsaved.
    kept_lease: Option<Arc<Lease>>,
    lease: Weak<Lease>,
    /// Shared by the saver and by all that wait for it. There is none while nothing is saved: most
    /// drivers of a process with many sessions rest.
    signal: Weak<Signal>,
}

/// The signals between a saver and those that wait for it.
struct Signal {
    /// Changes after each attempt to save.
    progress: watch::Sender<()>,
    /// Ends the saver's pause between two attempts.
    poke: Notify,
}

/// The saver's next step.
enum Due<C> {
    Now(Write<C>),
    Later,
    Never,
}

/// Counts a refresh that waits for the saver. A credential that cannot be saved goes to it.
struct Attending<'a, S, C>(&'a Desk<S, C>);

/// Lets another saver start, when this one ends with its runtime.
struct Saving<S: Store, C: Credential + Clone> {
    desk: Arc<Desk<S, C>>,
    signal: Arc<Signal>,
    has_ended: bool,
}

/// How often a refresh lets a save be tried before it answers without.
const ATTEMPTS: u32 = 3;
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How often an answer may come too late to count.
const LOOKS: u32 = 32;

// === impl Desk ===

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

    /// The lock is never held while code of the user or of the store runs, except for the clones of
    /// credentials.
    pub(super) fn state(&self) -> MutexGuard<'_, DeskState<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    pub(super) fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(0)
    }

    /// Loads the record, and takes it in.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        for _ in 0..LOOKS {
            let asked = self.state().knowledge.moment();
            let found = self.load().await?.as_ref().map(|record| self.open(record)).transpose()?;
            if self.state().knowledge.observe(asked, found) {
                return Ok(());
            }
        }
        Err(StoreError::unavailable("the record changes without a pause"))
    }

    pub(super) async fn load(&self) -> Result<Option<Record>, StoreError> {
        let load = self.leasing.store.load(&self.leasing.name);
        self.health.within(StoreOperation::Load, self.settings.operation_timeout, load).await
    }

    /// Waits for a hint that the record has another version.
    pub(super) fn changed(&self, at: Option<Version>) -> BoxFuture<'_, ()> {
        self.leasing.store.changed(&self.leasing.name, at)
    }

    pub(super) async fn swap(
        &self,
        seen: Option<Version>,
        rank: Rank,
        content: &Content<C>,
    ) -> Result<Swapped, StoreError> {
        let bytes = envelope::seal(rank, content, &*self.settings.codec, SystemTime::now())?;
        let Leasing { store, name, operation_timeout, .. } = &self.leasing;
        let swap = store.swap(name, seen, Some(bytes));
        self.health.within(StoreOperation::Swap, *operation_timeout, swap).await
    }

    pub(super) fn open(&self, record: &Record) -> Result<Found<C>, StoreError> {
        envelope::open(record, &*self.settings.codec)
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

    /// Starts to write what is pending, in a task of its own: a refresh that ends does not end it.
    /// Not async, so that nothing comes between the answer of a refresher and this.
    pub(super) fn start_saving(self: &Arc<Self>, lease: Option<&Arc<Lease>>, login: Option<Login>) {
        let mut state = self.state();
        if !state.knowledge.is_pending() {
            return;
        }
        if let Some(lease) = lease {
            state.kept_lease = Some(lease.clone());
        }
        if login.is_some() {
            state.rotated = login;
        }
        // Under the lock, so that the saver has the signal of those that wait already.
        let signal = state.signal();
        if mem::replace(&mut state.is_saving, true) {
            drop(state);
            signal.poke.notify_one();
            return;
        }
        state.failures = 0;
        drop(state);
        let mut saving = Saving { desk: self.clone(), signal, has_ended: false };
        drop(tokio::spawn(async move {
            saving.desk.save(&saving.signal).await;
            saving.end();
        }));
    }

    /// A login has ended its turn: what is pending may be written again.
    pub(super) fn has_logged_in(&self) {
        let signal = {
            let mut state = self.state();
            state.logging_in -= 1;
            state.signal.upgrade()
        };
        if let Some(signal) = signal {
            signal.poke.notify_one();
            signal.progress.send_replace(());
        }
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

    async fn save(self: &Arc<Self>, signal: &Signal) {
        let mut pause = MIN_PAUSE;
        loop {
            let write = match self.due() {
                Due::Now(write) => write,
                Due::Later => {
                    drop(time::timeout(MIN_PAUSE, signal.poke.notified()).await);
                    continue;
                }
                Due::Never => {
                    signal.progress.send_replace(());
                    return;
                }
            };
            let result = self.swap(write.seen, write.rank, &write.content).await;
            let result = self.settle(&write, result);
            if let Err(error) = &result {
                let failures = {
                    let mut state = self.state();
                    state.failures = state.failures.saturating_add(1);
                    state.failed += 1;
                    state.save_error = Some(error.clone());
                    state.failures
                };
                if failures == ATTEMPTS {
                    self.report_save_failed(error);
                    if let Some(hook) = &self.settings.on_save_error {
                        catch(|| hook(error));
                    }
                }
            }
            signal.progress.send_replace(());
            match result {
                Ok(()) => pause = MIN_PAUSE,
                Err(_) => {
                    drop(time::timeout(pause, signal.poke.notified()).await);
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    pub(super) fn report_save_failed(&self, error: &StoreError) {
        let (error, error_type) = (error.as_dyn(), error.kind().as_str());
        self.health.report(EventKind::StoreSaveFailed { error, error_type });
    }

    fn due(&self) -> Due<C> {
        let mut state = self.state();
        if state.logging_in > 0 {
            // The login writes over what is pending. To write it now could end the login.
            return Due::Later;
        }
        if let Some(write) = state.knowledge.write() {
            return Due::Now(write);
        }
        // Under the same lock as the look, or a write that becomes due now would be left to a saver
        // that has ended.
        state.is_saving = false;
        let lease = state.rest();
        drop(state);
        drop(lease);
        Due::Never
    }

    fn settle(
        &self,
        write: &Write<C>,
        result: Result<Swapped, StoreError>,
    ) -> Result<(), StoreError> {
        let found = match result {
            Ok(Swapped::Done(version)) => {
                self.state().knowledge.written(write.clone().found(version));
                return Ok(());
            }
            Ok(Swapped::Lost(record)) => record.map(|record| self.open(&record)).transpose(),
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                return match error.version().filter(|_| write.rank.is_logout()) {
                    Some(version) if write.seen != Some(version) => {
                        self.state().knowledge.lost_to_unreadable(write, version);
                        Ok(())
                    }
                    _ => Err(error),
                };
            }
        };
        let orphan = {
            let mut state = self.state();
            state.knowledge.lost(write, found);
            match (&write.content, state.knowledge.content(), state.rotated, state.attended) {
                (Content::Live(credential), Content::Ended, Some(login), 0) => {
                    Some((credential.clone(), login))
                }
                _ => None,
            }
        };
        if let Some((credential, login)) = orphan {
            self.hand_over(credential, login);
        }
        Ok(())
    }

    /// A login that ended elsewhere while its refresh was under way, and the refresh has timed out
    /// since. Its credential goes to the session's hook, to be revoked.
    fn hand_over(&self, credential: C, login: Login) {
        let Some(session) = self.session() else { return };
        if session.replace(login, credential).is_ok() {
            self.end(&session, login);
        }
    }
}

// === impl DeskState ===

impl<C> DeskState<C> {
    /// The signal of the saver and of those that wait for it, or a new one.
    fn signal(&mut self) -> Arc<Signal> {
        self.signal.upgrade().unwrap_or_else(|| {
            let signal = Arc::new(Signal { progress: watch::Sender::new(()), poke: Notify::new() });
            self.signal = Arc::downgrade(&signal);
            signal
        })
    }

    fn rest(&mut self) -> Option<Arc<Lease>> {
        self.failures = 0;
        self.save_error = None;
        self.rotated = None;
        self.kept_lease.take()
    }
}

// === impl Attending ===

impl<'a, S: Store, C: Credential + Clone> Attending<'a, S, C> {
    fn new(desk: &'a Desk<S, C>) -> Self {
        desk.state().attended += 1;
        Self(desk)
    }
}

impl<S, C> Drop for Attending<'_, S, C> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).attended -= 1;
    }
}

// === impl Saving ===

impl<S: Store, C: Credential + Clone> Saving<S, C> {
    fn end(&mut self) {
        self.has_ended = true;
    }
}

impl<S: Store, C: Credential + Clone> Drop for Saving<S, C> {
    fn drop(&mut self) {
        // After a regular end another saver may run already.
        if self.has_ended {
            return;
        }
        let lease = {
            let mut state = self.desk.state();
            state.is_saving = false;
            state.failed += u64::from(ATTEMPTS);
            state.save_error = Some(StoreError::unavailable("the task that saves has ended"));
            state.kept_lease.take()
        };
        drop(lease);
        self.signal.progress.send_replace(());
    }
}
