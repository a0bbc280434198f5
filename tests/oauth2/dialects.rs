//! Requests and answers in other forms than RFC 6749's.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tower_refresh::{
    Credential, RefreshErrorKind,
    oauth2::{ClientAuth, EndpointUrl, RawAnswer, TokenAnswer, TokenEndpoint},
};

use crate::hand::*;

fn with(client: ClientAuth) -> (TokenEndpoint, Log) {
    let (http, log) = http(|| answer(200, GOOD));
    (TokenEndpoint::new(http, EndpointUrl::new(URL).unwrap(), client), log)
}

/// `{"data":{"accessToken":…}}`, and `{"fault":{"code":…}}`.
fn nested(answer: &RawAnswer<'_>) -> TokenAnswer {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    if let Some(code) = body["fault"]["code"].as_str() {
        return TokenAnswer::new().with_error(code).with_description("hush");
    }
    let data = &body["data"];
    let Some(access_token) = data["accessToken"].as_str() else { return TokenAnswer::new() };
    let mut content = TokenAnswer::new().with_access_token(access_token);
    if let Some(refresh_token) = data["refreshToken"].as_str() {
        content = content.with_refresh_token(refresh_token);
    }
    if let Some(milliseconds) = data["expiresInMs"].as_u64() {
        content = content.with_expires_in(Duration::from_millis(milliseconds));
    }
    content
}

#[test]
fn a_nested_answer_in_camel_case_is_read_by_a_closure() {
    let body = r#"{"data":{"accessToken":"at-2","refreshToken":"rt-2","expiresInMs":60000}}"#;
    let token = refresh(answering(200, body).read_answer(nested)).unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("at-2", Some("rt-2")));
    let now = SystemTime::now();
    assert_eq!(token.expires_at(now), Some(now + Duration::from_secs(60)));

    for (code, body, kind) in [
        (200, r#"{"fault":{"code":"invalid_grant"}}"#, RefreshErrorKind::Terminal),
        (400, r#"{"fault":{"code":"invalid_grant"}}"#, RefreshErrorKind::Terminal),
        (400, r#"{"fault":{"code":"slow_down"}}"#, RefreshErrorKind::Transient),
        (200, r#"{"data":{}}"#, RefreshErrorKind::Ambiguous),
        (200, r#"{"data":{"accessToken":""}}"#, RefreshErrorKind::Ambiguous),
        (200, GOOD, RefreshErrorKind::Ambiguous),
        (200, "", RefreshErrorKind::Ambiguous),
        (500, "", RefreshErrorKind::Transient),
    ] {
        let error = refresh(answering(code, body).read_answer(nested)).unwrap_err();
        assert_eq!(error.kind(), kind, "{code} {body}");
        assert!(!all_texts(&error).contains("hush"));
    }
}

#[test]
fn a_form_is_read_where_the_content_type_names_it() {
    let form = |code: u16, body: &'static str| {
        at(http(move || {
            let mut answer = answer(code, body);
            let content_type = "Application/X-WWW-Form-URLEncoded; charset=utf-8".parse().unwrap();
            answer.headers_mut().insert("content-type", content_type);
            answer
        })
        .0)
    };
    let body = "access_token=at%2D2&expires_in=60&refresh_token=rt-2&scope=a+b&token_type=bearer";
    let token = refresh(form(200, body)).unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("at-2", Some("rt-2")));
    for code in [200, 400] {
        let error = refresh(form(code, "error=invalid_grant&error_description=hush")).unwrap_err();
        assert!(error.is_terminal());
        assert!(!all_texts(&error).contains("hush"));
    }
    assert!(refresh(answering(200, body)).is_err());
    let read = |answer: &RawAnswer<'_>| TokenAnswer::from_form(answer.body());
    assert_eq!(refresh(answering(200, body).read_answer(read)).unwrap().access_token(), "at-2");
}

#[test]
fn a_reader_can_be_tested_by_itself() {
    let headers = HeaderMap::new();
    let raw = RawAnswer::new(StatusCode::OK, &headers, br#"{"data":{"accessToken":"hush"}}"#);
    let content = nested(&raw);
    assert_eq!(content.access_token(), Some("hush"));
    assert!(!format!("{content:?} {raw:?}").contains("hush"));
    assert_eq!(TokenAnswer::new().with_error("").error(), None);
}

#[test]
fn a_request_can_be_json() {
    let (endpoint, log) = with(ClientAuth::post("me", CLIENT_SECRET));
    let endpoint =
        endpoint.json_requests(true).scope("a").scope("b").param("quote", "\"\\\n\u{1}ü");
    refresh(endpoint.resource("https://one.example").resource("https://two.example")).unwrap();
    let seen = log.only();
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(
        serde_json::from_str::<Value>(&seen.body).unwrap(),
        serde_json::json!({
            "grant_type": "refresh_token",
            "refresh_token": OLD_REFRESH,
            "scope": "a b",
            "client_id": "me",
            "client_secret": CLIENT_SECRET,
            "quote": "\"\\\n\u{1}ü",
            "resource": ["https://one.example", "https://two.example"],
        })
    );
}

#[test]
fn basic_credentials_can_be_sent_as_they_are() {
    let (endpoint, log) = with(ClientAuth::basic_raw("m e", "a:b%"));
    refresh(endpoint).unwrap();
    let seen = log.only();
    // base64 of `m e:a:b%`
    assert_eq!(seen.header("authorization"), Some("Basic bSBlOmE6YiU="));
    assert!(seen.head.headers["authorization"].is_sensitive());
    assert_eq!((seen.field("client_id"), seen.field("client_secret")), (None, None));
}

#[test]
fn a_request_asks_for_a_connection_of_its_own_unless_told_otherwise() {
    for (keeps_alive, connection) in [(false, Some("close")), (true, None)] {
        let (endpoint, log) = with(me());
        refresh(endpoint.keep_alive(keeps_alive)).unwrap();
        assert_eq!(log.only().header("connection"), connection);
    }
}
