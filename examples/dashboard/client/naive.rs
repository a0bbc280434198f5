//! The same client, the naive way: whoever is rejected refreshes. Don't copy this one.

use crate::{
    client::{
        auth::AuthClient,
        http::{HttpClient, http_client},
    },
    clock::WallClock,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use std::sync::{Arc, Mutex, PoisonError};
use tower::BoxError;
use tower_refresh::Token;

#[derive(Clone)]
pub(crate) struct Naive {
    http: HttpClient<Full<Bytes>>,
    auth: AuthClient,
    token: Arc<Mutex<Option<Token>>>,
}

impl Naive {
    pub(crate) fn new(auth_url: &str, clock: WallClock) -> Self {
        Self { http: http_client(), auth: AuthClient::new(auth_url, clock), token: Arc::default() }
    }

    pub(crate) async fn login(&self, user: &str, password: &str) -> Result<(), BoxError> {
        self.keep(Some(self.auth.login(user, password).await?));
        Ok(())
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, BoxError> {
        let stale = self.token().ok_or("not logged in")?;
        let response = self.attempt(request.clone(), &stale).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // The mistake: all who were rejected come by here at the same time, with the same refresh token.
        let fresh = match self.auth.renew(&stale).await {
            Ok(fresh) => fresh,
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
        self.token().is_some()
    }

    async fn attempt(
        &self,
        mut request: Request<Full<Bytes>>,
        token: &Token,
    ) -> Result<Response<Bytes>, BoxError> {
        let value = format!("Bearer {}", token.access_token()).try_into()?;
        request.headers_mut().insert(AUTHORIZATION, value);
        let (head, body) = self.http.request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    async fn log_out(&self, token: &Token) {
        self.keep(None);
        _ = self.auth.logout(token).await;
    }

    fn token(&self) -> Option<Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, token: Option<Token>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}
