use crate::{
    credential::contract::Credential,
    identity::Login,
    observe::event::EventKind,
    session::handle::Session,
    store::{
        contract::Store,
        stored::{desk::Desk, knowledge::Content, rank::Rank},
    },
};

// === impl Desk ===

impl<S: Store, C: Credential + Clone> Desk<S, C> {
    /// Gives the session what the store has.
    pub(super) fn deliver(&self, session: &Session<C>) -> Option<Login> {
        let state = session.state();
        let current = state.current_login();
        let (content, rank) = {
            let known = self.state();
            if known.logging_in > 0 || known.knowledge.is_pending() {
                // The login, or the refresh, that is under way delivers.
                return current;
            }
            if let (Some((handed, _)), Some(rank)) = (known.handed, known.knowledge.rank())
                && handed == rank
                && state.credential().is_some()
            {
                return current;
            }
            (known.knowledge.content().clone(), known.knowledge.rank())
        };
        match content {
            Content::Nothing => None,
            Content::Ended => {
                if let Some(login) = current {
                    self.end(session, login);
                }
                None
            }
            Content::Live(credential) if Self::is_usable(&credential, session.wall()) => {
                self.state().handed = rank.map(|rank| (rank, state.generation()));
                let login = match current {
                    None => session.login(credential),
                    Some(login) => {
                        // A login that has ended in this moment takes nothing any more.
                        session.replace(login, credential).ok()?;
                        login
                    }
                };
                self.health.report(EventKind::StoreAdopted);
                self.corrected(session, login, rank)
            }
            Content::Live(_) => {
                if state.credential().is_none() {
                    // Begins a login, and its flight finds the stored refresh token.
                    drop(session.acquire());
                }
                Some(session.state().login())
            }
        }
    }

    /// Corrects what the session was just given: the application may have logged in or out since
    /// the look at what is known, or a refresh may have ended.
    fn corrected(&self, session: &Session<C>, login: Login, rank: Option<Rank>) -> Option<Login> {
        let has_ended = {
            let mut state = self.state();
            if state.knowledge.rank() == rank {
                return Some(login);
            }
            state.handed = None;
            matches!(state.knowledge.content(), Content::Ended)
        };
        if has_ended {
            // Also where the end is not saved yet.
            self.end(session, login);
            return None;
        }
        self.deliver(session)
    }
}
