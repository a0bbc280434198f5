//! The settings of a client apply below the layer.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use reqwest::{ClientBuilder, Proxy};

use crate::{
    in_time,
    outcome::Outcome,
    server::Server,
    way::{GOOD, WAYS, WAYS_WITH_HOPS},
};

/// Sends one request in each way, with a client of these settings. The ways have to agree.
async fn outcome_of(settings: impl Fn(ClientBuilder, &Server) -> ClientBuilder) -> Outcome {
    let mut expected: Option<Outcome> = None;
    for way in WAYS {
        let (api, other) = (Server::accepting(GOOD).await, Server::accepting(GOOD).await);
        let sender = way.with(&[&api], |builder| settings(builder, &other));
        let result = sender.send(sender.http.post(api.url("/echo")).body("a body")).await;
        let outcome = Outcome::of(result, &[&api, &other]).await;
        match &expected {
            None => expected = Some(outcome),
            Some(expected) => assert_eq!(&outcome, expected, "{way:?}"),
        }
    }
    expected.unwrap()
}

#[tokio::test]
async fn default_headers_and_the_user_agent_are_sent() {
    in_time(async {
        let outcome = outcome_of(|builder, _| {
            let headers = HeaderMap::from_iter([
                (http::header::ACCEPT, HeaderValue::from_static("text/plain")),
                (http::HeaderName::from_static("x-app"), HeaderValue::from_static("test")),
            ]);
            builder.default_headers(headers).user_agent("tower-refresh")
        })
        .await;
        let seen = &outcome.accepted[0][0];
        assert!(
            seen.contains("test") && seen.contains("tower-refresh") && seen.contains("text/plain")
        );
    })
    .await;
}

#[tokio::test]
async fn a_proxy_gets_the_requests() {
    in_time(async {
        let outcome =
            outcome_of(|builder, other| builder.proxy(Proxy::http(other.url("")).unwrap())).await;
        assert_eq!(outcome.accepted.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
    })
    .await;
}

#[tokio::test]
async fn a_host_resolves_as_the_client_was_told() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            // The layer lists `127.0.0.1`, so that the caller puts the token on this request.
            let address = server.address;
            let sender =
                way.with(&[&server], |builder| builder.resolve("api.example.com", address));
            let url = format!("http://api.example.com:{}/echo", address.port());
            let get = sender.http.get(&url).bearer_auth(GOOD);
            let response = sender.send_unchanged(get).await.unwrap();
            assert_eq!((response.status().as_u16(), response.url().as_str()), (200, &*url));
        }
    })
    .await;
}

#[tokio::test]
async fn only_https_is_an_error_of_the_client() {
    in_time(async {
        let outcome = outcome_of(|builder, _| builder.https_only(true)).await;
        assert_eq!(outcome.answer, Err("redirect"));
        assert_eq!(outcome.accepted, [[""; 0]; 2]);
    })
    .await;
}

#[tokio::test]
async fn a_read_time_out_ends_a_slow_body() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let limit = Duration::from_millis(300);
            let sender = way.with(&[&server], |builder| builder.read_timeout(limit));
            let response = sender.send(sender.http.get(server.url("/slow-body"))).await.unwrap();
            assert!(response.bytes().await.unwrap_err().is_timeout(), "{way:?}");
        }
    })
    .await;
}

/// The one setting that is lost.
#[tokio::test]
async fn referer_off_is_lost_above_the_layer() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], |builder| builder.referer(false));
            let get = sender.http.get(server.url("/302//echo"));
            sender.send(get).await.unwrap();
            let seen = server.accepted().pop().unwrap();
            let is_lost = WAYS_WITH_HOPS.contains(&way);
            assert_eq!(seen.headers.contains_key("referer"), is_lost, "{way:?}");
        }
    })
    .await;
}
