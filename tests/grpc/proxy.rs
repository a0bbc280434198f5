//! The gRPC proxy of the module docs, between a tonic client and a tonic server.

use http::{Request, Uri, uri::PathAndQuery};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tower::{ServiceBuilder, ServiceExt};
use tower_refresh::{
    Origin, RefreshError, Session,
    grpc::{self, GrpcAnswer, TrailersLayer},
    respond::RespondLayer,
};

use crate::{
    client::{EchoClient, KINDS, LONG, call, expected, note},
    echo::Echo,
    in_time,
    issuer::Issuer,
};

#[tokio::test]
async fn callers_of_a_proxy_do_not_see_rejections() {
    in_time(async {
        for kind in KINDS {
            for reject in ["head", "trailers", "401"] {
                let issuer = Issuer::default();
                let server = Echo::listen(&issuer).await;
                let proxy = Proxy::listen(server.uri(), &issuer.expired_session()).await;
                let answer = call(&mut EchoClient::new(proxy.channel.clone()), kind, reject).await;
                assert_eq!(answer.unwrap(), expected(kind), "{kind}, {reject}");
                assert_eq!((issuer.refreshes(), server.seen().len()), (1, 2), "{kind}, {reject}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_bidirectional_call_passes_message_by_message() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let proxy = Proxy::listen(server.uri(), &issuer.expired_session()).await;
        let (say, said) = mpsc::unbounded_channel();
        let said = tonic::Request::new(UnboundedReceiverStream::new(said));
        let mut client = EchoClient::new(proxy.channel.clone());
        let mut heard = client.talk(said).await.unwrap().into_inner();
        for text in ["one", "two"] {
            say.send(note(text)).unwrap();
            assert_eq!(heard.next().await.unwrap().unwrap().text, text);
        }
        issuer.expire();
        say.send(note("three")).unwrap();
        assert_eq!(heard.next().await.unwrap().unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(call(&mut client, "unary", "head").await.unwrap(), expected("unary"));
        assert_eq!(issuer.refreshes(), 2);
    })
    .await;
}

#[tokio::test]
async fn callers_of_a_proxy_get_a_status_and_no_cause() {
    in_time(async {
        let failures = [
            (RefreshError::terminal("at auth.internal"), Code::Unauthenticated),
            (RefreshError::transient("at auth.internal"), Code::Unavailable),
        ];
        for (failure, code) in failures {
            let issuer = Issuer::default();
            issuer.fail(failure);
            let server = Echo::listen(&issuer).await;
            let proxy = Proxy::listen(server.uri(), &issuer.expired_session()).await;
            let mut client = EchoClient::new(proxy.channel.clone());
            let status = call(&mut client, "unary", "head").await.unwrap_err();
            assert_eq!(status.code(), code);
            assert!(
                !status.message().is_empty() && !status.message().contains("internal"),
                "{status:?}"
            );
        }
    })
    .await;
}

// === helpers ===

struct Proxy {
    channel: Channel,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn listen(upstream: &str, session: &Session) -> Self {
        let origin = Origin::try_from(upstream).unwrap();
        let authority = upstream.parse::<Uri>().unwrap().into_parts().authority.unwrap();
        let to_upstream = move |mut request: Request<Incoming>| {
            let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
            let uri =
                Uri::builder().scheme("http").authority(authority.clone()).path_and_query(path);
            *request.uri_mut() = uri.build().unwrap();
            request
        };
        let proxy = ServiceBuilder::new()
            .map_request(to_upstream)
            .layer(RespondLayer::new(GrpcAnswer::new().causes(false)))
            .layer(grpc::refresh_layer(session.clone(), origin).overwrite(true))
            .layer(TrailersLayer::new().grace(LONG))
            .service(Client::builder(TokioExecutor::new()).http2_only(true).build_http());

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let proxy = proxy.clone();
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(
                    TokioIo::new(socket),
                    service_fn(move |request| proxy.clone().oneshot(request)),
                ));
            }
        });
        Self { channel: Endpoint::from_shared(uri).unwrap().connect_lazy(), task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
