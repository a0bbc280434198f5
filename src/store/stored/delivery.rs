use crate::{
    credential::contract::Credential,
    identity::Login,
    observe::event::EventKind,
    session::handle::Session,
    store::stored::{desk::Desk, knowledge::Content, rank::Rank},
};

// === impl Desk ===

impl<C: Credential + Clone> Desk<C> {
    /// Gives the session what the store has.
    pub(super) fn deliver(&self, session: &Session<C>) -> Option<Login> {
        let state = session.state();
        let current = state.current_login();
        let (content, rank) = {
            let mut known = self.state();
            if known.operations().logging_in > 0 || known.knowledge.is_pending() {
                // The login, or the refresh, that is under way delivers.
                return current;
            }
            if known.knowledge.handed().is_some() && state.credential().is_some() {
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
            Content::Live(receipt) if receipt.is_usable(session.wall()) => {
                let credential = receipt.with_end(&*self.settings.codec);
                if let Some(rank) = rank {
                    self.state().knowledge.hand(rank, state.generation());
                }
                let login = match current {
                    None => session.begin(credential),
                    Some(login) => {
                        // A login that has ended in this moment takes nothing any more.
                        session.install(login, credential)?;
                        login
                    }
                };
                self.report(EventKind::StoreAdopted);
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
            state.knowledge.take_back();
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
