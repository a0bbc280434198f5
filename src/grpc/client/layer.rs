use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use crate::{
    credential::{contract::Credential, origin::Origin, token::Token},
    detect::Detect,
    grpc::{
        answer::GrpcAnswer,
        client::{
            convert::{Convert, ConvertBody},
            service::GrpcRefresh,
        },
        compose::refresh_layer,
        layer::TrailersLayer,
        request::RequestBody,
    },
    middleware::layer::RefreshLayer,
    replay::ReplayBody,
    respond::RespondLayer,
    session::handle::Session,
};

/// Keeps the credential of a gRPC client fresh: the one layer that a tonic client needs.
///
/// The layer is a stack of the four layers that a gRPC client needs:
///
/// | layer | does |
/// |---|---|
/// | [`RespondLayer`] with a [`GrpcAnswer`] | turns errors of the session into gRPC statuses |
/// | [`RefreshLayer`] | puts the credential on calls, refreshes it, and replays rejected calls |
/// | [`TrailersLayer`] | detects rejections in trailers |
/// | a conversion | gives the channel the type of body that it takes |
///
/// Its service is a [`GrpcRefresh`]. The [module docs](crate::grpc) have examples. A proxy, whose
/// callers' bodies differ from those of its channel, is built of the parts.
#[must_use]
pub struct GrpcRefreshLayer<B, C = Token> {
    refresh: RefreshLayer<C>,
    trailers: TrailersLayer,
    answer: GrpcAnswer,
    convert: Convert<B>,
}

// === impl GrpcRefreshLayer ===

impl<B, C: Credential> GrpcRefreshLayer<B, C> {
    /// Creates a layer for a channel to `origin`, which is the only one that gets the credential.
    ///
    /// A generated client sends URIs without an authority, which the channel completes by its own
    /// address. The layer has to be told that address: an origin that is `http://…` is the
    /// permission to send the credential in cleartext.
    ///
    /// `body` makes a body of the type `B` that both the client and the channel use. For tonic it
    /// is `tonic::body::Body::new`, whichever version of tonic that is.
    pub fn new(
        session: Session<C>,
        origin: Origin,
        body: fn(RequestBody<ReplayBody<B>>) -> B,
    ) -> Self {
        Self {
            refresh: refresh_layer(session, origin),
            trailers: TrailersLayer::new(),
            answer: GrpcAnswer::new(),
            convert: body,
        }
    }

    /// Sets the detector of rejections, in heads and in trailers. Default: status 16
    /// (UNAUTHENTICATED), and a plain HTTP 401.
    ///
    /// ```
    /// use tonic::body::Body;
    /// use tower_refresh::{
    ///     Origin, Session,
    ///     detect::{Detect, GrpcUnauthenticated, Verdict, detect_fn},
    ///     grpc::GrpcRefreshLayer,
    ///     head::ResponseHead,
    /// };
    ///
    /// /// etcd answers INVALID_ARGUMENT to a token from before a change of its users.
    /// fn etcd(response: &ResponseHead<'_>) -> Verdict {
    ///     let message = response.headers().get("grpc-message");
    ///     if message.is_some_and(|text| text == "etcdserver: revision of auth store is old") {
    ///         Verdict::Rejected
    ///     } else {
    ///         GrpcUnauthenticated.inspect(response)
    ///     }
    /// }
    ///
    /// # fn layer(session: Session) -> GrpcRefreshLayer<Body> {
    /// let origin = Origin::from_static("https://etcd.example.com:2379");
    /// let layer = GrpcRefreshLayer::new(session, origin, Body::new).detect(detect_fn(etcd));
    /// # layer }
    /// ```
    pub fn detect(self, detect: impl Detect) -> Self {
        self.configure(|refresh| refresh.detect(detect))
    }

    /// The time for which the headers of a response are held until the frame after them. See
    /// [`TrailersLayer::grace`].
    pub fn grace(mut self, grace: Duration) -> Self {
        self.trailers = self.trailers.grace(grace);
        self
    }

    /// Sets how errors of the session become gRPC statuses. Default: with the causes that the
    /// refresher gave, for the client's own program.
    pub fn answer(mut self, answer: GrpcAnswer) -> Self {
        self.answer = answer;
        self
    }

    /// Changes settings of the [`RefreshLayer`].
    ///
    /// A [detector](RefreshLayer::detect) that `settings` sets also inspects trailers, as with
    /// [`detect`](Self::detect). The layer [exposes its stamp](RefreshLayer::expose_stamp) whatever
    /// `settings` says, because the detection of trailers needs it.
    ///
    /// ```
    /// use tonic::body::Body;
    /// use tower_refresh::{Origin, Session, grpc::GrpcRefreshLayer};
    ///
    /// # fn layer(session: Session) -> GrpcRefreshLayer<Body> {
    /// let origin = Origin::from_static("https://api.example.com");
    /// let layer = GrpcRefreshLayer::new(session, origin, Body::new)
    ///     .configure(|refresh| refresh.replay_limit(1024 * 1024));
    /// # layer }
    /// ```
    pub fn configure<F>(mut self, settings: F) -> Self
    where
        F: FnOnce(RefreshLayer<C>) -> RefreshLayer<C>,
    {
        let before = self.refresh.detector().clone();
        self.refresh = settings(self.refresh).expose_stamp(true);
        let detect = self.refresh.detector();
        if !Arc::ptr_eq(detect, &before) {
            self.trailers = self.trailers.detect_by(detect.clone());
        }
        self
    }
}

impl<S, B, C: Credential> Layer<S> for GrpcRefreshLayer<B, C> {
    type Service = GrpcRefresh<S, B, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let channel = self.trailers.layer(ConvertBody { inner, convert: self.convert });
        let answering = RespondLayer::new(self.answer).layer(self.refresh.layer(channel));
        GrpcRefresh::new(answering)
    }
}

impl<B, C> Clone for GrpcRefreshLayer<B, C> {
    fn clone(&self) -> Self {
        Self {
            refresh: self.refresh.clone(),
            trailers: self.trailers.clone(),
            answer: self.answer,
            convert: self.convert,
        }
    }
}

impl<B, C> fmt::Debug for GrpcRefreshLayer<B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcRefreshLayer")
            .field("refresh", &self.refresh)
            .field("trailers", &self.trailers)
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}
