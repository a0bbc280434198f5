//! Refusals of a token endpoint, and their kinds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use tower_refresh::{
    ErrorKind, RefreshContext,
    RefreshErrorKind::{self, Ambiguous, Terminal, Transient},
    Refresher, Session, Token,
    oauth2::{
        Classify, ClientCredentialsGrant, DefaultClassify, RefreshTokenGrant, Refusal, classify_fn,
    },
    refresher::Cause,
};

use crate::hand::*;

const WAF: &str = "<!DOCTYPE html><title>Request blocked</title>";

/// Answers of real servers, and one for each rule of `DefaultClassify`.
const VENDORS: &[(&str, u16, &str, RefreshErrorKind)] = &[
    ("RFC 6749", 400, r#"{"error":"invalid_grant"}"#, Terminal),
    (
        "with the wrong status",
        401,
        r#"{"error":"invalid_grant","error_description":"Token is not active"}"#,
        Terminal,
    ),
    ("Okta, 403", 403, r#"{"error":"invalid_grant"}"#, Terminal),
    (
        "GitHub",
        200,
        r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired.","error_uri":"https://docs.github.com"}"#,
        Terminal,
    ),
    ("GitHub's invalid_client", 200, r#"{"error":"incorrect_client_credentials"}"#, Transient),
    ("Slack", 200, r#"{"ok":false,"error":"invalid_refresh_token"}"#, Terminal),
    (
        "200, and a grant that is over",
        200,
        r#"{"error":"invalid_grant","access_token":"at"}"#,
        Terminal,
    ),
    ("a firewall's page", 403, WAF, Transient),
    ("a firewall's page, 401", 401, WAF, Transient),
    ("a page behind blanks", 403, "\u{feff}\r\n <html>no</html>", Transient),
    ("a page as XML", 401, "<?xml version='1.0'?><Error/>", Transient),
    ("a text", 403, "Forbidden", Terminal),
    (
        "Salesforce",
        400,
        r#"{"error":"invalid_grant","error_description":"token request is already being processed"}"#,
        Transient,
    ),
    (
        "Salesforce, expired",
        400,
        r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#,
        Terminal,
    ),
    (
        "a token that was processed before",
        400,
        r#"{"error":"invalid_grant","error_description":"token has already been processed"}"#,
        Terminal,
    ),
    (
        "PHP's notice before an error",
        400,
        "<br />\n<b>Notice</b>: x\n{\"error\":\"invalid_grant\"}",
        Terminal,
    ),
    ("an empty 401", 401, "", Terminal),
    ("an empty 403", 403, "", Terminal),
    (
        "Spring's 401",
        401,
        r#"{"timestamp":1,"status":401,"error":"Unauthorized","path":"/token"}"#,
        Terminal,
    ),
    ("an error object", 401, r#"{"error":{"message":"expired"}}"#, Terminal),
    ("Auth0", 403, r#"{"error":"access_denied"}"#, Terminal),
    ("the client's name or secret", 401, r#"{"error":"invalid_client"}"#, Transient),
    ("the client's name or secret, 400", 400, r#"{"error":"invalid_client"}"#, Transient),
    ("the client's name or secret, 403", 403, r#"{"error":"invalid_client"}"#, Transient),
    ("a client that may not", 400, r#"{"error":"unauthorized_client"}"#, Transient),
    ("a client that may not, 401", 401, r#"{"error":"unauthorized_client"}"#, Transient),
    ("our own mistake", 400, r#"{"error":"invalid_request"}"#, Transient),
    ("our own scope", 400, r#"{"error":"invalid_scope"}"#, Transient),
    ("RFC 8707", 400, r#"{"error":"invalid_target"}"#, Transient),
    ("a server that does not refresh", 400, r#"{"error":"unsupported_grant_type"}"#, Transient),
    ("overload, as an error", 400, r#"{"error":"temporarily_unavailable"}"#, Transient),
    ("overload, 401", 401, r#"{"error":"temporarily_unavailable"}"#, Transient),
    ("overload", 503, r#"{"error":"temporarily_unavailable"}"#, Transient),
    ("RFC 8628", 400, r#"{"error":"slow_down"}"#, Transient),
    ("RFC 8628, 403", 403, r#"{"error":"slow_down"}"#, Transient),
    ("broken, with a code", 500, r#"{"error":"invalid_grant"}"#, Transient),
    ("broken on the way, with a code", 502, r#"{"error":"invalid_grant"}"#, Transient),
    ("broken, GitHub's code", 503, r#"{"error":"bad_refresh_token"}"#, Transient),
    ("a gateway that waited", 504, "", Ambiguous),
    ("broken, a page", 500, "<html>", Transient),
    ("rate limit", 429, "", Transient),
    ("rate limit, with a code", 429, r#"{"error":"invalid_grant"}"#, Transient),
    ("time-out", 408, "", Transient),
    ("moved", 301, "", Transient),
    ("moved, keeping the body", 307, "", Transient),
    ("moved, keeping the body", 308, r#"{"error":"invalid_grant"}"#, Transient),
    ("a page for a login", 302, WAF, Transient),
    ("not here", 404, "", Transient),
    ("gone", 410, "", Transient),
    ("400 without a code", 400, "", Transient),
    ("400 with half a code", 400, r#"{"error":"invalid_gr"#, Transient),
    ("400 with two codes", 400, r#"{"error":"invalid_grant","error":"slow_down"}"#, Transient),
    ("400, and no text", 400, r#"{"error":null}"#, Transient),
    ("400, and an empty one", 400, r#"{"error":""}"#, Transient),
    ("another case is another code", 400, r#"{"error":"INVALID_GRANT"}"#, Transient),
    ("an unknown code", 400, r#"{"error":"tea_time"}"#, Transient),
    ("a token with a refusal", 400, GOOD, Transient),
];

#[test]
fn refusals_of_real_servers() {
    for &(who, code, body, kind) in VENDORS {
        // No refusal ends a session of client credentials.
        let of_a_client = if kind == Terminal { Transient } else { kind };
        for (result, kind) in
            [(refresh(answering(code, body)), kind), (obtain(answering(code, body)), of_a_client)]
        {
            let error = result.expect_err(who);
            assert_eq!(error.kind(), kind, "{who}: {code} {body}");
            assert!(!all_texts(&error).contains("hush"), "{who}");
        }
    }
}

#[test]
fn an_error_shows_the_code_and_not_the_description() {
    let body = r#"{"error":"invalid_grant","error_description":"hush-old-refresh is expired"}"#;
    let error = refresh(answering(400, body)).unwrap_err();
    assert_eq!(cause(&error), "the authorization server answered 400 Bad Request, invalid_grant");
    assert!(!all_texts(&error).contains("hush"));
    for body in
        [r#"{"error":"hush-old-refresh"}"#, r#"{"error":"Hush"}"#, r#"{"error":"hush \u001b[2J"}"#]
    {
        let error = refresh(answering(400, body)).unwrap_err();
        assert_eq!(cause(&error), "the authorization server answered 400 Bad Request");
        assert!(!all_texts(&error).to_lowercase().contains("hush"));
    }
    for (length, is_shown) in [(64, true), (65, false)] {
        let code = "h".repeat(length);
        let error = refresh(answering(400, format!(r#"{{"error":"{code}"}}"#))).unwrap_err();
        assert_eq!(all_texts(&error).contains("hhh"), is_shown, "{length}");
    }
}

#[test]
fn a_custom_classifier_sees_all_of_the_refusal() {
    let endpoint = at(http(|| {
        let mut answer = answer(418, r#"{"error":"tea","error_description":"time"}"#);
        answer.headers_mut().insert("x-pot", "short".parse().unwrap());
        answer
    })
    .0);
    let endpoint = endpoint.classify(classify_fn(|refusal| {
        let seen = (refusal.status().as_u16(), refusal.error(), refusal.description());
        assert_eq!(seen, (418, Some("tea"), Some("time")));
        assert_eq!(refusal.headers()["x-pot"], "short");
        assert!(!format!("{refusal:?}").contains("time"));
        Ambiguous
    }));
    assert_eq!(refresh(endpoint).unwrap_err().kind(), Ambiguous);
}

#[test]
fn a_refusal_without_an_error_can_be_softened() {
    let soft = |body: &'static str| {
        answering(403, body).classify(classify_fn(|refusal| match refusal.error() {
            None => Transient,
            Some(_) => DefaultClassify.classify(refusal),
        }))
    };
    assert_eq!(refresh(soft(WAF)).unwrap_err().kind(), Transient);
    assert_eq!(refresh(soft(r#"{"error":"invalid_grant"}"#)).unwrap_err().kind(), Terminal);
}

#[test]
fn the_default_classifier_decides_for_every_status() {
    let headers = HeaderMap::new();
    for code in 100..=999 {
        let kind = DefaultClassify.classify(&Refusal::new(status(code), &headers));
        let expected = match code {
            401 | 403 => Terminal,
            504 => Ambiguous,
            _ => Transient,
        };
        assert_eq!(kind, expected, "{code}");
    }
}

#[test]
fn only_an_answer_that_rules_a_refresh_out_may_be_tried_again_within_the_flight() {
    for (code, retry_after, is_unprocessed) in [
        (503, None, true),
        (503, Some("1"), true),
        (429, Some("1"), true),
        (429, None, false),
        (500, None, false),
        (502, Some("1"), false),
        (504, Some("1"), false),
        (400, Some("1"), false),
        (403, None, false),
        (200, Some("1"), false),
    ] {
        let endpoint = at(http(move || {
            let mut answer = answer(code, "{}");
            if let Some(retry_after) = retry_after {
                answer.headers_mut().insert("retry-after", retry_after.parse().unwrap());
            }
            answer
        })
        .0);
        let error = refresh(endpoint).unwrap_err();
        assert_eq!(error.is_unprocessed(), is_unprocessed, "{code} {retry_after:?}");
    }
}

#[test]
fn a_page_is_known_by_its_content_type_too() {
    for (content_type, kind) in [
        ("text/html", Transient),
        ("Text/HTML;charset=utf-8", Transient),
        ("application/xhtml+xml", Transient),
        ("text/plain", Terminal),
    ] {
        for code in [401, 403] {
            let page = |body: &'static str| {
                at(http(move || {
                    let mut answer = answer(code, body);
                    answer.headers_mut().insert("content-type", content_type.parse().unwrap());
                    answer
                })
                .0)
            };
            assert_eq!(refresh(page("blocked")).unwrap_err().kind(), kind, "{content_type}");
            let named = page(r#"{"error":"invalid_grant"}"#);
            assert_eq!(refresh(named).unwrap_err().kind(), Terminal, "an error decides");
        }
    }
}

#[test]
fn dead_logins_that_only_the_body_tells_are_easy_to_classify() {
    let classify = || {
        classify_fn(|refusal| match refusal.body() {
            body if body.contains(r#""errorType":"invalid_grant""#) => Terminal,
            body if body.contains(r#""BAD_REFRESH_TOKEN""#) => Terminal,
            _ => DefaultClassify.classify(refusal),
        })
    };
    for (body, kind) in [
        (
            r#"{"errors":[{"errorType":"invalid_grant","message":"hush"}],"success":false}"#,
            Terminal,
        ),
        (r#"{"status":"BAD_REFRESH_TOKEN","message":"hush"}"#, Terminal),
        (r#"{"status":"BAD_CLIENT_ID"}"#, Transient),
        (r#"{"error":"invalid_grant"}"#, Terminal),
        ("", Transient),
    ] {
        if body.contains("hush") {
            let error = refresh(answering(400, body)).unwrap_err();
            assert_eq!(error.kind(), Transient, "the default does not know it");
        }
        let error = refresh(answering(400, body).classify(classify())).unwrap_err();
        assert_eq!(error.kind(), kind, "{body}");
        assert!(!all_texts(&error).contains("hush"));
        let boxed: Box<dyn Classify> = Box::new(classify());
        assert_eq!(refresh(answering(400, body).classify(boxed)).unwrap_err().kind(), kind);
    }
}

#[test]
fn the_body_of_a_refusal_is_bounded_and_not_shown() {
    let long = format!(r#"{{"x":"{}"}}"#, "hush".repeat(100));
    let seen = classify_fn(|refusal| {
        assert_eq!(refusal.body().len(), 100);
        assert!(!format!("{refusal:?} {refusal:#?}").contains("hush"));
        Ambiguous
    });
    let error = refresh(answering(400, long).answer_limit(100).classify(seen)).unwrap_err();
    assert_eq!(error.kind(), Ambiguous);
    let bytes = classify_fn(|refusal| {
        assert_eq!(refusal.body(), "a\u{fffd}b");
        Ambiguous
    });
    let error = refresh(answering(400, &b"a\xffb"[..]).classify(bytes)).unwrap_err();
    assert_eq!(error.kind(), Ambiguous);
}

#[tokio::test(start_paused = true)]
async fn no_refusal_ends_a_session_of_client_credentials() {
    for (code, body) in [
        (401, ""),
        (403, WAF),
        (400, r#"{"error":"invalid_grant"}"#),
        (401, r#"{"error":"invalid_client"}"#),
        (403, r#"{"error":"access_denied"}"#),
    ] {
        let is_up = Arc::new(AtomicBool::new(false));
        let up = is_up.clone();
        let (http, log) = http(move || match up.load(SeqCst) {
            true => answer(200, GOOD),
            false => answer(code, body),
        });
        let endpoint = at(http).classify(classify_fn(|_| Terminal));
        let session = Session::<Token>::builder(ClientCredentialsGrant::new(endpoint))
            .acquire_on_demand(true)
            .build();
        for _ in 0..5 {
            assert_eq!(session.acquire().await.unwrap_err().kind(), ErrorKind::RefreshFailed);
            tokio::time::advance(Duration::from_secs(3600)).await;
        }
        assert!(log.len() >= 5);
        is_up.store(true, SeqCst);
        assert_eq!(session.acquire().await.unwrap().access_token(), NEW_ACCESS, "{code} {body}");
    }
}

#[tokio::test]
async fn a_date_to_retry_after_goes_by_the_session_s_clock() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let endpoint = || {
        at(http(|| {
            let mut answer = answer(503, "");
            let date = "Sun, 06 Nov 1994 08:50:37 GMT".parse().unwrap();
            answer.headers_mut().insert("retry-after", date);
            answer
        })
        .0)
    };
    for (clock, wait) in
        [(now, Some(60)), (now + Duration::from_secs(50), Some(10)), (SystemTime::now(), None)]
    {
        let context = RefreshContext::new(Cause::Rejected)
            .with_current(Arc::new(stale()))
            .with_clock(move || clock);
        let error = RefreshTokenGrant::new(endpoint()).refresh(context).await.unwrap_err();
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_time_that_the_server_named() {
    let (http, log) = http(|| {
        let mut answer = answer(429, "");
        answer.headers_mut().insert("retry-after", "17".parse().unwrap());
        answer
    });
    let session = Session::new(stale(), RefreshTokenGrant::new(at(http)));
    let error = session.refresh().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    tokio::time::advance(Duration::from_millis(16_900)).await;
    session.refresh().await.unwrap_err();
    assert_eq!(log.len(), 1);
    tokio::time::advance(Duration::from_millis(200)).await;
    session.refresh().await.unwrap_err();
    assert_eq!(log.len(), 2);
}

#[test]
fn retry_after_is_honoured() {
    let waits = |code: u16, value: String| {
        let endpoint = at(http(move || {
            // Too long to be read, so a success fails, too.
            let mut answer = answer(code, " ".repeat(100_000));
            answer.headers_mut().insert("retry-after", value.parse().unwrap());
            answer
        })
        .0);
        refresh(endpoint).unwrap_err().retry_after()
    };
    for code in [200, 429, 503, 400, 302] {
        assert_eq!(waits(code, "17".to_owned()), Some(Duration::from_secs(17)), "{code}");
    }
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1000));
    let wait = waits(503, date).unwrap();
    assert!(wait > Duration::from_secs(900) && wait <= Duration::from_secs(1000));
    assert_eq!(waits(503, "0".to_owned()), None);
    assert_eq!(waits(503, "tomorrow".to_owned()), None);
}
