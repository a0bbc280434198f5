use http::{Extensions, Uri, response};
use reqwest::{Request, Response, ResponseBuilderExt, Url};
use tokio::time::Instant;

use crate::{
    error::BoxError,
    middleware::extension::{OwnCredential, TargetUri},
    reqwest::{
        error::{SendError, SendErrorKind},
        redirect::{Hop, Redirects, is_known},
    },
};

/// The time by which a request and all of its attempts have to be over, in the extensions of the
/// request.
#[derive(Clone, Copy)]
pub(super) struct Deadline(pub(super) Instant);

/// An attempt that its client has yet to answer.
pub(super) struct Attempt {
    redirects: Redirects,
    has_own_credential: bool,
    sent_to: Url,
}

// === impl Attempt ===

impl Attempt {
    /// The request as reqwest takes it, with the time that is left for it.
    ///
    /// # Errors
    ///
    /// If the client may follow redirects, and `is_exposed` finds a credential that it would send
    /// along to other origins.
    pub(super) fn start(
        request: http::Request<reqwest::Body>,
        redirects: Redirects,
        is_exposed: impl FnOnce(&Request) -> bool,
    ) -> Result<(Request, Self), BoxError> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let has_own_credential = request.extensions().get::<OwnCredential>().is_some();
        let mut request = Request::try_from(request)?;
        let sent_to = request.url().clone();
        if matches!(redirects, Redirects::Below) && is_exposed(&request) {
            return Err(SendError::new(SendErrorKind::ExposedCredential, sent_to).into());
        }
        if let Some(Deadline(deadline)) = deadline {
            *request.timeout_mut() = Some(deadline.saturating_duration_since(Instant::now()));
        }
        Ok((request, Self { redirects, has_own_credential, sent_to }))
    }

    /// The response as Tower takes it, with the URL in its extensions.
    pub(super) fn end(self, response: Response) -> http::Response<reqwest::Body> {
        let Self { redirects, has_own_credential, sent_to } = self;
        let url = response.url().clone();
        let mut response = http::Response::<reqwest::Body>::from(response);
        let extensions = response.extensions_mut();
        match redirects {
            // Another URL comes from a middleware that rewrites URLs.
            Redirects::Above(max_redirects) => {
                extensions.insert(Hop { max_redirects, has_own_credential });
            }
            // Another URL is taken for that of a redirect. The layer asks who has answered.
            Redirects::Below => {
                if url != sent_to
                    && is_known(&url)
                    && let Ok(uri) = Uri::try_from(url.as_str())
                {
                    extensions.insert(TargetUri(uri));
                }
            }
        }
        extensions.extend(url_extension(url));
        response
    }
}

/// The extension in which reqwest keeps the URL of a response. Its type is private to reqwest.
fn url_extension(url: Url) -> Extensions {
    let builder = response::Builder::new().url(url);
    builder.body(()).expect("a response without headers is valid").into_parts().0.extensions
}
