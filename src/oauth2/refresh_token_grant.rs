use std::mem;

use zeroize::Zeroize;

use crate::{
    credential::token::Token,
    error::RefreshError,
    oauth2::{endpoint::TokenEndpoint, error::Failure},
    refresher::{BoxFuture, RefreshContext, Refresher},
};

/// Renews a [`Token`] by its refresh token ([RFC 6749
/// §6](https://www.rfc-editor.org/rfc/rfc6749#section-6)).
///
/// A refresh token in the answer takes the place of the one that was sent, which is kept otherwise.
/// A token without a refresh token can't be renewed, which is terminal.
///
/// See the [module docs](crate::oauth2) for an example.
#[derive(Clone, Debug)]
pub struct RefreshTokenGrant {
    endpoint: TokenEndpoint,
}

/// The copy that the `oauth2` crate sends. It is wiped also where the refresh is cut short by its
/// time-out.
struct Sent(::oauth2::RefreshToken);

// === impl RefreshTokenGrant ===

impl RefreshTokenGrant {
    /// At this token endpoint.
    pub fn new(endpoint: TokenEndpoint) -> Self {
        Self { endpoint }
    }

    async fn ask(&self, refresh_token: &str) -> Result<Token, RefreshError> {
        let endpoint = &self.endpoint;
        let (inner, call) = (endpoint.inner(), endpoint.call());
        let sent = Sent(::oauth2::RefreshToken::new(refresh_token.to_owned()));
        let mut request = inner.exchange_refresh_token(&sent.0).add_scopes(endpoint.scopes());
        for (name, value) in endpoint.params()? {
            request = request.add_extra_param(name, value);
        }
        let parsed = request.request_async(&call).await;
        let answer = endpoint.settle(parsed, call)?;
        Ok(answer.token()?.with_refresh_token(answer.new_refresh_token().unwrap_or(refresh_token)))
    }
}

impl Refresher for RefreshTokenGrant {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let refresh_token = context.current().and_then(|token| token.refresh_token());
            let refresh_token =
                refresh_token.ok_or_else(|| RefreshError::terminal(Failure::NoRefreshToken))?;
            self.ask(refresh_token).await
        })
    }
}

// === impl Sent ===

impl Drop for Sent {
    fn drop(&mut self) {
        let empty = ::oauth2::RefreshToken::new(String::new());
        mem::replace(&mut self.0, empty).into_secret().zeroize();
    }
}
