use std::{fmt, sync::Arc};

use http::{Method, Uri, request::Parts};

use crate::credential::origin::{self, Origin};

/// The origins to which a [`RefreshLayer`](crate::RefreshLayer) sends the credential.
///
/// A request to any other origin passes untouched. An origin that is listed as `http://…` is the
/// permission to send the credential there in cleartext.
///
/// A URI without an authority (`/v1/users`) is completed by the inner service, so that it counts
/// as the service's own and carries the credential. A generated gRPC client sends such URIs through
/// its channel. Use [`relative_to`](Self::relative_to) to have them checked as well.
///
/// ```
/// use tower_refresh::{Origin, Origins};
///
/// let one = Origins::from(Origin::from_static("https://api.example.com"));
/// let several = Origins::from([
///     Origin::from_static("https://api.example.com"),
///     Origin::from_static("http://sidecar.internal:8080"), // permits cleartext to this host
/// ]);
/// let configured: Origins = "https://api.example.com".parse::<Origin>()?.into();
/// let any = Origins::any();
/// # drop((one, several, configured, any));
/// # Ok::<(), tower_refresh::credential::InvalidOrigin>(())
/// ```
#[derive(Clone)]
pub struct Origins {
    allowed: Allowed,
    /// The scheme and authority of URIs that have none.
    base: Option<Arc<Uri>>,
}

/// The origins of absolute URIs that may carry the credential.
#[derive(Clone)]
enum Allowed {
    Any { cleartext: bool },
    Listed(Arc<[Origin]>),
}

/// Whether a request may carry the credential to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Allowed,
    Foreign,
    /// The destination is allowed, and would receive the credential in cleartext, which is not.
    Cleartext,
}

// === impl Origins ===

impl Origins {
    /// Every origin: for a client whose requests all go to upstreams that may see the credential.
    ///
    /// A request over `http://` to a host that is not loopback fails with
    /// [`ErrorKind::Cleartext`](crate::ErrorKind::Cleartext), since RFC 6750 §5.3 demands TLS.
    /// Loopback is `localhost`, `127.0.0.0/8` and `[::1]`.
    ///
    /// A client that follows redirects sends the credential wherever an upstream redirects it to.
    /// List the origins for such a client.
    pub const fn any() -> Self {
        Self { allowed: Allowed::Any { cleartext: false }, base: None }
    }

    /// Every origin, also over `http://`: for a client inside a mesh whose side-car adds TLS.
    pub const fn any_with_cleartext() -> Self {
        Self { allowed: Allowed::Any { cleartext: true }, base: None }
    }

    /// No origin. Only URIs without an authority, which the inner service completes, carry the
    /// credential.
    pub fn relative_only() -> Self {
        Self::from([])
    }

    /// Declares the origin by which the inner service completes URIs without an authority: the
    /// address of a gRPC channel, the base URI of a client library.
    ///
    /// Such a URI is then checked like an absolute one, and a
    /// [`RequestHead`](crate::head::RequestHead) shows it as such. Without a declaration the layer
    /// cannot tell where the inner service sends the request, nor whether it does so in cleartext.
    ///
    /// ```
    /// use tower_refresh::{Origin, Origins};
    ///
    /// let api = Origin::from_static("https://api.example.com");
    /// let origins = Origins::from(api.clone()).relative_to(api);
    /// # drop(origins);
    /// ```
    #[must_use]
    pub fn relative_to(mut self, origin: Origin) -> Self {
        self.base = Some(Arc::new(origin.to_uri()));
        self
    }

    /// The scheme and authority for URIs that have none.
    pub(crate) fn base(&self) -> Option<&Uri> {
        self.base.as_deref()
    }

    #[inline]
    pub(crate) fn destination(&self, request: &Parts) -> Destination {
        // A CONNECT is for a proxy, and not for the host that it names (RFC 9110 §9.3.6).
        if request.method == Method::CONNECT && request.uri.scheme().is_none() {
            return Destination::Foreign;
        }
        self.destination_of(&request.uri)
    }

    #[inline]
    pub(crate) fn destination_of(&self, uri: &Uri) -> Destination {
        let uri = match (uri.authority(), self.base()) {
            (Some(_), _) => uri,
            (None, Some(base)) => base,
            (None, None) => return Destination::Allowed,
        };
        match &self.allowed {
            Allowed::Any { cleartext: false } if origin::is_cleartext(uri) => {
                Destination::Cleartext
            }
            Allowed::Any { .. } => Destination::Allowed,
            Allowed::Listed(origins) if origins.iter().any(|origin| origin.matches(uri)) => {
                Destination::Allowed
            }
            Allowed::Listed(_) => Destination::Foreign,
        }
    }
}

impl From<Origin> for Origins {
    fn from(origin: Origin) -> Self {
        Self::from([origin])
    }
}

impl<const N: usize> From<[Origin; N]> for Origins {
    fn from(origins: [Origin; N]) -> Self {
        Self::from_iter(origins)
    }
}

impl From<Vec<Origin>> for Origins {
    fn from(origins: Vec<Origin>) -> Self {
        Self::from_iter(origins)
    }
}

impl FromIterator<Origin> for Origins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Self { allowed: Allowed::Listed(origins.into_iter().collect()), base: None }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Origins");
        match &self.allowed {
            Allowed::Any { cleartext } => shown.field("any", &true).field("cleartext", cleartext),
            Allowed::Listed(origins) => shown.field("listed", origins),
        };
        shown.field("relative_to", &self.base).finish()
    }
}
