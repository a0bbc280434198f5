use std::{fmt, path::PathBuf, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use crate::{
    credential::Secret, error::BoxError, oauth2::error::Failure, refresher::BoxFuture, token_file,
};

/// The client that is registered at the authorization server, and how it authenticates itself
/// ([RFC 6749 §2.3](https://www.rfc-editor.org/rfc/rfc6749#section-2.3)).
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
    method: Method,
}

/// A method of client authentication (RFC 6749 §2.3).
#[derive(Clone)]
enum Method {
    None,
    Basic { secret: Secret, is_encoded: bool },
    Post(Secret),
    Assertion(Arc<Sign>),
}

/// The user's function that obtains a client assertion.
type Sign = dyn Fn() -> BoxFuture<'static, Result<Secret, BoxError>> + Send + Sync;

/// The authentication of one request.
pub(super) struct Proof {
    /// The value of the `Authorization` header.
    pub(super) header: Option<HeaderValue>,
    pub(super) params: Vec<(&'static str, Secret)>,
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

// === impl ClientAuth ===

impl ClientAuth {
    /// A client without a secret. The body of each request names it.
    pub fn public(id: impl Into<String>) -> Self {
        Self { id: id.into(), method: Method::None }
    }

    /// HTTP basic authentication (`client_secret_basic`), which every authorization server has to
    /// support.
    pub fn basic(id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        let method = Method::Basic { secret: secret.into(), is_encoded: true };
        Self { id: id.into(), method }
    }

    /// HTTP basic authentication without the form encoding of name and secret that [RFC 6749
    /// §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1) asks for. It makes a
    /// difference for special characters, on servers that do not decode them.
    pub fn basic_raw(id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        let method = Method::Basic { secret: secret.into(), is_encoded: false };
        Self { id: id.into(), method }
    }

    /// The secret in the body of the request (`client_secret_post`), for servers without basic
    /// authentication.
    pub fn post(id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        Self { id: id.into(), method: Method::Post(secret.into()) }
    }

    /// A signed assertion (`private_key_jwt`, [RFC 7523
    /// §2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)). The closure makes the JWT of one
    /// request; servers take each `jti` only once. If the closure fails, nothing is sent, and the
    /// refresh has failed transiently.
    pub fn assertion<F>(id: impl Into<String>, sign: F) -> Self
    where
        F: Fn() -> Result<String, BoxError> + Send + Sync + 'static,
    {
        Self::assertion_of(id.into(), move || {
            let signed = sign().map(Secret::from);
            Box::pin(async move { signed })
        })
    }

    /// An assertion that an async closure obtains for each request: from a key service, from a
    /// metadata server.
    ///
    /// If the closure fails, nothing is sent, and the refresh has failed transiently. The time that
    /// it takes counts towards the deadline of the refresh.
    ///
    /// ```
    /// use tower_refresh::oauth2::ClientAuth;
    ///
    /// # async fn sign_with_kms() -> Result<String, std::io::Error> { unimplemented!() }
    /// let client = ClientAuth::assertion_async("my-service", || async {
    ///     Ok(sign_with_kms().await?)
    /// });
    /// # drop(client);
    /// ```
    pub fn assertion_async<F, Fut>(id: impl Into<String>, sign: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self::assertion_of(id.into(), move || {
            let signing = sign();
            Box::pin(async move { Ok(Secret::from(signing.await?)) })
        })
    }

    /// An assertion in a file that another program rotates, read for each request: workload
    /// identity federation, where Kubernetes mounts the token of a service account.
    ///
    /// White space around the assertion is ignored. If the file is missing, empty or longer than 64
    /// KiB, nothing is sent, and the refresh has failed transiently.
    ///
    /// ```
    /// use tower_refresh::oauth2::ClientAuth;
    ///
    /// let path = "/var/run/secrets/azure/tokens/azure-identity-token";
    /// let client = ClientAuth::assertion_file("my-service", path);
    /// # drop(client);
    /// ```
    pub fn assertion_file(id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::assertion_of(id.into(), move || {
            let reading = token_file::read(path.clone());
            Box::pin(async move { Ok(Secret::from(&**reading.await?)) })
        })
    }

    fn assertion_of<F>(id: String, obtain: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Result<Secret, BoxError>> + Send + Sync + 'static,
    {
        Self { id, method: Method::Assertion(Arc::new(obtain)) }
    }

    pub(super) async fn prove(&self) -> Result<Proof, Failure> {
        let id = || ("client_id", Secret::from(&*self.id));
        let (header, params) = match &self.method {
            Method::None => (None, vec![id()]),
            Method::Basic { secret, is_encoded } => {
                (Some(basic(&self.id, secret.expose(), *is_encoded)), Vec::new())
            }
            Method::Post(secret) => (None, vec![id(), ("client_secret", secret.clone())]),
            Method::Assertion(sign) => {
                let jwt = sign().await.map_err(Failure::Unsigned)?;
                let kind = ("client_assertion_type", Secret::from(JWT_BEARER));
                (None, vec![id(), kind, ("client_assertion", jwt)])
            }
        };
        Ok(Proof { header, params })
    }
}

fn basic(id: &str, secret: &str, is_encoded: bool) -> HeaderValue {
    // Room for all of it, so that no copy is left behind.
    let mut pair = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.len()) + 1));
    for (text, end) in [(id, ":"), (secret, "")] {
        if is_encoded {
            pair.extend(byte_serialize(text.as_bytes()));
        } else {
            pair.push_str(text);
        }
        pair.push_str(end);
    }
    let mut value = Zeroizing::new(String::with_capacity(4 * (pair.len() / 3 + 1) + 6));
    value.push_str("Basic ");
    BASE64_STANDARD.encode_string(pair.as_bytes(), &mut value);
    let mut value = HeaderValue::from_str(&value).expect("base64 is a header value");
    value.set_sensitive(true);
    value
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match &self.method {
            Method::None => "none",
            Method::Basic { .. } => "basic",
            Method::Post(_) => "post",
            Method::Assertion(_) => "assertion",
        };
        f.debug_struct("ClientAuth").field("id", &self.id).field("method", &method).finish()
    }
}
