use std::{
    error, fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{self, Instant};

use crate::{
    cause::Cause,
    credential::contract::Credential,
    error::RefreshError,
    identity::Generation,
    observe::event::EventKind,
    refresher::{
        context::RefreshContext,
        contract::{BoxFuture, Refresher},
        shared::SharedRefresher,
    },
    store::{
        clock::micros_since_1970,
        contract::Store,
        error::StoreError,
        stored::{
            OnOutage,
            desk::{Desk, Operation},
            driver::Stored,
            flight::{RefreshRun, RunStep},
            knowledge::{Content, Fate},
            lease::Lease,
            operations::Operations,
            rank::Rank,
            receipt::Receipt,
        },
    },
};

/// One refresh on its way through the steps of a [`RefreshRun`].
struct Run<C: Credential + Clone> {
    desk: Operation<C>,
    context: RefreshContext<C>,
    flight: RefreshRun,
    lease: Option<Arc<Lease>>,
    /// The logins by the handle that had begun when this started.
    logins: u64,
    give_up_at: Instant,
    nap: Duration,
}

/// The login ended elsewhere.
#[derive(Debug)]
struct EndedElsewhere;

/// A login took the place of the one that was to be refreshed.
#[derive(Debug)]
struct Overtaken;

/// Another replica refreshes, and takes its time.
#[derive(Debug)]
struct Busy;

/// The store changed more often than a refresh follows.
#[derive(Debug)]
struct Contended;

/// How long the session waits before it tries a store again that was down.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long a refresh waits for a hint before it looks again.
const POLL: Duration = Duration::from_millis(500);
/// The least and the most time from a wrong hint to the next wait.
const MIN_NAP: Duration = Duration::from_millis(5);
const MAX_NAP: Duration = Duration::from_millis(100);
/// A refresh takes five or six steps where no other replica interferes.
const MAX_STEPS: u32 = 64;

// === impl Refresher ===

impl<R, S, C> Refresher<C> for Stored<R, S, C>
where
    R: Refresher<C>,
    S: Store,
    C: Credential + Clone,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        let refresh = SharedRefresher::refresh(self.desk().clone(), context);
        Box::pin(async move {
            let credential = refresh.await?;
            Ok(Arc::try_unwrap(credential).unwrap_or_else(|shared| C::clone(&shared)))
        })
    }

    fn is_read_only(&self) -> bool {
        self.desk().is_read_only()
    }
}

// === impl Desk ===

impl<C: Credential + Clone> SharedRefresher<C> for Desk<C> {
    fn refresh(
        self: Arc<Self>,
        context: RefreshContext<C>,
    ) -> BoxFuture<'static, Result<Arc<C>, RefreshError>> {
        Box::pin(Run::new(&self, context).run())
    }

    fn is_read_only(&self) -> bool {
        self.settings.refresher.is_read_only()
    }
}

// === impl Run ===

impl<C: Credential + Clone> Run<C> {
    fn new(desk: &Arc<Desk<C>>, context: RefreshContext<C>) -> Self {
        let desk = Operation::start(desk, context.reporter().cloned());
        let (is_new_login, logins) = {
            let mut state = desk.state();
            let is_new_login = state.is_after_end(context.login());
            (is_new_login, state.operations().logins)
        };
        let fresh = is_new_login && context.current().is_none();
        Self {
            give_up_at: Instant::now() + desk.settings.patience,
            desk,
            flight: RefreshRun::new(context.cause() == Cause::Forced, fresh),
            context,
            lease: None,
            logins,
            nap: Duration::ZERO,
        }
    }

    async fn run(mut self) -> Result<Arc<C>, RefreshError> {
        let mut steps = 0;
        while steps < MAX_STEPS {
            steps += 1;
            match self.next() {
                RunStep::Look => match self.desk.look().await {
                    Ok(()) => self.flight.has_looked(),
                    Err(error) => self.outage(error)?,
                },
                RunStep::Save => {
                    self.desk.start_saving(self.lease.as_ref(), None);
                    if let Err(error) = self.desk.nothing_unsaved().await {
                        self.outage(error)?;
                    }
                }
                RunStep::Lease => {
                    if !self.take_lease().await? {
                        // Patience bounds the waiting, not the number of hints.
                        steps = 0;
                    }
                }
                RunStep::Adopt { rank, credential } => {
                    let credential = credential.with_end(&*self.desk.settings.codec);
                    let answer = self.answer(rank, credential);
                    if answer.is_ok() {
                        self.desk.report(EventKind::StoreAdopted);
                    }
                    return answer;
                }
                RunStep::End => return Err(self.end()),
                RunStep::Exchange { from, credential } => {
                    if let Some(answer) = self.exchange(from, credential).await {
                        return answer;
                    }
                }
            }
        }
        Err(RefreshError::transient(Contended).with_retry_after(RETRY_AFTER))
    }

    fn next(&self) -> RunStep<Receipt<C>> {
        let mut known = None;
        loop {
            let (handed, step) = {
                let state = self.desk.state();
                let knowledge = &state.knowledge;
                (knowledge.handed(), self.flight.next(knowledge, |rank, _| known != Some(rank)))
            };
            match &step {
                // Judged outside the lock, since it is the user's code that judges.
                RunStep::Adopt { rank, credential } if !self.is_news(handed, credential) => {
                    known = Some(*rank);
                }
                _ => return step,
            }
        }
    }

    /// Whether a credential is usable, and the session does not have it.
    ///
    /// Two signs tell that the session has it: its generation has grown since it was handed over,
    /// or it looks the same. A wrong sign costs one exchange of the newest credential. What is
    /// newest is never judged by them.
    fn is_news(&self, handed: Option<Generation>, receipt: &Receipt<C>) -> bool {
        let was_taken = handed.is_some_and(|generation| self.context.generation() > generation);
        let current = self.context.current();
        let credential = receipt.credential();
        // The user's `is_same` may take a lock of each, and is not called with one twice.
        let is_same = |current| Arc::ptr_eq(current, credential) || current.is_same(credential);
        let has_it = current.is_some_and(|current| was_taken || is_same(current));
        !has_it && receipt.is_usable(self.context.now())
    }

    /// `false` after a wait for another replica's lease.
    async fn take_lease(&mut self) -> Result<bool, RefreshError> {
        match self.desk.lease().await {
            Ok(Ok(lease)) => {
                self.lease = Some(lease);
                self.flight.has_leased();
                Ok(true)
            }
            Ok(Err(left)) => self.wait_for_other(left).await.map(|()| false),
            Err(error) => self.outage(error).map(|()| true),
        }
    }

    /// Another replica has the lease. The hint tells of its save, and the time is for hints that
    /// are lost.
    async fn wait_for_other(&mut self, left: Duration) -> Result<(), RefreshError> {
        let patience = self.give_up_at.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(RefreshError::transient(Busy).with_retry_after(left.min(RETRY_AFTER)));
        }
        let at = self.desk.state().knowledge.at();
        // After a hint that was wrong.
        time::sleep(self.nap).await;
        let hint = time::timeout(left.min(POLL).min(patience), self.desk.changed(at)).await;
        let nap = (self.nap * 2).clamp(MIN_NAP, MAX_NAP);
        self.nap = hint.map_or(Duration::ZERO, |()| nap);
        self.flight.has_no_lease();
        Ok(())
    }

    /// `None` where the flight has to go on with what was learned.
    async fn exchange(
        &mut self,
        from: Option<Rank>,
        receipt: Option<Receipt<C>>,
    ) -> Option<Result<Arc<C>, RefreshError>> {
        if let Some(lease) = self.lease.as_ref().filter(|lease| !lease.is_held()) {
            self.desk.report_lost(lease.term());
            // A process that was stopped may find its lease over, and another's in its place.
            self.lease = None;
            if !self.flight.is_alone() {
                self.flight.has_no_lease();
                return None;
            }
        }
        let mut context = self.context.clone();
        if let Some(receipt) = receipt {
            context = context.with_current(receipt.credential().clone());
        }
        let began = micros_since_1970(SystemTime::now());
        // From the answer to the start of the save there is no await, so that neither the session's
        // time-out nor anything else comes between.
        match self.desk.settings.refresher.refresh(context).await {
            Ok(credential) => {
                let credential = Arc::new(credential);
                let receipt = Receipt::received(credential.clone(), self.context.now());
                // Another author each time: two exchanges never bring one rank.
                let author = fastrand::u64(..);
                let rank = self.desk.state().knowledge.exchanged(from, receipt, began, author);
                self.desk.start_saving(self.lease.as_ref(), Some(self.context.login()));
                self.exchanged(rank, credential).await
            }
            Err(error) if error.is_terminal() => {
                let rank = self.desk.state().knowledge.refused(from);
                self.desk.start_saving(self.lease.as_ref(), None);
                self.refused(rank, error).await
            }
            Err(error) => Some(Err(error)),
        }
    }

    async fn exchanged(
        &mut self,
        rank: Option<Rank>,
        credential: Arc<C>,
    ) -> Option<Result<Arc<C>, RefreshError>> {
        match (rank, self.fate(rank).await) {
            // A save that failed was reported. It goes on, and comes before the next exchange.
            (Some(rank), Ok(Fate::Saved | Fate::Pending) | Err(_)) => {
                Some(self.answer(rank, credential))
            }
            (_, _) => self.overtaken(credential),
        }
    }

    /// Something else is in the place of what this refresh brought.
    fn overtaken(&mut self, credential: Arc<C>) -> Option<Result<Arc<C>, RefreshError>> {
        if self.context.is_fenced() {
            // The session knows better whom it is for: its hook, after a logout.
            return Some(Ok(credential));
        }
        let login = self.context.login();
        if !matches!(self.desk.state().knowledge.content(), Content::Ended) {
            return None;
        }
        // A logout elsewhere came first. A credential that comes after the session's logout goes to
        // its hook, to be revoked.
        match self.desk.session() {
            Some(session) if session.state().login() == login => {
                self.desk.end(&session, login);
                Some(Ok(credential))
            }
            _ => Some(Err(self.end())),
        }
    }

    async fn refused(
        &mut self,
        rank: Option<Rank>,
        error: RefreshError,
    ) -> Option<Result<Arc<C>, RefreshError>> {
        match self.fate(rank).await {
            Ok(Fate::Overtaken) => match self.desk.state().knowledge.content() {
                // A newer credential beats the refusal of an older one.
                Content::Live(_) => return None,
                Content::Ended | Content::Nothing => {}
            },
            Ok(Fate::Saved | Fate::Pending) => {}
            // Whether there is a newer one is not known. The refused one is not presented again.
            Err(store) => return Some(self.outage(store).and(Err(error))),
        }
        self.desk.state().has_told(self.context.login());
        Some(Err(error))
    }

    /// The fate of the content that this refresh brought. Without the store it counts as saved, and
    /// without a rank a newer content was known already.
    async fn fate(&self, rank: Option<Rank>) -> Result<Fate, StoreError> {
        match rank {
            Some(_) if self.flight.is_alone() => Ok(Fate::Saved),
            Some(rank) => self.desk.saved(rank).await,
            None => Ok(Fate::Overtaken),
        }
    }

    fn answer(&self, rank: Rank, credential: Arc<C>) -> Result<Arc<C>, RefreshError> {
        let mut state = self.desk.state();
        let Operations { logins, logging_in, .. } = state.operations();
        if *logins != self.logins || *logging_in > 0 {
            // What was found may belong to the login that the session is about to begin.
            return Err(RefreshError::transient(Overtaken));
        }
        state.knowledge.hand(rank, self.context.generation());
        Ok(credential)
    }

    fn end(&self) -> RefreshError {
        self.desk.state().has_told(self.context.login());
        RefreshError::terminal(EndedElsewhere)
    }

    fn outage(&mut self, error: StoreError) -> Result<(), RefreshError> {
        match self.desk.settings.on_outage {
            OnOutage::Wait => Err(RefreshError::transient(error).with_retry_after(RETRY_AFTER)),
            OnOutage::Alone => {
                self.flight.goes_alone();
                Ok(())
            }
        }
    }
}

// === impl EndedElsewhere ===

impl fmt::Display for EndedElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the login was ended in the store")
    }
}

impl error::Error for EndedElsewhere {}

// === impl Overtaken ===

impl fmt::Display for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another login is being saved")
    }
}

impl error::Error for Overtaken {}

// === impl Busy ===

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another process has not finished its refresh")
    }
}

impl error::Error for Busy {}

// === impl Contended ===

impl fmt::Display for Contended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("other processes changed the stored login too often")
    }
}

impl error::Error for Contended {}
