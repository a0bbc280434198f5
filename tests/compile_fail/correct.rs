//! A client as it should be.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_refresh::{
    Origin, RefreshContext, RefreshLayer, ReplayBody, Session, Token, detect::detect_fn,
    refresher_fn,
};

fn main() {
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let refresher = refresher_fn(|context: RefreshContext| async move {
        drop(context);
        Ok(Token::bearer("at-2")?)
    });
    let session = Session::new(Token::bearer("at-1").expect("a valid token"), refresher);
    let client = RefreshLayer::new(session, Origin::from_static("https://api.example.com"))
        .detect(detect_fn(|response| response.status() == 419))
        .layer(inner);
    drop(client.oneshot(Request::new(Full::<Bytes>::default())));
}
