//! The operations that the application starts.

use std::{sync::Arc, time::SystemTime};

use crate::{
    credential::contract::Credential,
    identity::Login,
    session::handle::Session,
    store::{
        clock::micros_since_1970,
        error::StoreError,
        stored::{desk::Desk, knowledge::Content, logging_in::LoggingIn},
    },
};

// === impl Desk ===

impl<C: Credential + Clone> Desk<C> {
    /// [`Stored::open`](crate::store::Stored::open).
    pub(crate) async fn open(
        self: &Arc<Self>,
        session: &Session<C>,
    ) -> Result<Option<Login>, StoreError> {
        let desk = self.bind(session);
        desk.look().await?;
        desk.start_saving(None, None);
        Ok(desk.deliver(session))
    }

    /// [`Stored::login`](crate::store::Stored::login).
    pub(crate) async fn login(
        self: &Arc<Self>,
        session: &Session<C>,
        credential: C,
    ) -> Result<Login, StoreError> {
        let (desk, session) = (self.bind(session), session.clone());
        let login = LoggingIn::new(self.bind(&session));
        let task = tokio::spawn(async move {
            let result = login.run(&session, credential).await;
            if let Err(error) = &result {
                desk.report_save_failed(error);
            }
            result
        });
        let aborted = || StoreError::unavailable("the runtime has shut down");
        task.await.unwrap_or_else(|_| Err(aborted()))
    }

    /// [`Stored::logout`](crate::store::Stored::logout).
    pub(crate) fn logout(
        self: &Arc<Self>,
        session: &Session<C>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<C> {
        let desk = self.bind(session);
        let now = micros_since_1970(SystemTime::now());
        let login = session.state().login();
        let undelivered = {
            let mut state = desk.state();
            let was_handed = state.knowledge.handed().is_some();
            let content = state.knowledge.content().clone();
            state.has_told(login);
            state.operations().logouts += 1;
            state.knowledge.logged_out(now);
            (!was_handed).then_some(content)
        };
        if let Some(Content::Live(receipt)) = undelivered {
            // A refresh that timed out in its save. The hook is to revoke the newest credential.
            session.install(login, receipt.credential().clone());
        }
        desk.start_saving(None, None);
        let hook = session.logout();
        async move {
            let saved = desk.all_saved().await;
            hook.await;
            saved
        }
    }
}
