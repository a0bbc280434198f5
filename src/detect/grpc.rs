use http::HeaderMap;

use crate::{
    detect::{
        unauthorized::Unauthorized,
        verdict::{Detect, Verdict},
    },
    head::ResponseHead,
};

/// gRPC's ways to reject a credential in the head of a response: status 16, UNAUTHENTICATED, or a
/// plain HTTP 401.
///
/// The first is what a server says without any message ([Trailers-Only]), the second what a proxy
/// in between says; a 401 is read as [`Unauthorized`] reads it. Every other status goes to the
/// caller, 7 (PERMISSION_DENIED) and 14 (UNAVAILABLE) included: a newer credential would not help.
///
/// A status that comes later, in a TRAILERS frame of its own, is found by
/// [`grpc::TrailersLayer`](crate::grpc::TrailersLayer).
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
/// assert_eq!(GrpcUnauthenticated.inspect(&ResponseHead::new(StatusCode::OK, &headers)), Verdict::Rejected);
///
/// headers.insert("grpc-status", HeaderValue::from_static("7"));
/// assert_eq!(GrpcUnauthenticated.inspect(&ResponseHead::new(StatusCode::OK, &headers)), Verdict::Accepted);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcUnauthenticated;

/// Whether headers or trailers say UNAUTHENTICATED.
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
    fn of_all_statuses_only_16_is_a_rejection() {
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
    fn a_401_that_only_lacks_a_scope_is_none() {
        let challenge = HeaderValue::from_static(r#"Bearer error="insufficient_scope""#);
        let headers = HeaderMap::from_iter([(http::header::WWW_AUTHENTICATE, challenge)]);
        assert_eq!(
            GrpcUnauthenticated.inspect(&ResponseHead::new(StatusCode::UNAUTHORIZED, &headers)),
            Verdict::Accepted
        );
    }
}
