//! Both servers, and what the scenes control in them.

use std::{io, sync::Arc};

use crate::{
    clock::WallClock,
    server::{
        api::Api,
        auth::Auth,
        link::{Exchange, Link},
        listen::listen,
        traffic::{Meter, Traffic},
        wire::Wire,
    },
};

pub(crate) struct Backend {
    pub(crate) api_url: String,
    pub(crate) auth_url: String,
    /// The time of day in both servers.
    pub(crate) clock: WallClock,
    api: Arc<Api>,
    auth: Arc<Auth>,
    link: Link,
    meter: Meter,
}

impl Backend {
    /// Starts both servers. Each accepts `herd` concurrent requests.
    pub(crate) async fn start(herd: u32, wire: &'static dyn Wire, link: Link) -> io::Result<Self> {
        let meter = Meter::default();
        let clock = WallClock::start();
        let auth = Arc::new(Auth::new(clock.clone(), wire, meter.clone()));
        let api = Arc::new(Api::new(auth.clone(), wire, meter.clone()));
        let api_url = listen(herd, meter.clone(), {
            let (api, link) = (api.clone(), link.clone());
            move |request| {
                let (api, link) = (api.clone(), link.clone());
                async move { link.carry(request, |request| api.answer(request)).await }
            }
        });
        let auth_url = listen(herd, meter.clone(), {
            let (auth, link) = (auth.clone(), link.clone());
            move |request| {
                let (auth, link) = (auth.clone(), link.clone());
                async move { link.carry(request, |request| auth.answer(request)).await }
            }
        });
        let (api_url, auth_url) = (api_url.await?, auth_url.await?);
        Ok(Self { api_url, auth_url, clock, api, auth, link, meter })
    }

    /// Rejects the current access tokens from now on. The first rejections are held back until
    /// there are `herd` of them.
    pub(crate) fn expire_access_tokens(&self, herd: usize) {
        self.auth.expire_access_tokens();
        self.api.rejections.close_until(herd);
    }

    /// Holds back the first answers to a refresh until there are `herd` of them. A recorded link is
    /// slow enough without that.
    pub(crate) fn hold_refresh_answers(&self, herd: usize) {
        if let Link::Loopback = self.link {
            self.auth.refresh_answers.close_until(herd);
        }
    }

    /// Releases the answers that are held back, and all later ones.
    pub(crate) fn release_refresh_answers(&self) {
        self.auth.refresh_answers.open_now();
    }

    /// Refuses every refresh of the sessions that exist now.
    pub(crate) fn revoke_sessions(&self) {
        self.auth.revoke_sessions();
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.meter.traffic()
    }

    /// The exchanges since the last call, if the link records them.
    pub(crate) fn take_exchanges(&self) -> Vec<Exchange> {
        self.link.take()
    }

    pub(crate) async fn wait_for_logout(&self, before: Traffic) {
        self.meter.wait_for(|traffic| traffic.logouts > before.logouts).await;
    }
}
