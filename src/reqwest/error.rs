use std::{error::Error, fmt};

use reqwest::Url;

/// The adapter has ended a request: before it was sent, or between its attempts.
///
/// An error of an attempt is a [`reqwest::Error`], and an error of the session is an
/// [`Error`](crate::Error).
pub struct SendError {
    kind: SendErrorKind,
    url: Url,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendErrorKind {
    TimedOut,
    TooManyRedirects,
    /// Redirected to a URL that is not of HTTP.
    ForeignScheme,
    /// The client would send the credential along wherever an upstream redirects it to.
    ExposedCredential,
}

// === impl SendError ===

impl SendError {
    pub(super) fn new(kind: SendErrorKind, url: Url) -> Self {
        Self { kind, url }
    }

    /// Whether the time-out of the request has passed while it waited for a refresh.
    pub fn is_timeout(&self) -> bool {
        self.kind == SendErrorKind::TimedOut
    }

    /// Whether the request was redirected too often, or to a URL whose scheme is neither `http` nor
    /// `https`.
    pub fn is_redirect(&self) -> bool {
        matches!(self.kind, SendErrorKind::TooManyRedirects | SendErrorKind::ForeignScheme)
    }

    /// Whether the request was not sent because its client may follow redirects, and would send the
    /// header with the credential, or the secrets of a request for a token, to other origins.
    ///
    /// [Redirects](crate::reqwest#redirects) says how to send such a credential.
    pub fn is_exposed_credential(&self) -> bool {
        self.kind == SendErrorKind::ExposedCredential
    }

    /// The URL of the request, of the hop that was redirected once too often, or of another scheme.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            SendErrorKind::TimedOut => "the request timed out",
            SendErrorKind::TooManyRedirects => "the request was redirected too often",
            SendErrorKind::ForeignScheme => "the request was redirected to a URL that is not HTTP",
            SendErrorKind::ExposedCredential => {
                "the client may follow redirects, and would send the credential to other origins"
            }
        })
    }
}

/// Without the query of the URL, which may hold a key.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("kind", &self.kind)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl Error for SendError {}
