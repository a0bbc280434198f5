use http::HeaderMap;

use crate::{
    detect::{
        unauthorized::Unauthorized,
        verdict::{Detect, Verdict},
    },
    head::ResponseHead,
};

/// Detects gRPC's rejection of a credential in the head of a response: status 16 (UNAUTHENTICATED)
/// or a plain HTTP 401.
///
/// A server sends the status in the head if there is no message ([Trailers-Only]). A proxy sends
/// the 401, which [`Unauthorized`] inspects. Every other status goes to the caller, also 7
/// (PERMISSION_DENIED) and 14 (UNAVAILABLE), which a newer credential does not cure.
///
/// [`grpc::TrailersLayer`](crate::grpc::TrailersLayer) detects a status in trailers.
///
/// [Trailers-Only]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode};
/// use tower_refresh::{
///     detect::{Detect, GrpcUnauthenticated, Verdict},
///     head::ResponseHead,
/// };
///
/// let mut headers = HeaderMap::new();
/// headers.insert("grpc-status", HeaderValue::from_static("16"));
/// let response = ResponseHead::new(StatusCode::OK, &headers);
/// assert_eq!(GrpcUnauthenticated.inspect(&response), Verdict::Rejected);
///
/// headers.insert("grpc-status", HeaderValue::from_static("7"));
/// let response = ResponseHead::new(StatusCode::OK, &headers);
/// assert_eq!(GrpcUnauthenticated.inspect(&response), Verdict::Accepted);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcUnauthenticated;

/// Whether headers or trailers have the status UNAUTHENTICATED.
pub(crate) fn is_unauthenticated(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status == "16")
}

// === impl GrpcUnauthenticated ===

impl Detect for GrpcUnauthenticated {
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
        if is_unauthenticated(response.headers()) {
            Verdict::Rejected
        } else {
            Unauthorized.inspect(response)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn inspect(http: u16, grpc: Option<&str>) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(grpc) = grpc {
            headers.insert("grpc-status", HeaderValue::from_str(grpc).unwrap());
        }
        GrpcUnauthenticated
            .inspect(&ResponseHead::new(StatusCode::from_u16(http).unwrap(), &headers))
    }

    #[test]
    fn only_status_16_is_a_rejection() {
        for code in 0..100 {
            let rejected = inspect(200, Some(&code.to_string())) == Verdict::Rejected;
            assert_eq!(rejected, code == 16, "{code}");
        }
        for odd in ["", "016", "16.0", "+16", "16 16", "1", "6", "161", "UNAUTHENTICATED"] {
            assert_eq!(inspect(200, Some(odd)), Verdict::Accepted, "{odd:?}");
        }
    }

    #[test]
    fn a_plain_401_is_a_rejection_and_no_other_http_status_is() {
        for http in 100..600 {
            assert_eq!(inspect(http, None) == Verdict::Rejected, http == 401, "{http}");
        }
    }

    #[test]
    fn a_401_with_insufficient_scope_is_no_rejection() {
        let challenge = HeaderValue::from_static(r#"Bearer error="insufficient_scope""#);
        let headers = HeaderMap::from_iter([(http::header::WWW_AUTHENTICATE, challenge)]);
        assert_eq!(
            GrpcUnauthenticated.inspect(&ResponseHead::new(StatusCode::UNAUTHORIZED, &headers)),
            Verdict::Accepted
        );
    }
}
