//! The client of the API: hyper-util's client with the layer around it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_refresh::{
    Origin, Refresh, RefreshLayer, ReplayBody, Session,
    session::{EndedLogin, Login},
};

use crate::{
    client::{
        http::{HttpClient, http_client},
        service::{AuthService, SessionOf},
    },
    clock::WallClock,
    log::Log,
};

/// Clones share the connections, the session and the application.
#[derive(Clone)]
pub(crate) struct Dashboard<A: AuthService> {
    http: Http<A>,
    session: SessionOf<A>,
    app: App<A>,
}

type Http<A> = Refresh<HttpClient<ReplayBody<Full<Bytes>>>, <A as AuthService>::Credential>;

/// The part of the application that the end of a login changes.
#[derive(Clone)]
struct App<A> {
    auth: A,
    shown_user: Arc<Mutex<Option<(Login, String)>>>,
}

impl<A: AuthService> Dashboard<A> {
    /// A dashboard without a login. Until the first login every request fails, and none is sent.
    pub(crate) fn new(
        api_url: &str,
        auth_url: &str,
        clock: WallClock,
        refresh_ahead: Duration,
        log: Option<Log>,
    ) -> Result<Self, BoxError> {
        let app = App { auth: A::new(auth_url, clock.clone())?, shown_user: Arc::default() };
        let session = Session::builder(app.auth.refresher())
            .refresh_ahead(refresh_ahead)
            // The default is the system's clock.
            .clock(move || clock.now())
            .observer(log)
            .on_login_end({
                let app = app.clone();
                move |end| app.clone().forget(end)
            })
            .build();
        let http = ServiceBuilder::new()
            // The credential is sent to the API only.
            .layer(RefreshLayer::new(session.clone(), Origin::try_from(api_url)?))
            .service(http_client());
        Ok(Self { http, session, app })
    }

    pub(crate) async fn login(&self, user: &str, password: &str) -> Result<(), BoxError> {
        let credential = self.app.auth.login(user, password).await?;
        // Locked before the login begins. The login may end at once, and its hook then has to wait
        // for this lock.
        let mut shown = self.app.shown_user();
        *shown = Some((self.session.login(credential), user.to_owned()));
        Ok(())
    }

    /// Sends a request. No code here has to handle an expired token.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, BoxError> {
        let (head, body) = self.http.clone().oneshot(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    pub(crate) fn session(&self) -> &SessionOf<A> {
        &self.session
    }

    pub(crate) fn shows_a_user(&self) -> bool {
        self.app.shown_user().is_some()
    }
}

impl<A: AuthService> App<A> {
    /// The hook. It runs once for each login that a refusal or a logout ends.
    async fn forget(self, end: EndedLogin<A::Credential>) {
        // Another user may have logged in since, and stays.
        self.shown_user().take_if(|(login, _)| *login == end.login());
        self.auth.end(end).await;
    }

    fn shown_user(&self) -> MutexGuard<'_, Option<(Login, String)>> {
        self.shown_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
