use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tower::{BoxError, Layer};
use tower_refresh::{
    Origins, RefreshContext, RefreshError, RefreshLayer, Session, Token, refresher_fn,
};

use crate::{
    issuer::{IssueError, LIFETIME},
    peer::{Client, Environment, Peer},
    stack::{self, ServiceClient, UpstreamRequest, UpstreamService},
    upstream::{ANOTHER_USER, Upstream},
};

/// The layer of tower-refresh.
pub(crate) struct TowerRefresh;

/// A body that arrives over time.
type Stream = UnsyncBoxBody<Bytes, Infallible>;

/// The number of parts of a streamed upload.
const PARTS: usize = 4;
/// The time between two parts.
const PAUSE: Duration = Duration::from_millis(20);

// === impl TowerRefresh ===

impl Peer for TowerRefresh {
    const CRATE: &'static str = "tower-refresh";
    const PART: &'static str = "`RefreshLayer`";
    const UPLOAD: &'static str = "streamed";

    type Request = UpstreamRequest;
    type Upload = Request<Stream>;

    fn request() -> UpstreamRequest {
        stack::request()
    }

    fn upload(content: Bytes) -> Request<Stream> {
        let size = content.len() / PARTS;
        let parts = (0..PARTS).map(move |part| content.slice(part * size..(part + 1) * size));
        let frames = stream::iter(parts).then(|part| async {
            tokio::time::sleep(PAUSE).await;
            Ok(Frame::data(part))
        });
        stack::upload_of(StreamBody::new(frames).boxed_unsync())
    }

    async fn client(
        environment: &Environment,
    ) -> Result<impl Client<UpstreamRequest> + Client<Request<Stream>>, BoxError> {
        let issuer = environment.issuer.clone();
        let refresher = refresher_fn(move |_: RefreshContext| {
            let issuer = issuer.clone();
            async move {
                let issued = issuer.issue().await.map_err(|error| match error {
                    IssueError::Unavailable => {
                        RefreshError::from_status(StatusCode::SERVICE_UNAVAILABLE)
                    }
                    IssueError::Refused => RefreshError::terminal(error),
                })?;
                let lifetime = if issued.has_expired { Duration::ZERO } else { LIFETIME };
                Ok(Token::bearer(issued.token)?.with_expires_in(lifetime))
            }
        });
        let session = Session::builder(refresher).acquire_on_demand(true).build();
        environment.account.offer_log_out({
            let session = session.clone();
            || Box::pin(async move { drop(session.logout()) })
        });
        environment.account.offer_switch_user({
            let session = session.clone();
            || {
                let token = Token::bearer(ANOTHER_USER).expect("it is a token");
                Box::pin(async move {
                    session.login(token);
                })
            }
        });
        Ok(ServiceClient(
            RefreshLayer::new(session, Origins::any())
                .layer(UpstreamService::new(environment.upstream.clone())),
        ))
    }

    fn bare(upstream: Upstream) -> impl Client<UpstreamRequest> {
        ServiceClient(UpstreamService::new(upstream))
    }
}
