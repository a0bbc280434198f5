use crate::{
    credential::token::Token,
    error::RefreshError,
    oauth2::{endpoint::TokenEndpoint, error::Failure},
    refresher::{BoxFuture, context::RefreshContext, contract::Refresher},
};

/// A [`Refresher`] that renews a [`Token`] by its refresh token ([RFC 6749
/// §6](https://www.rfc-editor.org/rfc/rfc6749#section-6)).
///
/// A refresh token in the answer replaces the one that was sent, which is kept otherwise. A token
/// without a refresh token cannot be renewed: the failure is terminal.
///
/// See the [module docs](crate::oauth2) for an example.
#[derive(Clone, Debug)]
pub struct RefreshTokenGrant {
    endpoint: TokenEndpoint,
}

// === impl RefreshTokenGrant ===

impl RefreshTokenGrant {
    /// A grant at this token endpoint.
    pub fn new(endpoint: TokenEndpoint) -> Self {
        Self { endpoint }
    }
}

impl Refresher for RefreshTokenGrant {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let refresh_token = context.current().and_then(|token| token.refresh_token());
            let refresh_token =
                refresh_token.ok_or_else(|| RefreshError::terminal(Failure::NoRefreshToken))?;
            let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
            let (token, answer) = self.endpoint.ask(&grant, &context).await?;
            Ok(token.with_refresh_token(answer.refresh_token().unwrap_or(refresh_token)))
        })
    }
}
