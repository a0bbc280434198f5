//! Both servers, and the strings that the scenes pull.

use std::{io, sync::Arc};

use crate::{
    clock::WallClock,
    server::{
        api::Api,
        auth::Auth,
        listen::listen,
        traffic::{Meter, Traffic},
        wire::Wire,
    },
};

pub(crate) struct Backend {
    pub(crate) api_url: String,
    pub(crate) auth_url: String,
    /// What the servers tell the time by.
    pub(crate) clock: WallClock,
    api: Arc<Api>,
    auth: Arc<Auth>,
    meter: Meter,
}

impl Backend {
    /// Starts the servers, for as many requests at once.
    pub(crate) async fn start(herd: u32, wire: &'static dyn Wire) -> io::Result<Self> {
        let meter = Meter::default();
        let clock = WallClock::start();
        let auth = Arc::new(Auth::new(clock.clone(), wire, meter.clone()));
        let api = Arc::new(Api::new(auth.clone(), wire, meter.clone()));
        let api_url = listen(herd, meter.clone(), {
            let api = api.clone();
            move |request| {
                let api = api.clone();
                async move { api.answer(request).await }
            }
        });
        let auth_url = listen(herd, meter.clone(), {
            let auth = auth.clone();
            move |request| {
                let auth = auth.clone();
                async move { auth.answer(request).await }
            }
        });
        Ok(Self { api_url: api_url.await?, auth_url: auth_url.await?, clock, api, auth, meter })
    }

    /// From now on the access tokens that are out are rejected. The first rejections are held back
    /// until there are as many as this.
    pub(crate) fn expire_access_tokens(&self, herd: usize) {
        self.auth.expire_access_tokens();
        self.api.rejections.close_until(herd);
    }

    /// The first answers to a refresh are held back until there are as many as this.
    pub(crate) fn hold_refresh_answers(&self, herd: usize) {
        self.auth.refresh_answers.close_until(herd);
    }

    /// Those that are held back, and all that follow.
    pub(crate) fn let_refresh_answers_go(&self) {
        self.auth.refresh_answers.let_go();
    }

    /// From now on no refresh succeeds for whoever is logged in.
    pub(crate) fn revoke_sessions(&self) {
        self.auth.revoke_sessions();
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.meter.traffic()
    }

    pub(crate) async fn wait_for_logout(&self, before: Traffic) {
        self.meter.wait_for(|traffic| traffic.logouts > before.logouts).await;
    }
}
