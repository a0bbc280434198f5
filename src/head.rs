//! The head of a response, and of the request that it answers, as
//! [`Detect`](crate::detect::Detect) and [`Credential::observe`](crate::Credential::observe) see
//! them.
//!
//! ```
//! use http::{HeaderMap, Method, Request, StatusCode};
//! use tower_refresh::{
//!     detect::{Detect, Verdict, detect_fn},
//!     head::{RequestHead, ResponseHead},
//! };
//!
//! // A login form answers 401 to a wrong password, which says nothing about the token.
//! let detect = detect_fn(|response| {
//!     response.status() == StatusCode::UNAUTHORIZED && response.request().uri().path() != "/password"
//! });
//!
//! let (request, ()) = Request::post("https://api.example.com/password").body(())?.into_parts();
//! let headers = HeaderMap::new();
//! let response = ResponseHead::new(StatusCode::UNAUTHORIZED, &headers);
//! assert_eq!(detect.inspect(&response), Verdict::Rejected);
//! let response = response.with_request(RequestHead::new(&request));
//! assert_eq!(response.request().method(), Method::POST);
//! assert_eq!(detect.inspect(&response), Verdict::Accepted);
//! # Ok::<(), http::Error>(())
//! ```

use std::{fmt, sync::LazyLock};

use http::{
    Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri,
    request::Parts,
    uri::{PathAndQuery, Scheme},
};

use crate::replay::head::{HeadCopy, HeadSummary, RequestLine};

/// The head of a response to a request that carried the credential.
///
/// `Debug` shows the status and the names of the headers.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    request: RequestHead<'a>,
}

/// The request that a response answers, as the caller sent it: without the credential.
///
/// The layer keeps a request's head as text. [`method`](Self::method) and [`uri`](Self::uri) read
/// that text on every call, so that a detector that does not ask for them costs nothing.
///
/// `Debug` shows the method.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    source: Source<'a>,
    /// The scheme and authority of a URI that has none.
    base: Option<&'a Uri>,
}

/// The two representations of a request's head: the text of a copy, or its parts.
#[derive(Clone, Copy)]
enum Source<'a> {
    Text { line: RequestLine<'a>, extensions: &'a Extensions },
    Parts(&'a Parts),
}

/// The request of a [`ResponseHead`] that was made without one.
static UNKNOWN: LazyLock<Parts> = LazyLock::new(|| Request::new(()).into_parts().0);

// === impl ResponseHead ===

impl<'a> ResponseHead<'a> {
    /// A response without extensions, to a `GET` of `/`, for tests.
    pub fn new(status: StatusCode, headers: &'a HeaderMap) -> Self {
        let unknown = &*UNKNOWN;
        let request = RequestHead { source: Source::Parts(unknown), base: None };
        Self { status, headers, extensions: &unknown.extensions, request }
    }

    pub(crate) fn of<B>(response: &'a Response<B>, request: RequestHead<'a>) -> Self {
        Self {
            status: response.status(),
            headers: response.headers(),
            extensions: response.extensions(),
            request,
        }
    }

    /// Replaces the extensions of the response.
    #[must_use]
    pub fn with_extensions(mut self, extensions: &'a Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Replaces the request that the response answers.
    #[must_use]
    pub fn with_request(mut self, request: RequestHead<'a>) -> Self {
        self.request = request;
        self
    }

    /// The status of the response.
    #[inline]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers of the response, or its trailers where those are inspected.
    #[inline]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions of the response.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The request that the response answers.
    pub fn request(&self) -> RequestHead<'a> {
        self.request
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

// === impl RequestHead ===

impl<'a> RequestHead<'a> {
    /// The head of a request.
    pub fn new(parts: &'a Parts) -> Self {
        Self { source: Source::Parts(parts), base: None }
    }

    pub(crate) fn copied(copy: &'a HeadCopy) -> Self {
        let source = Source::Text { line: copy.request_line(), extensions: copy.extensions() };
        Self { source, base: None }
    }

    pub(crate) fn restored(copy: &'a HeadSummary) -> Self {
        let source = Source::Text { line: copy.request_line(), extensions: copy.extensions() };
        Self { source, base: None }
    }

    /// Completes a URI without an authority by the scheme and authority of `base`.
    pub(crate) fn relative_to(mut self, base: Option<&'a Uri>) -> Self {
        self.base = base;
        self
    }

    /// The method of the request.
    pub fn method(&self) -> Method {
        match self.source {
            Source::Text { line, .. } => line.method(),
            Source::Parts(parts) => parts.method.clone(),
        }
    }

    /// The URI of the request. A URI without an authority is completed where the layer knows
    /// [what it is relative to](crate::Origins::relative_to).
    pub fn uri(&self) -> Uri {
        let uri = match self.source {
            Source::Text { line, .. } => line.uri(),
            Source::Parts(parts) => parts.uri.clone(),
        };
        match self.base {
            Some(base) if uri.authority().is_none() => completed(uri, base),
            _ => uri,
        }
    }

    /// The extensions of the request.
    pub fn extensions(&self) -> &'a Extensions {
        match self.source {
            Source::Text { extensions, .. } => extensions,
            Source::Parts(parts) => &parts.extensions,
        }
    }
}

impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URI may hold a key in its query.
        f.debug_struct("RequestHead").field("method", &self.method()).finish_non_exhaustive()
    }
}

/// The URI with the scheme and authority of `base`, which is an origin. Returns `uri` unchanged if
/// they cannot be combined, as for `*`.
fn completed(uri: Uri, base: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = base.scheme().cloned().or(Some(Scheme::HTTPS));
    parts.authority = base.authority().cloned();
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).unwrap_or(uri)
}
