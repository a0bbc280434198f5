use http::{Extensions, Uri, response};
use reqwest::{Request, Response, ResponseBuilderExt, Url};
use tokio::time::Instant;

use crate::middleware::extension::TargetUri;

/// The time by which a request and all of its attempts have to be over, in the extensions of the
/// request.
#[derive(Clone, Copy)]
pub(super) struct Deadline(pub(super) Instant);

/// The request as reqwest takes it. An attempt gets the time that its request has left.
pub(super) fn to_reqwest(request: http::Request<reqwest::Body>) -> reqwest::Result<Request> {
    let deadline = request.extensions().get::<Deadline>().copied();
    let mut request = Request::try_from(request)?;
    if let Some(Deadline(deadline)) = deadline {
        *request.timeout_mut() = Some(deadline.saturating_duration_since(Instant::now()));
    }
    Ok(request)
}

/// The response as Tower takes it, with the URL in its extensions.
pub(super) fn from_reqwest(response: Response, sent_to: &Url) -> http::Response<reqwest::Body> {
    let url = response.url().clone();
    let mut response = http::Response::<reqwest::Body>::from(response);
    if url != *sent_to
        && let Ok(uri) = Uri::try_from(url.as_str())
    {
        // The client has followed a redirect. The layer asks who has answered.
        response.extensions_mut().insert(TargetUri(uri));
    }
    response.extensions_mut().extend(url_extension(url));
    response
}

/// The extension in which reqwest keeps the URL of a response. Its type is private to reqwest.
fn url_extension(url: Url) -> Extensions {
    let builder = response::Builder::new().url(url);
    builder.body(()).expect("a response without headers is valid").into_parts().0.extensions
}
