//! The dates of cookies: a cookie is sent until its date, and the jar tells that date.

#![no_main]

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use tower_refresh::{Credential, cookies::Jar};
use tower_refresh_fuzz::date;

const NOW: i64 = 1_000_000_000;

fuzz_target!(|date: &str| {
    // A semicolon ends the attribute.
    if date.contains(';') || HeaderValue::from_str(date).is_err() {
        return;
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW as u64);
    let jar = Jar::new("https://app.example.com").expect("the URL is valid");
    let jar = jar.with_clock(move || now).with_expiry_of("sid");
    let jar = jar.with_cookie(&format!("sid=1; Expires={date}"));
    match date::parse(date.as_bytes()) {
        None => assert_eq!(jar.expect("a date that is none is ignored").expires_at(now), None),
        Some(seconds) if seconds <= NOW => assert!(jar.is_err(), "{date:?} is over"),
        Some(seconds) => {
            let expires_at = now + Duration::from_secs((seconds - NOW) as u64);
            assert_eq!(jar.expect("it lasts").expires_at(now), Some(expires_at), "{date:?}");
        }
    }
});
