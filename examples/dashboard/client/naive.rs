//! The same client without the layer: every rejected request refreshes. Do not copy this one.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::BoxError;
use tower_refresh::Credential;

use crate::{
    client::{
        http::{HttpClient, http_client},
        service::AuthService,
    },
    clock::WallClock,
};

#[derive(Clone)]
pub(crate) struct Naive<A: AuthService> {
    http: HttpClient<Full<Bytes>>,
    auth: A,
    credential: Arc<Mutex<Option<Shared<A>>>>,
}

type Shared<A> = Arc<<A as AuthService>::Credential>;

impl<A: AuthService> Naive<A> {
    pub(crate) fn new(auth_url: &str, clock: WallClock) -> Result<Self, BoxError> {
        Ok(Self { http: http_client(), auth: A::new(auth_url, clock)?, credential: Arc::default() })
    }

    pub(crate) async fn login(&self, user: &str, password: &str) -> Result<(), BoxError> {
        self.keep(Some(self.auth.login(user, password).await?.into()));
        Ok(())
    }

    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, BoxError> {
        let stale = self.credential().ok_or("not logged in")?;
        let response = self.attempt(request.clone(), &stale).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // The mistake: every rejected request gets here at the same time, with the same refresh
        // token.
        let fresh = match self.auth.renew(&stale).await {
            Ok(fresh) => Arc::new(fresh),
            Err(error) => {
                self.log_out(&stale).await;
                return Err(error.into());
            }
        };
        self.keep(Some(fresh.clone()));
        let response = self.attempt(request, &fresh).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.log_out(&fresh).await;
        }
        Ok(response)
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        self.credential().is_some()
    }

    async fn attempt(
        &self,
        request: Request<Full<Bytes>>,
        credential: &A::Credential,
    ) -> Result<Response<Bytes>, BoxError> {
        let (mut head, body) = request.into_parts();
        credential.apply(&mut head);
        let (head, body) = self.http.request(Request::from_parts(head, body)).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    async fn log_out(&self, credential: &A::Credential) {
        self.keep(None);
        _ = self.auth.logout(credential).await;
    }

    fn credential(&self) -> Option<Shared<A>> {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, credential: Option<Shared<A>>) {
        *self.credential.lock().unwrap_or_else(PoisonError::into_inner) = credential;
    }
}
