//! tower-http: the whole stack in the documented order.
//!
//! ```sh
//! cargo add tower-refresh bytes http http-body-util
//! cargo add hyper-util --features client-legacy,http1,tokio
//! cargo add tower --features limit,timeout,util
//! cargo add tower-http --features follow-redirect,set-header,trace
//! ```

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{
    BoxError, ServiceBuilder, limit::ConcurrencyLimitLayer, timeout::TimeoutLayer,
    util::BoxCloneSyncService,
};
use tower_http::{
    follow_redirect::FollowRedirectLayer, set_header::SetRequestHeaderLayer, trace::TraceLayer,
};
use tower_refresh::{Origin, RefreshLayer, Session};

pub type Api =
    BoxCloneSyncService<Request<Full<Bytes>>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// From the outside in: one deadline a request, redirects, the refresh, and below it what each
/// attempt passes through.
pub fn client(session: Session, api: Origin) -> Api {
    let user_agent = HeaderValue::from_static("my-service/1.0");
    ServiceBuilder::new()
        .layer(BoxCloneSyncService::layer())
        .map_response(|response: Response<_>| {
            response.map(|body| BodyExt::map_err(body, BoxError::from).boxed_unsync())
        })
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(FollowRedirectLayer::new())
        .layer(RefreshLayer::new(session, api))
        .layer(SetRequestHeaderLayer::if_not_present(USER_AGENT, user_agent))
        .layer(TraceLayer::new_for_http())
        .layer(ConcurrencyLimitLayer::new(64))
        .service(Client::builder(TokioExecutor::new()).build_http())
}
