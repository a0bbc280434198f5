//! Guarantee 12 for the logs of the crates below.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::sync::Mutex;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header::SET_COOKIE};
use log::{LevelFilter, Log, Metadata, Record};
use tower_refresh::{
    Credential,
    cookies::{Csrf, Jar},
};

/// A logger that keeps all lines.
struct Lines(Mutex<String>);

static LINES: Lines = Lines(Mutex::new(String::new()));

#[test]
fn g12_no_cookie_is_logged() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(LevelFilter::Trace);

    let csrf = Csrf::new("csrf", HeaderName::from_static("x-csrf"));
    let jar = Jar::new("https://a.example").unwrap().with_csrf(csrf).with_expiry_of("sid");
    jar.store(&answer(&[
        "sid=hush; Path=/; Secure; Max-Age=60",
        "csrf=hush; Path=/",
        "sid=hush; Domain=evil.org",
    ]));
    jar.observe(&tower_refresh::head::ResponseHead::new(
        StatusCode::OK,
        &answer(&["csrf=hush-2; Path=/", "=hush", "hush=1; Max-Age=0"]),
    ));
    let next = jar.renewed(&answer(&["sid=hush-3; Path=/"])).unwrap();
    jar.observe(&tower_refresh::head::ResponseHead::new(
        StatusCode::OK,
        &answer(&["csrf=hush-4; Path=/"]),
    ));
    assert!(next.renewed(&answer(&["sid=hush; Domain=evil.org"])).is_err());
    let (mut head, ()) = Request::post("https://a.example/").body(()).unwrap().into_parts();
    next.apply(&mut head);
    assert_eq!(head.headers["x-csrf"], "hush-4");
    next.close();
    let lines = LINES.0.lock().unwrap().clone();
    assert!(!lines.contains("hush"), "{lines}");

    // The logger sees a cookie that is logged.
    log::trace!("sid=hush");
    assert!(LINES.0.lock().unwrap().contains("hush"));
}

fn answer(cookies: &[&str]) -> HeaderMap {
    cookies.iter().map(|cookie| (SET_COOKIE, HeaderValue::from_str(cookie).unwrap())).collect()
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        *self.0.lock().unwrap() += &format!("{}\n", record.args());
    }

    fn flush(&self) {}
}
