use std::{fmt, sync::Arc};

use ::oauth2::{
    AuthType, ClientId, ClientSecret, StandardRevocableToken,
    basic::{BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};

use crate::{
    credential::Secret,
    error::BoxError,
    oauth2::{
        answer::{RefusalAnswer, TokenAnswer},
        error::Failure,
    },
};

/// Who asks: the client that is registered at the authorization server, and how it proves that it
/// is the one ([RFC 6749 §2.3](https://www.rfc-editor.org/rfc/rfc6749#section-2.3)).
///
/// ```
/// use tower_refresh::oauth2::ClientAuth;
///
/// let confidential = ClientAuth::basic("my-service", "s3cr3t");
/// let native_app = ClientAuth::public("my-app");
/// assert!(!format!("{confidential:?}").contains("s3cr3t"));
/// ```
#[derive(Clone)]
pub struct ClientAuth {
    id: String,
    authentication: Authentication,
}

#[derive(Clone)]
enum Authentication {
    None,
    Basic(Secret),
    Post(Secret),
    Assertion(Assertion),
}

type Assertion = Arc<dyn Fn() -> Result<String, BoxError> + Send + Sync>;

pub(super) type Inner = ::oauth2::Client<
    RefusalAnswer,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

// === impl ClientAuth ===

impl ClientAuth {
    /// A client without a secret: the body of each request names it.
    pub fn public(id: impl Into<String>) -> Self {
        Self { id: id.into(), authentication: Authentication::None }
    }

    /// By HTTP basic authentication (`client_secret_basic`), which every authorization server has
    /// to know.
    pub fn basic(id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        Self { id: id.into(), authentication: Authentication::Basic(secret.into()) }
    }

    /// By the secret in the body of the request (`client_secret_post`), for servers that know
    /// nothing else.
    pub fn post(id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        Self { id: id.into(), authentication: Authentication::Post(secret.into()) }
    }

    /// By a signed assertion (`private_key_jwt`, [RFC 7523
    /// §2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)). The closure makes the JWT of one
    /// request: a new one each time, since servers take each `jti` once. If it fails, nothing is
    /// sent, and the refresh has failed transiently.
    pub fn assertion<F>(id: impl Into<String>, sign: F) -> Self
    where
        F: Fn() -> Result<String, BoxError> + Send + Sync + 'static,
    {
        Self { id: id.into(), authentication: Authentication::Assertion(Arc::new(sign)) }
    }

    /// Made for one request, because it can't wipe the secret that it holds.
    pub(super) fn inner(&self) -> Inner {
        let inner = Inner::new(ClientId::new(self.id.clone()));
        let secret = |secret: &Secret| ClientSecret::new(secret.expose().to_owned());
        match &self.authentication {
            Authentication::None | Authentication::Assertion(_) => {
                inner.set_auth_type(AuthType::RequestBody)
            }
            Authentication::Basic(held) => {
                inner.set_auth_type(AuthType::BasicAuth).set_client_secret(secret(held))
            }
            Authentication::Post(held) => {
                inner.set_auth_type(AuthType::RequestBody).set_client_secret(secret(held))
            }
        }
    }

    /// What proves it in the body, besides what [`inner`](Self::inner) adds.
    pub(super) fn params(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        match &self.authentication {
            Authentication::Assertion(sign) => {
                let jwt = sign().map_err(Failure::Unsigned)?;
                Ok(vec![
                    ("client_assertion_type", JWT_BEARER.to_owned()),
                    ("client_assertion", jwt),
                ])
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authentication = match &self.authentication {
            Authentication::None => "none",
            Authentication::Basic(_) => "basic",
            Authentication::Post(_) => "post",
            Authentication::Assertion(_) => "assertion",
        };
        f.debug_struct("ClientAuth")
            .field("id", &self.id)
            .field("authentication", &authentication)
            .finish()
    }
}
