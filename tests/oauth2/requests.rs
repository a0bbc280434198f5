//! Requests to a token endpoint.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::{Method, header::AUTHORIZATION};
use tower_refresh::{
    RefreshContext, RefreshErrorKind, Refresher, Token,
    extension::Anonymous,
    oauth2::{ClientAuth, EndpointUrl, RefreshTokenGrant, TokenEndpoint},
    refresher::Cause,
};

use crate::hand::*;

fn with(client: ClientAuth) -> (TokenEndpoint, Log) {
    let (http, log) = http(|| answer(200, GOOD));
    (TokenEndpoint::new(http, EndpointUrl::new(URL).unwrap(), client), log)
}

#[test]
fn a_refresh_token_is_posted_as_a_form() {
    let (endpoint, log) = with(me());
    refresh(endpoint).unwrap();
    let seen = log.only();
    assert_eq!(
        (seen.head.method.clone(), seen.head.uri.to_string()),
        (Method::POST, URL.to_owned())
    );
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(seen.header("accept"), Some("application/json"));
    assert_eq!(seen.field("grant_type").as_deref(), Some("refresh_token"));
    assert_eq!(seen.field("refresh_token").as_deref(), Some(OLD_REFRESH));
    assert_eq!(seen.field("scope"), None);
    assert!(
        seen.head.extensions.get::<Anonymous>().is_some(),
        "a client that uses the session lets the request pass"
    );
}

#[test]
fn client_credentials_send_no_token() {
    let (endpoint, log) = with(me());
    let token = obtain(endpoint.scope("read").scope("write")).unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), (NEW_ACCESS, None));
    let seen = log.only();
    assert_eq!(seen.field("grant_type").as_deref(), Some("client_credentials"));
    assert_eq!(seen.field("scope").as_deref(), Some("read write"));
    assert_eq!(seen.field("refresh_token"), None);
}

#[test]
fn scopes_resources_audience_and_parameters_are_sent() {
    let (endpoint, log) = with(me());
    let endpoint = endpoint.scope("a").scope("b").audience("api").param("tenant", "ä & ö");
    refresh(endpoint.resource("https://one.example").resource("https://two.example")).unwrap();
    let seen = log.only();
    assert_eq!(seen.field("scope").as_deref(), Some("a b"));
    assert_eq!(seen.field("audience").as_deref(), Some("api"));
    assert_eq!(seen.fields("resource"), ["https://one.example", "https://two.example"]);
    assert_eq!(seen.field("tenant").as_deref(), Some("ä & ö"));
}

#[test]
fn basic_authentication_is_in_a_sensitive_header_only() {
    let (endpoint, log) = with(ClientAuth::basic("m e", "a:b%"));
    refresh(endpoint).unwrap();
    let seen = log.only();
    // base64 of `m+e:a%3Ab%25`: form encoded first (RFC 6749 §2.3.1)
    assert_eq!(seen.header("authorization"), Some("Basic bStlOmElM0FiJTI1"));
    assert!(seen.head.headers[AUTHORIZATION].is_sensitive());
    assert_eq!((seen.field("client_id"), seen.field("client_secret")), (None, None));
}

#[test]
fn post_authentication_is_in_the_body_only() {
    let (endpoint, log) = with(ClientAuth::post("me", CLIENT_SECRET));
    obtain(endpoint).unwrap();
    let seen = log.only();
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.field("client_id").as_deref(), Some("me"));
    assert_eq!(seen.field("client_secret").as_deref(), Some(CLIENT_SECRET));
}

#[test]
fn a_public_client_sends_its_name_only() {
    let (endpoint, log) = with(ClientAuth::public("me"));
    refresh(endpoint).unwrap();
    let seen = log.only();
    assert_eq!((seen.header("authorization"), seen.field("client_secret")), (None, None));
    assert_eq!(seen.field("client_id").as_deref(), Some("me"));
}

#[test]
fn an_assertion_is_made_anew_for_each_request() {
    let made = Arc::new(AtomicUsize::new(0));
    let client =
        ClientAuth::assertion("me", move || Ok(format!("jwt-{}", made.fetch_add(1, SeqCst))));
    for n in 0..2 {
        let (http, log) = http(|| answer(200, GOOD));
        refresh(TokenEndpoint::new(http, EndpointUrl::new(URL).unwrap(), client.clone())).unwrap();
        let seen = log.only();
        assert_eq!(seen.field("client_assertion"), Some(format!("jwt-{n}")));
        let kind = seen.field("client_assertion_type");
        assert_eq!(kind.as_deref(), Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        assert_eq!(seen.header("authorization"), None);
    }
}

#[test]
fn without_an_assertion_nothing_is_sent_and_the_failure_is_transient() {
    let (endpoint, log) =
        with(ClientAuth::assertion("me", || Err("the key store is locked".into())));
    let error = refresh(endpoint).unwrap_err();
    assert_eq!((error.kind(), log.len()), (RefreshErrorKind::Transient, 0));
}

#[tokio::test]
async fn an_assertion_comes_from_an_async_closure_or_from_a_file_for_each_request() {
    let path = std::env::temp_dir().join(format!("assertion-{}", std::process::id()));
    let made = Arc::new(AtomicUsize::new(0));
    let sign = move || {
        let number = made.fetch_add(1, SeqCst);
        async move {
            tokio::task::yield_now().await;
            Ok(format!("jwt-{number}"))
        }
    };
    let clients =
        [ClientAuth::assertion_async("me", sign), ClientAuth::assertion_file("me", &path)];
    for client in clients {
        for n in 0..2 {
            std::fs::write(&path, format!("jwt-{n}\n")).unwrap();
            let (endpoint, log) = with(client.clone());
            let context = RefreshContext::new(Cause::Rejected).with_current(Arc::new(stale()));
            RefreshTokenGrant::new(endpoint).refresh(context).await.unwrap();
            assert_eq!(log.only().field("client_assertion"), Some(format!("jwt-{n}")));
        }
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn without_a_file_or_a_signature_nothing_is_sent_and_the_failure_is_transient() {
    let missing = std::env::temp_dir().join("tower-refresh/there/is/no/assertion");
    let clients = [
        ClientAuth::assertion_async("me", || async { Err("the key service is down".into()) }),
        ClientAuth::assertion_file("me", missing),
        ClientAuth::assertion_file("me", std::env::temp_dir()),
    ];
    for client in clients {
        let (endpoint, log) = with(client);
        let context = RefreshContext::new(Cause::Rejected).with_current(Arc::new(stale()));
        let error = RefreshTokenGrant::new(endpoint).refresh(context).await.unwrap_err();
        assert_eq!((error.kind(), log.len()), (RefreshErrorKind::Transient, 0));
    }
}

#[test]
fn without_a_refresh_token_nothing_is_sent_and_the_login_is_over() {
    for current in [None, Some(Token::bearer("at").unwrap())] {
        let (endpoint, log) = with(me());
        let mut context = RefreshContext::new(Cause::Rejected);
        if let Some(token) = current {
            context = context.with_current(Arc::new(token));
        }
        let error = now(RefreshTokenGrant::new(endpoint).refresh(context)).unwrap_err();
        assert_eq!((error.kind(), log.len()), (RefreshErrorKind::Terminal, 0));
    }
}

#[test]
fn urls_that_would_leak_secrets_are_refused() {
    for url in [
        "https://a.example/t",
        "https://a.example/t?x=1",
        "http://127.0.0.1:1/t",
        "http://localhost/t",
    ] {
        assert!(EndpointUrl::new(url).is_ok(), "{url}");
    }
    for url in [
        "",
        "token",
        "/token",
        "ftp://a.example",
        "http://a.example/t",
        "https://a.example/t#f",
        "https://hush@a.example/t",
        "https://u:hush@a.example/t",
        "http://localhost.example/t",
    ] {
        let error = EndpointUrl::new(url).unwrap_err();
        assert!(!all_texts(&error).contains("hush"), "{url}");
    }
    assert!(EndpointUrl::allow_cleartext("http://a.example/t").is_ok());
    assert!(EndpointUrl::allow_cleartext("ftp://a.example/t").is_err());
}
