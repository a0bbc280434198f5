//! Origins and URIs, against the crate `url`: a request that gets the credential goes to the origin
//! that the caller has listed.

#![no_main]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{Request, Response, Uri, header::AUTHORIZATION};
use http_body_util::Empty;
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer;
use tower_refresh::{
    Origin, RefreshContext, RefreshError, RefreshLayer, ReplayBody, Session, Token, refresher_fn,
};
use tower_refresh_fuzz::block_on;
use tower_service::Service;
use url::Url;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    origin: &'a str,
    uri: &'a str,
    /// Whether the URI begins with the text of the origin.
    is_near: bool,
}

/// Notes whether a request has the credential.
#[derive(Clone)]
struct Upstream(Arc<AtomicBool>);

fuzz_target!(|input: Input| {
    let Ok(origin) = input.origin.parse::<Origin>() else { return };
    let shown = origin.to_string();
    assert_eq!(shown.parse::<Origin>().expect("an origin is read again"), origin);
    // `url` refuses hosts that look like a wrong IPv4 address. Here they match as they are written.
    let listed = Url::parse(&shown).ok();
    let written = Url::parse(input.origin).ok();
    assert_eq!(written.as_ref().map(Url::origin), listed.as_ref().map(Url::origin));
    if let Some(written) = &written {
        assert!(written.username().is_empty() && written.password().is_none());
    }

    let uri = if input.is_near { format!("{shown}{}", input.uri) } else { input.uri.to_owned() };
    let Ok(uri) = Uri::try_from(uri) else { return };
    if uri.authority().is_none() || uri.scheme().is_none() {
        return;
    }
    if is_sent(origin, &uri) {
        let target = Url::parse(&uri.to_string()).ok();
        assert_eq!(target.map(|target| target.origin()), listed.map(|listed| listed.origin()));
        let host = uri.host().expect("it has an authority").to_ascii_lowercase();
        // An IPv6 address has several spellings.
        assert!(host.starts_with('[') || shown.contains(&host), "{uri} is sent to {shown}");
    }
});

/// Whether a request to this URI gets the credential of a layer for the origin.
fn is_sent(origin: Origin, uri: &Uri) -> bool {
    let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("none")) });
    let session = Session::new(Token::bearer("at-1").expect("it is a token"), refresher);
    let upstream = Upstream(Arc::default());
    let mut client = RefreshLayer::new(session, origin).layer(upstream.clone());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri.clone();
    // A request in cleartext to another machine may fail instead.
    drop(block_on(async { client.call(request).await }));
    upstream.0.load(Ordering::Relaxed)
}

impl Service<Request<ReplayBody<Empty<Bytes>>>> for Upstream {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Empty<Bytes>>>) -> Self::Future {
        self.0.fetch_or(request.headers().contains_key(AUTHORIZATION), Ordering::Relaxed);
        ready(Ok(Response::new(Empty::new())))
    }
}
