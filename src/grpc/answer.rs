use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};

use crate::{
    error::Error,
    head::RequestHead,
    respond::{Answer, ErrorClass, describe},
};

/// Answers with a gRPC status: HTTP 200 with `grpc-status` and `grpc-message` in the head.
///
/// | error | code |
/// |---|---|
/// | [`LoggedOut`](crate::ErrorKind::LoggedOut), [`NoSession`](crate::ErrorKind::NoSession), or a refresh that was refused | 16, UNAUTHENTICATED |
/// | [`RefreshFailed`](crate::ErrorKind::RefreshFailed) otherwise, [`StorageFailed`](crate::ErrorKind::StorageFailed) | 14, UNAVAILABLE |
/// | [`Overloaded`](crate::ErrorKind::Overloaded) | 8, RESOURCE_EXHAUSTED |
/// | [`LoginChanged`](crate::ErrorKind::LoginChanged) | 10, ABORTED: a retry would use another login |
/// | any other: a mistake in the program | 13, INTERNAL |
///
/// If the session knows [when to try again](Error::retry_after), the answer has
/// `grpc-retry-pushback-ms`.
///
/// # Examples
///
/// ```
/// use tower_refresh::{grpc::GrpcAnswer, respond::RespondLayer};
///
/// // For a proxy, whose callers are not trusted.
/// let layer = RespondLayer::new(GrpcAnswer::new().causes(false));
/// # let _: RespondLayer<GrpcAnswer> = layer;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GrpcAnswer {
    causes: bool,
}

// === impl GrpcAnswer ===

impl GrpcAnswer {
    /// Creates an answer with default settings.
    pub const fn new() -> Self {
        Self { causes: true }
    }

    /// Whether the message includes the causes that the refresher gave. Default: true, for a client
    /// in the same program. A proxy should turn it off, since causes may name hosts and paths.
    pub const fn causes(mut self, causes: bool) -> Self {
        self.causes = causes;
        self
    }
}

impl Default for GrpcAnswer {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer for GrpcAnswer {
    fn answer(&self, error: &Error, _: &RequestHead<'_>) -> Response<Bytes> {
        let class = ErrorClass::of(error);
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(code(class)));
        headers.insert("grpc-message", percent_encoded(&describe(error, self.causes)));
        if class == ErrorClass::Unavailable
            && let Some(delay) = error.retry_after()
        {
            headers.insert("grpc-retry-pushback-ms", whole_milliseconds(delay).into());
        }
        response
    }
}

fn code(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::LoggedOut => "16",
        ErrorClass::LoginChanged => "10",
        ErrorClass::Unavailable => "14",
        ErrorClass::Overloaded => "8",
        ErrorClass::Misconfigured => "13",
    }
}

/// Rounded up, and at most what gRPC's 32 bits can hold.
fn whole_milliseconds(delay: Duration) -> i32 {
    delay.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX)
}

/// Encodes all bytes except printable ASCII, and the percent sign, as the gRPC protocol requires.
fn percent_encoded(message: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | 0..b' ' | 0x7f.. => {
                write!(encoded, "%{byte:02X}").expect("writing to a string can't fail")
            }
            printable => encoded.push(printable.into()),
        }
    }
    encoded.try_into().expect("the text is printable ASCII")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::error::RefreshError;

    fn respond(answer: GrpcAnswer, error: &Error) -> Response<Bytes> {
        let (head, ()) = Request::new(()).into_parts();
        answer.answer(error, &RequestHead::new(&head))
    }

    fn answer(error: &Error) -> (String, String) {
        let response = respond(GrpcAnswer::new(), error);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert!(response.body().is_empty());
        let text = |name| response.headers()[name].to_str().unwrap().to_owned();
        (text("grpc-status"), text("grpc-message"))
    }

    fn failed(cause: RefreshError) -> Error {
        Error::refresh_failed(cause, Duration::from_micros(1500))
    }

    #[test]
    fn each_error_has_its_code_and_its_cause() {
        let refused = RefreshError::terminal("invalid_grant");
        let message =
            "the login was ended by a refused refresh: the refresh was refused: invalid_grant";
        assert_eq!(
            answer(&Error::logged_out(Some(refused.clone()))),
            ("16".into(), message.into())
        );
        assert_eq!(answer(&Error::logged_out(None)), ("16".into(), "not logged in".into()));
        assert_eq!(answer(&failed(refused)).0, "16");

        let message =
            "the credential could not be refreshed: the refresh failed: connection refused";
        let transient = failed(RefreshError::transient("connection refused"));
        assert_eq!(answer(&transient), ("14".into(), message.into()));
        assert_eq!(answer(&failed(RefreshError::ambiguous("cut"))).0, "14");

        let message = "too many requests wait for a refresh, or too many sessions are in use";
        assert_eq!(answer(&Error::overloaded()), ("8".into(), message.into()));
        assert_eq!(answer(&Error::login_changed()).0, "10");
        for misuse in [Error::cleartext(), Error::recursive(), Error::no_runtime()] {
            assert_eq!(answer(&misuse).0, "13", "{misuse}");
        }
    }

    #[test]
    fn a_back_off_is_answered_with_a_push_back() {
        let pushback = |error: &Error| {
            let mut response = respond(GrpcAnswer::new(), error);
            response.headers_mut().remove("grpc-retry-pushback-ms")
        };
        assert_eq!(pushback(&failed(RefreshError::transient("down"))).unwrap(), "2");
        assert_eq!(pushback(&failed(RefreshError::terminal("revoked"))), None);
        assert_eq!(pushback(&Error::overloaded()), None);
        assert_eq!(whole_milliseconds(Duration::MAX), i32::MAX);
    }

    #[test]
    fn without_causes_the_message_names_no_cause() {
        let error = failed(RefreshError::transient("connect to auth.internal:8443"));
        let response = respond(GrpcAnswer::new().causes(false), &error);
        let message = &response.headers()["grpc-message"];
        assert_eq!(message, "the credential could not be refreshed: the refresh failed");
    }

    #[test]
    fn a_message_is_percent_encoded() {
        assert_eq!(percent_encoded("100 % é\r\n\u{7f}~"), "100 %25 %C3%A9%0D%0A%7F~");
        assert_eq!(percent_encoded(""), "");
    }
}
