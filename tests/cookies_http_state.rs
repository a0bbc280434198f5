//! The cases of the IETF's http-state working group, the authors of RFC 6265.
//!
//! The data is not part of the package. The tests read it from `$HTTP_STATE_DATA`, or from
//! `../shared/data/http-state` beside the package, and are skipped without it.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderValue, Request,
    header::{COOKIE, SET_COOKIE},
};
use serde_json::Value;
use tower_refresh::{Credential, cookies::Jar};

const BASE: &str = "http://home.example.org:8888/cookie-parser";

/// The middle of 2011. The dates of the cases lie before 2010 or after it.
fn mid_2011() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_309_478_400)
}

#[test]
fn cookies_are_parsed_and_sent_as_the_working_group_says() {
    let Some(cases) = data("parser.json") else { return };
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases.as_array().unwrap() {
        let name = case["test"].as_str().unwrap();
        // A NUL or a CR in a header value, and a percent-encoded path.
        if name.starts_with("DISABLED_") {
            continue;
        }
        let jar = Jar::new(BASE).unwrap().with_clock(mid_2011);
        let headers = case["received"].as_array().unwrap().iter().map(|received| {
            let value = HeaderValue::from_bytes(received.as_str().unwrap().as_bytes());
            (SET_COOKIE, value.expect(name))
        });
        jar.store(&headers.collect());

        let sent_to = case["sent-to"].as_str().map_or_else(
            || format!("http://home.example.org:8888/cookie-parser-result?{name}"),
            |to| {
                if to.starts_with('/') {
                    format!("http://home.example.org:8888{to}")
                } else {
                    to.to_owned()
                }
            },
        );
        let sent = case["sent"].as_array().unwrap().iter().map(|cookie| {
            format!("{}={}", cookie["name"].as_str().unwrap(), cookie["value"].as_str().unwrap())
        });
        let expected = sent.collect::<Vec<_>>().join("; ");
        let (mut request, ()) = Request::get(sent_to).body(()).unwrap().into_parts();
        jar.apply(&mut request);
        let cookies = request.headers.get(COOKIE).map_or(&b""[..], |value| value.as_bytes());
        if cookies != expected.as_bytes() {
            let cookies = String::from_utf8_lossy(cookies);
            wrong.push(format!("{name}: {expected:?} expected, {cookies:?} sent\n"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.concat());
    assert!(count > 200, "{count}");
}

#[test]
fn dates_are_read_as_the_working_group_says() {
    let Some(cases) = data("examples.json") else { return };
    for case in cases.as_array().unwrap() {
        let text = case["test"].as_str().unwrap();
        // A date that has passed is seen from before it.
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let jar = Jar::new(BASE).unwrap().with_clock(move || before);
        let value = HeaderValue::from_str(&format!("a=1; Expires={text}")).unwrap();
        jar.store(&HeaderMap::from_iter([(SET_COOKIE, value)]));
        let expected =
            case["expected"].as_str().map(|date| httpdate::parse_http_date(date).unwrap());
        assert_eq!(jar.with_expiry_of("a").expires_at(before), expected, "{text}");
    }
}

fn data(name: &str) -> Option<Value> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/http-state");
    let directory = env::var_os("HTTP_STATE_DATA").map_or(beside, PathBuf::from);
    match fs::read_to_string(directory.join(name)) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(error) => {
            println!("skipped: {}: {error}", directory.join(name).display());
            None
        }
    }
}
