use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time;

use crate::{
    credential::contract::Credential,
    identity::Login,
    session::handle::Session,
    store::{
        clock::micros_since_1970,
        error::StoreError,
        stored::{
            desk::Operation,
            knowledge::{Content, Found},
            login::LoginWrite,
            receipt::Receipt,
        },
        version::Version,
    },
};

/// Ends a login's turn at the desk, also when its task is aborted.
pub(super) struct LoggingIn<C: Credential + Clone> {
    desk: Operation<C>,
    /// The logouts by the handle before this login.
    logouts: u64,
}

/// How often a login lets its save be tried.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// How often a login is written over what others write.
const MAX_SWAPS: u32 = 32;

// === impl LoggingIn ===

impl<C: Credential + Clone> LoggingIn<C> {
    pub(super) fn new(desk: Operation<C>) -> Self {
        let logouts = {
            let mut state = desk.state();
            let operations = state.operations();
            operations.logins += 1;
            operations.logging_in += 1;
            operations.logouts
        };
        Self { desk, logouts }
    }

    pub(super) async fn run(
        self,
        session: &Session<C>,
        credential: C,
    ) -> Result<Login, StoreError> {
        let desk = &self.desk;
        let seen = self.look().await?;
        let credential = Arc::new(credential);
        let receipt = Receipt::received(credential.clone(), session.wall());
        let now = micros_since_1970(SystemTime::now());
        let write = LoginWrite::new(seen, receipt, fastrand::u64(..), &desk.state().knowledge, now);
        let rank = write.rank;
        let found = self.write(write).await?;
        let credential = match &found.content {
            // Another process has refreshed this login, or begun another one, before an
            // acknowledgement came.
            Content::Live(newest) if found.rank != rank => newest.with_end(&*desk.settings.codec),
            _ => credential,
        };
        let generation = session.state().generation();
        {
            let mut state = desk.state();
            state.forget_end();
            state.knowledge.written(&found);
            state.knowledge.hand(found.rank, generation);
        }
        let login = session.begin(credential);
        let has_ended = {
            let mut state = desk.state();
            let is_live = matches!(state.knowledge.content(), Content::Live(_));
            if is_live && state.operations().logouts != self.logouts {
                // The logout came before this login had its rank.
                state.knowledge.logged_out(micros_since_1970(SystemTime::now()));
            }
            matches!(state.knowledge.content(), Content::Ended)
        };
        if has_ended {
            // A logout came during the login. The session's hook is to revoke the credential.
            desk.end(session, login);
            desk.start_saving(None, None);
        }
        Ok(login)
    }

    /// The version to write over, whatever it is the version of.
    async fn look(&self) -> Result<Option<Version>, StoreError> {
        let desk = &self.desk;
        let asked = desk.state().knowledge.moment();
        let mut attempt = 1;
        let found = loop {
            match desk.load().await {
                Ok(found) => break found,
                Err(error) if error.version().is_some() => return Ok(error.version()),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
            time::sleep(PAUSE).await;
        };
        let Some(found) = found else { return Ok(None) };
        desk.state().knowledge.observe(asked, Some(&found));
        Ok(Some(found.version))
    }

    /// Writes over whatever is there.
    async fn write(
        &self,
        mut write: LoginWrite<Receipt<C>>,
    ) -> Result<Found<Receipt<C>>, StoreError> {
        let desk = &self.desk;
        let mut failures = 0;
        for _ in 0..MAX_SWAPS {
            match desk.swap(write.seen, write.rank, &write.content).await {
                Ok(Ok(version)) => return Ok(write.found(version)),
                Ok(Err(found)) => {
                    let now = micros_since_1970(SystemTime::now());
                    let is_over = write.lost(found.as_ref(), &mut desk.state().knowledge, now);
                    if let (true, Some(ours)) = (is_over, found) {
                        return Ok(ours);
                    }
                }
                // Nothing was written, and the record that is there cannot be read.
                Err(error) if error.version().is_some() => write.seen = error.version(),
                Err(error) => {
                    write.failed();
                    failures += 1;
                    if failures == ATTEMPTS {
                        return Err(error);
                    }
                    time::sleep(PAUSE).await;
                }
            }
        }
        Err(StoreError::unavailable("others write without a pause"))
    }
}

impl<C: Credential + Clone> Drop for LoggingIn<C> {
    fn drop(&mut self) {
        self.desk.has_logged_in();
    }
}
