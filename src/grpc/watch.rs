use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http::{HeaderMap, Response, header::CONTENT_TYPE};
use http_body::Body;

use crate::{grpc::request::RequestBody, middleware::extension::Stamp};

/// What is remembered of a call of the session until its response comes.
pub(super) struct Watch {
    pub(super) stamp: Stamp,
    pub(super) grace: Grace,
}

/// How long the headers may be held back.
pub(super) struct Grace {
    limit: Duration,
    /// Alive while the call is sending.
    sending: Weak<()>,
}

/// Whether there is anything to look for after the head: a gRPC response that hasn't had its status
/// yet.
pub(super) fn is_of_interest<B: Body>(response: &Response<B>) -> bool {
    let headers = response.headers();
    is_grpc(headers) && !headers.contains_key("grpc-status") && !response.body().is_end_stream()
}

/// `application/grpc`, `application/grpc+proto`, `application/grpc; charset=…`. Not gRPC-Web, whose
/// trailers are data.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    content_type.and_then(|value| value.split_at_checked(NAME.len())).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

// === impl Watch ===

impl Watch {
    pub(super) fn new<B: Body>(stamp: Stamp, limit: Duration, body: B) -> (Self, RequestBody<B>) {
        if limit.is_zero() {
            let grace = Grace { limit, sending: Weak::new() };
            return (Self { stamp, grace }, RequestBody::unfollowed(body));
        }
        let sending = Arc::new(());
        let grace = Grace { limit, sending: Arc::downgrade(&sending) };
        (Self { stamp, grace }, RequestBody::followed(body, sending))
    }
}

// === impl Grace ===

impl Grace {
    /// None for a call that is still sending: its client may wait for the headers before it goes
    /// on.
    pub(super) fn limit(&self) -> Option<Duration> {
        let is_over = self.sending.strong_count() == 0;
        (is_over && !self.limit.is_zero()).then_some(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
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
