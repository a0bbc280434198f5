use std::{
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    credential::{contract::Credential, token::Token},
    error::BoxError,
    grpc::{
        answer::GrpcAnswer,
        client::{convert::ConvertBody, future::GrpcResponseFuture},
        response::ResponseBody,
        service::Trailers,
    },
    middleware::service::Refresh,
    respond::{AnswerBody, Respond},
};

/// The service of a [`GrpcRefreshLayer`](crate::grpc::GrpcRefreshLayer) around a channel `S`, whose
/// requests have bodies of the type `B`.
///
/// The type can be named, so a struct keeps a generated client without a box:
///
/// ```
/// use tonic::{body::Body, client::GrpcService, transport::Channel};
/// use tower::Layer;
/// use tower_refresh::{Origin, Session, grpc::{GrpcRefresh, GrpcRefreshLayer}};
///
/// # #[derive(Clone)]
/// # struct GreeterClient<T>(T);
/// # impl<T: GrpcService<Body>> GreeterClient<T> { fn new(channel: T) -> Self { Self(channel) } }
/// #[derive(Clone)]
/// struct App {
///     greeter: GreeterClient<GrpcRefresh<Channel, Body>>,
/// }
///
/// fn app(session: Session, channel: Channel) -> App {
///     let api = Origin::from_static("https://api.example.com");
///     let layer = GrpcRefreshLayer::new(session, api, Body::new);
///     App { greeter: GreeterClient::new(layer.layer(channel)) }
/// }
/// ```
///
/// A box hides the type where several kinds of channels are in use:
///
/// ```
/// use tonic::{body::Body, client::GrpcService, transport::Channel};
/// use tower::{BoxError, ServiceBuilder, util::BoxCloneSyncService};
/// use tower_refresh::{Origin, Session, grpc::GrpcRefreshLayer};
///
/// type BoxChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>;
///
/// fn channel(session: Session, channel: Channel) -> BoxChannel {
///     let api = Origin::from_static("https://api.example.com");
///     ServiceBuilder::new()
///         .layer(BoxCloneSyncService::layer())
///         .map_response(|response: http::Response<_>| response.map(Body::new))
///         .layer(GrpcRefreshLayer::new(session, api, Body::new))
///         .service(channel)
/// }
/// ```
///
/// # Cancel safety
///
/// A [`GrpcResponseFuture`] may be dropped at any time.
pub struct GrpcRefresh<S, B, C = Token> {
    stack: Stack<S, B, C>,
}

/// The service as it is composed.
type Stack<S, B, C> = Respond<Refresh<Trailers<ConvertBody<S, B>>, C>, GrpcAnswer>;

// === impl GrpcRefresh ===

impl<S, B, C> GrpcRefresh<S, B, C> {
    pub(super) fn new(stack: Stack<S, B, C>) -> Self {
        Self { stack }
    }

    /// A reference to the channel.
    pub fn get_ref(&self) -> &S {
        &self.stack.get_ref().get_ref().get_ref().inner
    }

    /// A mutable reference to the channel. See [`Refresh::get_mut`].
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stack.get_mut().get_mut().get_mut().inner
    }

    /// Consumes this service and returns the channel.
    pub fn into_inner(self) -> S {
        self.stack.into_inner().into_inner().into_inner().inner
    }
}

impl<S, B, C, ResBody> Service<Request<B>> for GrpcRefresh<S, B, C>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes> + Unpin,
{
    type Response = Response<AnswerBody<ResponseBody<ResBody>>>;
    type Error = BoxError;
    type Future = GrpcResponseFuture<S, B, C, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        GrpcResponseFuture::new(self.stack.call(request))
    }
}

impl<S: Clone, B, C: Credential> Clone for GrpcRefresh<S, B, C> {
    fn clone(&self) -> Self {
        Self { stack: self.stack.clone() }
    }
}

impl<S: fmt::Debug, B, C> fmt::Debug for GrpcRefresh<S, B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcRefresh").field("channel", self.get_ref()).finish_non_exhaustive()
    }
}
