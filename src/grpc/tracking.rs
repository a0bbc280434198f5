use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http::{HeaderMap, Response, header::CONTENT_TYPE};
use http_body::Body;

use crate::{grpc::request::RequestBody, middleware::extension::Stamp};

/// A call that carries the session's credential, until its response head arrives.
pub(super) struct TrackedCall {
    pub(super) stamp: Stamp,
    pub(super) grace: GracePeriod,
}

/// The time for which the headers of a response may be held back.
pub(super) struct GracePeriod {
    limit: Duration,
    /// Owned by the request body. Dropped when the call has sent everything.
    sending: Weak<()>,
}

/// Whether a response may still bring a status: it is a gRPC response without a status in its head,
/// and its body has not ended.
pub(super) fn awaits_status<B: Body>(response: &Response<B>) -> bool {
    let headers = response.headers();
    is_grpc(headers) && !headers.contains_key("grpc-status") && !response.body().is_end_stream()
}

/// Whether the content type is `application/grpc`, with or without a suffix such as `+proto` and
/// parameters. False for gRPC-Web, whose trailers are data.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    content_type.and_then(|value| value.split_at_checked(NAME.len())).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

// === impl TrackedCall ===

impl TrackedCall {
    pub(super) fn new<B: Body>(stamp: Stamp, limit: Duration, body: B) -> (Self, RequestBody<B>) {
        if limit.is_zero() {
            let grace = GracePeriod { limit, sending: Weak::new() };
            return (Self { stamp, grace }, RequestBody::untracked(body));
        }
        let sending = Arc::new(());
        let grace = GracePeriod { limit, sending: Arc::downgrade(&sending) };
        (Self { stamp, grace }, RequestBody::tracked(body, sending))
    }
}

// === impl GracePeriod ===

impl GracePeriod {
    /// `None` while the call is still sending: its client may wait for the headers before it sends
    /// more.
    pub(super) fn limit(&self) -> Option<Duration> {
        let has_sent_all = self.sending.strong_count() == 0;
        (has_sent_all && !self.limit.is_zero()).then_some(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn grpc_is_recognised_by_its_content_type() {
        let is_grpc = |value| {
            is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]))
        };
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"]
        {
            assert!(is_grpc(yes), "{yes}");
        }
        for no in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grp",
            "text/html",
            "",
        ] {
            assert!(!is_grpc(no), "{no}");
        }
        assert!(!super::is_grpc(&HeaderMap::new()));
    }
}
