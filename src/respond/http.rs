use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{
    error::Error,
    head::RequestHead,
    respond::{answer::Answer, class::ErrorClass, text::describe},
};

/// Answers with an HTTP status and a line of text.
///
/// | error | response |
/// |---|---|
/// | [`LoggedOut`](crate::ErrorKind::LoggedOut), [`NoSession`](crate::ErrorKind::NoSession), or a refresh that was refused | 401 with `WWW-Authenticate` |
/// | [`RefreshFailed`](crate::ErrorKind::RefreshFailed) otherwise, [`Overloaded`](crate::ErrorKind::Overloaded), [`StorageFailed`](crate::ErrorKind::StorageFailed) | 503 with `Retry-After` |
/// | [`LoginChanged`](crate::ErrorKind::LoginChanged) | 409: a retry would use another login |
/// | any other: a mistake in the program | 500 |
///
/// The body is one line of text, unless it includes [causes](Self::causes()) of several lines.
///
/// # Examples
///
/// ```
/// use http::{HeaderValue, StatusCode};
/// use tower_refresh::respond::{HttpAnswer, RespondLayer};
///
/// // For a proxy whose callers log in with a form.
/// let answer = HttpAnswer::new().challenge(HeaderValue::from_static("FormBased"));
/// let layer = RespondLayer::new(answer);
/// # let _: RespondLayer<HttpAnswer> = layer;
/// ```
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    challenge: HeaderValue,
    retry_after: Duration,
    causes: bool,
}

// === impl HttpAnswer ===

impl HttpAnswer {
    /// Creates an answer with default settings.
    pub const fn new() -> Self {
        Self {
            challenge: HeaderValue::from_static("Bearer"),
            retry_after: Duration::from_secs(1),
            causes: false,
        }
    }

    /// The challenge of a 401 (RFC 9110 §11.6.1), which tells how to authenticate to *this* server.
    /// Default: `Bearer`.
    pub fn challenge(mut self, challenge: HeaderValue) -> Self {
        self.challenge = challenge;
        self
    }

    /// The `Retry-After` of a 503 if the session [has no better value](Error::retry_after).
    /// Default: 1 second. Sent in whole seconds, rounded up.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = delay;
        self
    }

    /// Whether the text includes the causes that the refresher gave. Default: false, since causes
    /// may name internal hosts and paths, and the callers of a proxy are not trusted. The [`Error`]
    /// in the extensions of the response has the causes in either case.
    pub fn causes(mut self, causes: bool) -> Self {
        self.causes = causes;
        self
    }

    fn add_advice(&self, status: StatusCode, error: &Error, headers: &mut HeaderMap) {
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, self.challenge.clone());
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            let delay = error.retry_after().unwrap_or(self.retry_after);
            headers.insert(RETRY_AFTER, whole_seconds(delay).into());
        }
    }
}

impl Default for HttpAnswer {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer for HttpAnswer {
    fn answer(&self, error: &Error, _: &RequestHead<'_>) -> Response<Bytes> {
        let status = status(ErrorClass::of(error));
        let mut text = describe(error, self.causes);
        text.push('\n');
        let mut response = Response::new(text.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        self.add_advice(status, error, headers);
        response
    }
}

fn status(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::LoggedOut => StatusCode::UNAUTHORIZED,
        ErrorClass::LoginChanged => StatusCode::CONFLICT,
        // 429 would blame one caller for the load of all.
        ErrorClass::Unavailable | ErrorClass::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        ErrorClass::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs().saturating_add((delay.subsec_nanos() > 0).into())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::error::{ErrorKind, RefreshError};

    fn failed(cause: RefreshError) -> Error {
        Error::refresh_failed(cause, Duration::from_millis(2500))
    }

    fn answer(error: &Error) -> Response<Bytes> {
        answer_of(HttpAnswer::new(), error)
    }

    fn answer_of(answer: HttpAnswer, error: &Error) -> Response<Bytes> {
        let (head, ()) = Request::new(()).into_parts();
        answer.answer(error, &RequestHead::new(&head))
    }

    fn text(response: &Response<Bytes>) -> &str {
        std::str::from_utf8(response.body()).unwrap().trim_end()
    }

    #[test]
    fn a_login_that_ended_is_a_401_with_a_challenge() {
        for error in [
            Error::logged_out(None),
            Error::logged_out(Some(RefreshError::terminal("revoked"))),
            failed(RefreshError::terminal("revoked")),
        ] {
            let response = answer(&error);
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{error:?}");
            assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
            assert!(!response.headers().contains_key(RETRY_AFTER));
        }
    }

    #[test]
    fn a_failure_that_may_pass_is_a_503_with_retry_after() {
        let cases = [
            (failed(RefreshError::transient("down")), "3"),
            (failed(RefreshError::ambiguous("down")), "3"),
            (Error::overloaded(), "1"),
        ];
        for (error, retry_after) in cases {
            let response = answer(&error);
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[RETRY_AFTER], retry_after);
            assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        }
        let later = HttpAnswer::new().retry_after(Duration::from_millis(9001));
        assert_eq!(answer_of(later, &Error::overloaded()).headers()[RETRY_AFTER], "10");
    }

    #[test]
    fn a_changed_login_is_a_409_and_a_mistake_a_500() {
        assert_eq!(answer(&Error::login_changed()).status(), StatusCode::CONFLICT);
        for misuse in [Error::cleartext(), Error::recursive(), Error::no_runtime()] {
            assert_eq!(answer(&misuse).status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
    }

    #[test]
    fn the_text_names_causes_only_if_told_to() {
        let error = failed(RefreshError::transient("connect to auth.internal:8443"));
        assert_eq!(error.kind(), ErrorKind::RefreshFailed);
        assert_eq!(
            text(&answer(&error)),
            "the credential could not be refreshed: the refresh failed"
        );
        assert_eq!(
            text(&answer_of(HttpAnswer::new().causes(true), &error)),
            "the credential could not be refreshed: the refresh failed: connect to auth.internal:8443",
        );
    }

    #[test]
    fn a_long_cause_is_truncated() {
        let error = failed(RefreshError::transient("é".repeat(10_000)));
        let response = answer_of(HttpAnswer::new().causes(true), &error);
        assert!(text(&response).len() < 1100 && text(&response).ends_with("é…"));
    }
}
