use crate::{
    credential::token::Token,
    error::RefreshError,
    oauth2::endpoint::TokenEndpoint,
    refresher::{BoxFuture, RefreshContext, Refresher},
};

/// Obtains a [`Token`] for the client itself
/// ([RFC 6749 §4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)), the first one as well.
///
/// A refresh token in the answer is of no use here and is dropped.
///
/// See the [module docs](crate::oauth2) for an example.
#[derive(Clone, Debug)]
pub struct ClientCredentialsGrant {
    endpoint: TokenEndpoint,
}

impl ClientCredentialsGrant {
    /// At this token endpoint.
    pub fn new(endpoint: TokenEndpoint) -> Self {
        Self { endpoint }
    }

    async fn ask(&self) -> Result<Token, RefreshError> {
        let endpoint = &self.endpoint;
        let (inner, call) = (endpoint.inner(), endpoint.call());
        let mut request = inner.exchange_client_credentials().add_scopes(endpoint.scopes());
        for (name, value) in endpoint.params()? {
            request = request.add_extra_param(name, value);
        }
        let parsed = request.request_async(&call).await;
        endpoint.settle(parsed, call)?.token()
    }
}

impl Refresher for ClientCredentialsGrant {
    fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(self.ask())
    }
}
