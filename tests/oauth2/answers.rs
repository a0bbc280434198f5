//! Answers of a token endpoint that should bring a token.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tower_refresh::{Credential, RefreshErrorKind, Session, oauth2::RefreshTokenGrant};

use crate::hand::*;

/// A body of endless frames of this size.
struct Endless(usize);

#[test]
fn a_new_refresh_token_takes_the_place_of_the_old_one() {
    let token = refresh(answering(200, GOOD)).unwrap();
    assert_eq!(token.access_token(), NEW_ACCESS);
    assert_eq!(token.refresh_token(), Some(NEW_REFRESH));
    let left =
        token.expires_at(SystemTime::now()).unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600));
}

#[test]
fn the_old_refresh_token_is_kept_when_none_comes() {
    for field in ["", r#","refresh_token":"""#, r#","refresh_token":null"#] {
        let token =
            refresh(answering(200, format!(r#"{{"access_token":"at-2"{field}}}"#))).unwrap();
        assert_eq!(
            (token.access_token(), token.refresh_token()),
            ("at-2", Some(OLD_REFRESH)),
            "{field}"
        );
    }
}

#[test]
fn an_odd_lifetime_never_costs_the_token() {
    let known = [
        ("1", 1),
        ("3600", 3600),
        (r#""3600""#, 3600),
        (r#"" 60 ""#, 60),
        ("59.9", 59),
        ("6e2", 600),
    ];
    for (lifetime, seconds) in known {
        let left =
            expiry(lifetime).expect(lifetime).duration_since(SystemTime::now()).unwrap_or_default();
        assert!(left <= Duration::from_secs(seconds), "{lifetime}");
        assert!(left + Duration::from_secs(30) > Duration::from_secs(seconds), "{lifetime}");
    }
    for unknown in [
        "null",
        "0",
        "-1",
        "-3600",
        "0.4",
        "-0.0",
        r#""""#,
        r#""soon""#,
        r#""-5""#,
        r#""NaN""#,
        r#""inf""#,
        "18446744073709551615",
        "99999999999999999999999999",
        "1e300",
        r#""1e300""#,
        "true",
        "[3600]",
        r#"{"seconds":3600}"#,
        r#""99999999999999999999999999""#,
    ] {
        assert_eq!(expiry(unknown), None, "{unknown}");
    }
    assert_eq!(
        refresh(answering(200, r#"{"access_token":"at-2"}"#))
            .unwrap()
            .expires_at(SystemTime::now()),
        None
    );
}

fn expiry(lifetime: &str) -> Option<SystemTime> {
    let body = format!(r#"{{"access_token":"at-2","expires_in":{lifetime}}}"#);
    refresh(answering(200, body))
        .unwrap_or_else(|error| panic!("{lifetime}: {error:?}"))
        .expires_at(SystemTime::now())
}

#[tokio::test(start_paused = true)]
async fn a_session_works_with_every_lifetime() {
    for lifetime in
        ["1", "9223372036", "9000000000000000000", "9223372036854775807", "18446744073709551615"]
    {
        let body = format!(r#"{{"access_token":"at-2","expires_in":{lifetime}}}"#);
        let session = Session::builder(RefreshTokenGrant::new(answering(200, body)))
            .credential(stale())
            .refresh_ahead(Duration::MAX)
            .build();
        let fresh = tokio::spawn(session.keep_fresh());
        assert_eq!(session.refresh().await.unwrap().access_token(), "at-2", "{lifetime}");
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        assert!(!fresh.is_finished() && session.credential().is_some(), "{lifetime}");
        drop(session);
        fresh.await.expect(lifetime);
    }
}

#[tokio::test]
async fn a_lifetime_counts_by_the_session_s_clock() {
    for offset in [-3600_i64, 0, 3600, -1_000_000_000] {
        let clock = move || match u64::try_from(offset) {
            Ok(ahead) => SystemTime::now() + Duration::from_secs(ahead),
            Err(_) => SystemTime::now() - Duration::from_secs(offset.unsigned_abs()),
        };
        let session = Session::builder(RefreshTokenGrant::new(answering(200, GOOD)))
            .credential(stale())
            .clock(clock)
            .build();
        session.refresh().await.unwrap();
        let left = session.state().expires_at().unwrap().duration_since(clock()).unwrap();
        assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600), "{offset}");
    }
}

#[test]
fn the_body_decides_and_not_its_content_type() {
    for content_type in
        ["text/plain", "text/html; charset=utf-8", "application/x-amz-json-1.1", "\u{7f}"]
    {
        let endpoint = at(http(move || {
            let mut answer = answer(200, GOOD);
            if let Ok(value) = content_type.parse() {
                answer.headers_mut().insert("content-type", value);
            } else {
                answer.headers_mut().remove("content-type");
            }
            answer
        })
        .0);
        assert_eq!(refresh(endpoint).unwrap().access_token(), NEW_ACCESS, "{content_type}");
    }
    assert!(refresh(answering(201, GOOD)).is_ok());
    assert!(refresh(answering(200, format!("{GOOD}\n<!-- served by 7 -->"))).is_ok());
}

#[test]
fn an_error_without_content_is_no_error() {
    for error in ["null", r#""""#] {
        let body = format!(r#"{{"access_token":"at-2","error":{error}}}"#);
        assert_eq!(refresh(answering(200, body)).unwrap().access_token(), "at-2", "{error}");
    }
}

#[test]
fn a_token_type_is_bearer_in_any_case_or_left_out() {
    for kind in [
        r#""bearer""#,
        r#""Bearer""#,
        r#"" BEARER ""#,
        r#""""#,
        "null",
        "1",
        "false",
        "{}",
        r#"["mac"]"#,
    ] {
        refresh(answering(200, format!(r#"{{"access_token":"at-2","token_type":{kind}}}"#)))
            .expect(kind);
    }
    for (kind, text) in [
        ("mac", "a token of the type mac, which is not accepted"),
        ("DPoP", "a token of the type DPoP, which is not accepted"),
        ("hush is the word", "a token of a type that is not accepted"),
        ("hush-hush-hush-hush-hush-hush-hush", "a token of a type that is not accepted"),
    ] {
        let body = format!(r#"{{"access_token":"at-2","token_type":"{kind}"}}"#);
        assert_ambiguous(200, &body);
        let error = refresh(answering(200, body)).unwrap_err();
        assert_eq!(cause(&error), format!("the token answer has {text}"));
    }
}

#[test]
fn other_token_types_are_accepted_by_name() {
    for (kind, accepted) in [("bot", "bot"), ("BearerToken", "bearertoken"), ("DPoP", "dpop")] {
        let body = format!(r#"{{"access_token":"at-2","token_type":"{kind}"}}"#);
        assert_ambiguous(200, &body);
        for endpoint in [
            answering(200, body.clone()).accept_token_type(accepted),
            answering(200, body).accept_token_type("other").accept_token_type(accepted),
            answering(200, r#"{"access_token":"at-2","token_type":"bearer"}"#)
                .accept_token_type(accepted),
        ] {
            assert_eq!(refresh(endpoint).unwrap().access_token(), "at-2", "{kind}");
        }
    }
}

#[test]
fn a_success_without_a_usable_token_is_ambiguous() {
    for body in [
        "",
        " ",
        "{}",
        "[]",
        "null",
        "17",
        "<html>welcome to the airport</html>",
        "access_token=hush-new-access&token_type=bearer",
        r#"{"access_token":""}"#,
        r#"{"access_token":null}"#,
        r#"{"access_token":42}"#,
        r#"{"access_token":["hush-new-access"]}"#,
        r#"{"access_token":{"hush-new-access":"hush-new-access"}}"#,
        r#"{"access_token":"hush new access"}"#,
        r#"{"access_token":"hush-new-access\n"}"#,
        r#"{"access_token":"hush-new-access\r\nx-evil: 1"}"#,
        r#"{"access_token":"hush-\u00e9"}"#,
        r#"{"access_token":"hush-\u0000"}"#,
        r#"{"ACCESS_TOKEN":"hush-new-access"}"#,
    ] {
        assert_ambiguous(200, body);
    }
    assert_ambiguous(204, "");
    let deep = format!(r#"{{"access_token":{}}}"#, "[".repeat(10_000));
    assert_ambiguous(200, &deep);
}

/// Answers with the tokens `at-2` and `rt-2` that a person can read.
const ODD_TOKENS: &[&str] = &[
    r#"{"access_token":"at-2","refresh_token":"rt-2","error":false}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","error":null}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","error":""}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","error":{}}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","error":[]}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","error":0,"error_description":false}"#,
    r#"{"error":"","access_token":"at-2","refresh_token":"rt-2","error":false}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","token_type":"","expires_in":"soon"}"#,
    r#"{"access_token":"at-1","access_token":"at-2","refresh_token":"rt-1","refresh_token":"rt-2"}"#,
    r#"{"access_token":"at-2","access_token":null,"refresh_token":"rt-2","refresh_token":false}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","expires_in":1,"expires_in":2}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","expires_in":1e400,"scope":[{"a":[]}]}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","expires_in":NaN,"x":undefined,"y":-.5}"#,
    r#"{"access_token":"at-2","refresh_token":"rt-2","scope":"\ud800","x":"\q","y":"\u00"}"#,
    "\u{feff}{\"access_token\":\"at-2\",\"refresh_token\":\"rt-2\"}",
    " \r\n{\"access_token\":\"at-2\",\"refresh_token\":\"rt-2\"}\0\0\0\0",
    "{\"scope\":\"a\nb\tc\",\"access_token\":\"at-2\",\"refresh_token\":\"rt-2\"}\n",
    r#"{"access_token":"at-2","refresh_token":"rt-2",}"#,
    r#"{"access_token":"at-2" "refresh_token":"rt-2"}"#,
    r#"{'access_token':'at-2','refresh_token':'rt-2'}"#,
    r#"{access_token:"at-2",refresh_token:"rt-2"}"#,
    r#"{'access_token': 'at-2', 'refresh_token': 'rt-2', 'error': None, 'token_type': None}"#,
    r#"{" access_token ":"at-2","refresh_token " : "rt-2" /* two spaces */ , "error":nil}"#,
    r#"[{"access_token":"at-2","refresh_token":"rt-2"}]"#,
    r#""{\"access_token\":\"at-2\",\"refresh_token\":\"rt-2\"}""#,
    ")]}',\n{\"access_token\":\"at-2\",\"refresh_token\":\"rt-2\"}",
    "Notice: undefined index in auth.php\n{\"access_token\":\"at-2\",\"refresh_token\":\"rt-2\"}",
];

/// Answers with a refusal that a person can read.
const ODD_REFUSALS: &[&str] = &[
    r#"{"error":"invalid_grant","access_token":"at-2"}"#,
    r#"{"access_token":"at-2","error":"invalid_grant","error":null}"#,
    r#"{"error":false,"error":"invalid_grant"}"#,
    r#"{"error":"invalid_grant","error_description":false,"error_uri":7}"#,
    r#"{"error":"invalid_grant","error_description":{"a":["}"]}}"#,
    r#"{"error":"invalid_grant","token_type":"","refresh_token":false,"expires_in":[]}"#,
    r#"{"error":"invalid_grant","error_description":"cut o"#,
    r#"{"error":"invalid_grant","error_description":"\ud800\q"}"#,
    r#"{"error":"invalid_grant",}"#,
    r#"{"error":invalid_grant}"#,
    r#"{'error':'invalid_grant'}"#,
    r#"[{"error":"invalid_grant"}]"#,
    "\u{feff}{\"error\":\"invalid_grant\"}\0",
    "{\"error_description\":\"two\nlines\",\"error\":\"invalid_grant\"}",
    "Notice: undefined index in auth.php\n{\"error\":\"invalid_grant\"}",
    "{\"error\":\"invalid_grant\"}\n{\"access_token\":\"at-2\"}",
];

#[test]
fn an_odd_answer_loses_no_token() {
    for body in ODD_TOKENS {
        let token =
            refresh(answering(200, *body)).unwrap_or_else(|error| panic!("{body}: {error:?}"));
        assert_eq!((token.access_token(), token.refresh_token()), ("at-2", Some("rt-2")), "{body}");
    }
    for refresh_token in ["false", "7", "null", "None", "NaN", "[]", r#"{"a":"b"}"#, r#""""#] {
        let body = format!(r#"{{"access_token":"at-2","refresh_token":{refresh_token}}}"#);
        let token = refresh(answering(200, body)).unwrap();
        assert_eq!(token.refresh_token(), Some(OLD_REFRESH), "{refresh_token}");
    }
    let latin = b"{\"scope\":\"\xfc\",\"access_token\":\"at-2\"}";
    assert_eq!(refresh(answering(200, &latin[..])).unwrap().access_token(), "at-2");
}

#[test]
fn an_odd_answer_hides_no_refusal() {
    for body in ODD_REFUSALS {
        for code in [200, 400, 401] {
            let error = refresh(answering(code, *body)).expect_err(body);
            assert!(error.is_terminal(), "{body}: {error:?}");
        }
    }
    let latin = b"{\"error_description\":\"ung\xfcltig\",\"error\":\"invalid_grant\"}";
    assert!(refresh(answering(400, &latin[..])).unwrap_err().is_terminal());
    // Without a code, a refusal is still none of a token.
    for error in ["true", "400", r#"{"message":"expired"}"#, r#"["expired"]"#, r#"{"code":{}}"#] {
        let body = format!(r#"{{"access_token":"at-2","error":{error}}}"#);
        refresh(answering(200, body)).expect_err(error);
    }
}

#[test]
fn a_refusal_that_breaks_off_or_is_too_long_is_seen() {
    for code in [200, 400] {
        let long = format!(r#"{{"error":"invalid_grant","x":"{}"}}"#, "x".repeat(100_000));
        assert!(refresh(answering(code, long)).unwrap_err().is_terminal(), "{code}");
    }
}

#[test]
fn every_truncated_answer_is_ambiguous() {
    for end in 0..GOOD.len() {
        assert_ambiguous(200, &GOOD[..end]);
    }
}

#[test]
fn an_answer_longer_than_the_limit_is_ambiguous() {
    let body = format!("{GOOD}{}", " ".repeat(1000 - GOOD.len()));
    assert!(refresh(answering(200, body.clone()).answer_limit(1000)).is_ok());
    let error = refresh(answering(200, body).answer_limit(999)).unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Ambiguous);
    assert_eq!(cause(&error), "the authorization server answered 200 OK, with more than 999 bytes");
}

#[test]
fn an_endless_answer_ends() {
    for size in [0, 1, 4096] {
        for (code, kind) in [
            (200, RefreshErrorKind::Ambiguous),
            (400, RefreshErrorKind::Transient),
            (401, RefreshErrorKind::Terminal),
            (503, RefreshErrorKind::Transient),
        ] {
            let endless = move || {
                let body = Endless(size).map_err(|never| match never {}).boxed_unsync();
                Response::builder().status(code).body(body).unwrap()
            };
            assert_eq!(refresh(at(http(endless).0)).unwrap_err().kind(), kind, "{code}, {size}");
        }
    }
}

#[track_caller]
fn assert_ambiguous(code: u16, body: &str) {
    let error = refresh(answering(code, body.to_owned())).expect_err(body);
    assert_eq!(error.kind(), RefreshErrorKind::Ambiguous, "{body}");
    let texts = all_texts(&error);
    assert!(!texts.contains("hush"), "{body}: {texts}");
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        (-1e300..1e300f64).prop_map(|n| format!("{n:e}")),
        "[a-zA-Z0-9 .+-]{0,12}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            inner.prop_map(|value| format!(r#"{{"k":{value}}}"#)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_lifetime_costs_the_token(lifetime in json()) {
        let body = format!(r#"{{"access_token":"at-2","expires_in":{lifetime},"refresh_token":"rt-2"}}"#);
        let before = SystemTime::now();
        let token = refresh(answering(200, body)).unwrap();
        prop_assert_eq!(token.refresh_token(), Some("rt-2"));
        prop_assert!(token.expires_at(SystemTime::now()).is_none_or(|at| at > before));
    }

    /// Members that say nothing, anywhere between those that do, in any order.
    #[test]
    fn no_odd_member_loses_a_token_or_hides_a_refusal(
        mut members in prop::collection::vec(
            (
                prop_oneof!["scope|id_token|x|error_uri|data|\\\\u0041", "(token_type|error|refresh_token|expires_in)"],
                json(),
            )
                .prop_filter("these mean something", |(name, value)| match &**name {
                    "token_type" | "refresh_token" => !value.starts_with('"') || value == "\"\"",
                    "error" => matches!(&**value, "null" | "false" | "0" | "\"\"" | "[]"),
                    _ => true,
                })
                .prop_map(|(name, value)| format!(r#""{name}":{value}"#)),
            0..6,
        ),
        place: prop::sample::Index,
        is_refused: bool,
        start in prop::sample::select(vec!["", "\u{feff}", " \n", "\0", ")]}'\n", "[", "while(1);"]),
        end in prop::sample::select(vec!["", "\0\0", " \n", "]", ";", "<!-- 7 -->", "\n{}", "{"]),
        separator in prop::sample::select(vec![",", " , ", ",\n", ",,"]),
    ) {
        let member = if is_refused { r#""error":"invalid_grant""# } else { r#""access_token":"at-2""# };
        members.insert(place.index(members.len() + 1), member.to_owned());
        let body = format!("{start}{{{}}}{end}", members.join(separator));
        match refresh(answering(200, body.clone())) {
            Ok(token) => {
                prop_assert!(!is_refused, "{}", body);
                prop_assert_eq!((token.access_token(), token.refresh_token()), ("at-2", Some(OLD_REFRESH)));
            }
            Err(error) => prop_assert!(is_refused && error.is_terminal(), "{}: {:?}", body, error),
        }
    }

    #[test]
    fn the_code_of_a_refusal_decides_whatever_its_other_members_are(value in json(), code in prop_oneof![Just(200u16), Just(400)]) {
        for field in ["error_description", "error_uri", "expires_in", "scope", "token_type_hint"] {
            let body = format!(r#"{{"error":"invalid_grant","{field}":{value}}}"#);
            let error = refresh(answering(code, body)).unwrap_err();
            prop_assert!(error.is_terminal(), "{field}: {error:?}");
        }
    }

    #[test]
    fn only_an_error_ends_a_login_and_no_body_is_shown(
        body in prop_oneof![
            json().prop_map(|value| format!(r#"{{"access_token":"hush-{value}","x":{value}"#).into_bytes()),
            json().prop_map(|value| format!(r#"{{"access_token":"hush-2","refresh_token":{value}}}"#).into_bytes()),
            json().prop_map(|value| format!(r#"{{"error":{value},"error_description":"hush"}}"#).into_bytes()),
            prop::collection::vec(any::<u8>(), 0..64),
        ],
        code in prop_oneof![Just(200u16), Just(400), Just(404), Just(429), Just(500), Just(302)],
    ) {
        if let Err(error) = refresh(answering(code, body)) {
            prop_assert!(!error.is_terminal());
            prop_assert!(!all_texts(&error).contains("hush"));
        }
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b' '; self.0])))))
    }
}
