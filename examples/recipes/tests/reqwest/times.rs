//! The time-out of a request.

use std::{future, time::Duration};

use reqwest::Client;
use tower::Layer;
use tower_refresh::{
    Origin, RefreshContext, RefreshError, RefreshLayer, Session, Token, refresher_fn,
    reqwest::{ClientService, RefreshMiddleware, SendError, SendThrough},
};

use crate::{
    in_time,
    server::Server,
    way::{GOOD, WAYS},
};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_slow_head_times_out() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let sender = way.to(&server);
            let url = server.url("/slow-head");
            let error = sender.send(sender.http.get(&url).timeout(SHORT)).await.unwrap_err();
            let error = error.downcast::<reqwest::Error>().unwrap();
            assert!(error.is_timeout(), "{way:?}: {error:?}");
            assert_eq!(error.url().unwrap().as_str(), url, "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_body_times_out() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let sender = way.to(&server);
            let get = sender.http.get(server.url("/slow-body")).timeout(SHORT);
            let error = sender.send(get).await.unwrap().bytes().await.unwrap_err();
            assert!(error.is_timeout(), "{way:?}: {error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_time_out_of_the_client_applies_to_each_attempt() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], |builder| builder.timeout(SHORT));
            let error = sender.send(sender.http.get(server.url("/slow-head"))).await.unwrap_err();
            assert!(error.downcast::<reqwest::Error>().unwrap().is_timeout(), "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_time_out_of_a_request_includes_the_wait_for_a_refresh() {
    in_time(async {
        let server = Server::accepting(GOOD).await;
        let refresher =
            refresher_fn(|_: RefreshContext| future::pending::<Result<Token, RefreshError>>());
        let session = Session::new(Token::bearer("at-1").unwrap(), refresher);
        let layer = RefreshLayer::new(session.clone(), Origin::try_from(&*server.url("")).unwrap());

        let service = ClientService::new(Client::builder()).unwrap();
        let get = service.client().get(server.url("/user")).timeout(SHORT);
        let error = get.send_through(&layer.layer(service.clone())).await.unwrap_err();
        let error = error.downcast::<SendError>().unwrap();
        assert!(error.is_timeout() && !error.is_redirect());
        assert_eq!(error.url().as_str(), server.url("/user"));
        assert_eq!(session.waiters(), 0);

        let client = reqwest_middleware::ClientBuilder::new(Client::new())
            .with(RefreshMiddleware::new(layer))
            .build();
        let error = client.get(server.url("/user")).timeout(SHORT).send().await.unwrap_err();
        let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error:?}") };
        assert!(error.downcast::<SendError>().unwrap().is_timeout());
        assert_eq!(session.waiters(), 0);
    })
    .await;
}
