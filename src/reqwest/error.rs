use std::{error::Error, fmt};

use reqwest::Url;

/// A request failed between its attempts: it ran out of time or was redirected too often.
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

    /// Whether the request was redirected too often.
    pub fn is_redirect(&self) -> bool {
        self.kind == SendErrorKind::TooManyRedirects
    }

    /// The URL of the request, or of the hop that was redirected once too often.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            SendErrorKind::TimedOut => "the request timed out",
            SendErrorKind::TooManyRedirects => "the request was redirected too often",
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
