use crate::{
    credential::token::Token,
    error::{RefreshError, RefreshErrorKind},
    oauth2::endpoint::TokenEndpoint,
    refresher::{BoxFuture, context::RefreshContext, contract::Refresher},
};

/// A [`Refresher`] that obtains each [`Token`], the first one included, for the client itself
/// ([RFC 6749 §4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)).
///
/// A refresh token in the answer is of no use here and is dropped.
///
/// No failure ends the session, because no user could log in again: a refusal that is
/// [terminal](RefreshErrorKind::Terminal) by the endpoint's [`Classify`](crate::oauth2::Classify)
/// is transient here. The session backs off and tries again, so a service recovers by itself when
/// its registration does.
///
/// See the [module docs](crate::oauth2) for an example.
#[derive(Clone, Debug)]
pub struct ClientCredentialsGrant {
    endpoint: TokenEndpoint,
}

// === impl ClientCredentialsGrant ===

impl ClientCredentialsGrant {
    /// A grant at this token endpoint.
    pub fn new(endpoint: TokenEndpoint) -> Self {
        Self { endpoint }
    }
}

impl Refresher for ClientCredentialsGrant {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            match self.endpoint.ask(&[("grant_type", "client_credentials")], &context).await {
                Ok((token, _)) => Ok(token),
                Err(mut error) => {
                    if error.kind == RefreshErrorKind::Terminal {
                        error.kind = RefreshErrorKind::Transient;
                    }
                    Err(error.into())
                }
            }
        })
    }
}
