use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;

use crate::{
    detect::{Detect, Verdict, is_unauthenticated},
    grpc::request::RequestBody,
    head::{RequestHead, ResponseHead},
    middleware::extension::Stamp,
    replay::head::HeadSummary,
};

/// A call that carries the session's credential, until its status is known.
pub(super) struct TrackedCall {
    stamp: Stamp,
    request: HeadSummary,
    /// `None` for status 16.
    detect: Option<Arc<dyn Detect>>,
}

/// The time for which the headers of a response may be held.
pub(super) struct GracePeriod {
    limit: Duration,
    /// Owned by the request body, which drops it when the call has sent everything.
    sending: Weak<()>,
}

/// Whether a response may still bring a status: it is a gRPC response without a status in its head,
/// and its body has not ended.
pub(super) fn awaits_status<B: Body>(response: &Response<B>) -> bool {
    let headers = response.headers();
    is_grpc(headers) && !headers.contains_key("grpc-status") && !response.body().is_end_stream()
}

/// Whether the content type is `application/grpc` or `application/grpc-web`, with or without a
/// suffix such as `+proto` and parameters.
///
/// The trailers of gRPC-Web are data on the wire. But a client's gRPC-Web layer below this one
/// turns them into trailers, and leaves the content type as it is.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let suffix = content_type.and_then(|value| strip_prefix_ignoring_case(value, GRPC));
    suffix.is_some_and(|suffix| {
        let suffix = [&b"-web-text"[..], b"-web"]
            .into_iter()
            .find_map(|web| strip_prefix_ignoring_case(suffix, web))
            .unwrap_or(suffix);
        matches!(suffix.first(), None | Some(b'+' | b';' | b' '))
    })
}

fn strip_prefix_ignoring_case<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

// === impl TrackedCall ===

impl TrackedCall {
    pub(super) fn new(stamp: Stamp, request: HeadSummary, detect: Option<Arc<dyn Detect>>) -> Self {
        Self { stamp, request, detect }
    }

    pub(super) fn inspect(&self, status: StatusCode, trailers: &HeaderMap) -> Verdict {
        match &self.detect {
            None => is_unauthenticated(trailers).into(),
            Some(detect) => {
                let request = RequestHead::restored(&self.request);
                detect.inspect(&ResponseHead::new(status, trailers).with_request(request))
            }
        }
    }

    /// Reports a rejection for which it is too late to replay the call.
    pub(super) fn reject(&self, status: StatusCode, trailers: &HeaderMap) {
        self.stamp.reject_with(status, trailers.clone());
    }
}

// === impl GracePeriod ===

impl GracePeriod {
    pub(super) fn start<B: Body>(limit: Duration, body: B) -> (Self, RequestBody<B>) {
        if limit.is_zero() {
            return (Self { limit, sending: Weak::new() }, RequestBody::untracked(body));
        }
        let sending = Arc::new(());
        let grace = Self { limit, sending: Arc::downgrade(&sending) };
        (grace, RequestBody::tracked(body, sending))
    }

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
        for yes in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC; charset=utf-8",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/gRPC-Web+thrift; charset=utf-8",
            "application/grpc-web-text",
            "application/grpc-web-text+proto",
        ] {
            assert!(is_grpc(yes), "{yes}");
        }
        for no in [
            "application/grp",
            "application/grpcx",
            "application/grpc-webx",
            "application/grpc-web-texts",
            "application/grpc-we",
            "text/html",
            "",
        ] {
            assert!(!is_grpc(no), "{no}");
        }
        assert!(!super::is_grpc(&HeaderMap::new()));
    }
}
