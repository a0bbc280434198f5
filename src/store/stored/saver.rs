use std::{mem, sync::Arc, time::Duration};

use tokio::time;

use crate::{
    credential::contract::Credential,
    identity::Login,
    observe::{event::EventKind, observers::catch},
    store::{
        error::StoreError,
        stored::{
            desk::{ATTEMPTS, Desk, Operation, Written},
            knowledge::{Content, Write},
            lease::Lease,
            operations::{Operations, Signal},
            receipt::Receipt,
        },
    },
};

/// The saver's next step.
enum Due<C> {
    Now(Write<Receipt<C>>),
    Later,
    Never,
}

/// Lets another saver start, when this one ends with its runtime.
struct Saving<C: Credential + Clone> {
    desk: Operation<C>,
    signal: Arc<Signal>,
    has_ended: bool,
}

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

// === impl Desk ===

impl<C: Credential + Clone> Desk<C> {
    /// Starts to write what is pending, in a task of its own: a refresh that ends does not end it.
    /// Not async, so that nothing comes between the answer of a refresher and this.
    pub(super) fn start_saving(self: &Arc<Self>, lease: Option<&Arc<Lease>>, login: Option<Login>) {
        let mut state = self.state();
        if !state.knowledge.is_pending() {
            return;
        }
        let operations = state.operations();
        // Lives longer than the lock, which the end of a lease takes.
        let _displaced = lease.and_then(|lease| operations.kept_lease.replace(lease.clone()));
        if login.is_some() {
            operations.rotated = login;
        }
        let signal = operations.signal.clone();
        if mem::replace(&mut operations.is_saving, true) {
            drop(state);
            signal.poke.notify_one();
            return;
        }
        operations.failures = 0;
        drop(state);
        let desk = Operation::start(self, None);
        let mut saving = Saving { desk, signal, has_ended: false };
        drop(tokio::spawn(async move {
            saving.desk.save(&saving.signal).await;
            saving.end();
        }));
    }

    /// A login has ended its turn: what is pending may be written again.
    pub(super) fn has_logged_in(&self) {
        let signal = {
            let mut state = self.state();
            let operations = state.operations();
            operations.logging_in -= 1;
            operations.signal.clone()
        };
        signal.poke.notify_one();
        signal.progress.send_replace(());
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
                let (failures, displaced) = {
                    let mut state = self.state();
                    let operations = state.operations();
                    operations.failures = operations.failures.saturating_add(1);
                    operations.failed += 1;
                    let displaced = operations.save_error.replace(error.clone());
                    (operations.failures, displaced)
                };
                drop(displaced);
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
        self.report(EventKind::StoreSaveFailed { error, error_type });
    }

    fn due(&self) -> Due<C> {
        let mut state = self.state();
        if state.operations().logging_in > 0 {
            // The login writes over what is pending. To write it now could end the login.
            return Due::Later;
        }
        if let Some(write) = state.knowledge.write() {
            return Due::Now(write);
        }
        // Under the same lock as the look, or a write that becomes due now would be left to a saver
        // that has ended.
        let operations = state.operations();
        operations.is_saving = false;
        let displaced = operations.rest();
        drop(state);
        drop(displaced);
        Due::Never
    }

    fn settle(
        &self,
        write: &Write<Receipt<C>>,
        result: Result<Written<C>, StoreError>,
    ) -> Result<(), StoreError> {
        let found = match result {
            Ok(Ok(version)) => {
                let record = write.clone().found(version);
                self.state().knowledge.written(&record);
                return Ok(());
            }
            Ok(Err(found)) => found,
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
            state.knowledge.lost(write, found.as_ref());
            let &mut Operations { rotated, attended, .. } = state.operations();
            match (&write.content, state.knowledge.content(), rotated, attended) {
                (Content::Live(receipt), Content::Ended, Some(login), 0) => {
                    Some((receipt.credential().clone(), login))
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
    fn hand_over(&self, credential: Arc<C>, login: Login) {
        let Some(session) = self.session() else { return };
        if session.install(login, credential).is_some() {
            self.end(&session, login);
        }
    }
}

// === impl Saving ===

impl<C: Credential + Clone> Saving<C> {
    fn end(&mut self) {
        self.has_ended = true;
    }
}

impl<C: Credential + Clone> Drop for Saving<C> {
    fn drop(&mut self) {
        // After a regular end another saver may run already.
        if self.has_ended {
            return;
        }
        let error = StoreError::unavailable("the task that saves has ended");
        let displaced = {
            let mut state = self.desk.state();
            let operations = state.operations();
            operations.is_saving = false;
            operations.failed += u64::from(ATTEMPTS);
            (operations.kept_lease.take(), operations.save_error.replace(error))
        };
        drop(displaced);
        self.signal.progress.send_replace(());
    }
}
