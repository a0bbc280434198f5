//! `Retry-After`: seconds, or a date, against a second implementation of both.

#![no_main]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use libfuzzer_sys::fuzz_target;
use tower_refresh::exchange::retry_after;
use tower_refresh_fuzz::date;

const NOW: i64 = 1_700_000_000;

fuzz_target!(|text: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(text) else { return };
    let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW as u64);
    assert_eq!(retry_after(&headers, now).map(|wait| wait.as_secs()), expected(text));
});

fn expected(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let seconds = if is_number {
        let add = |number: u64, digit: &u8| {
            number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        };
        text.iter().fold(0, add)
    } else {
        u64::try_from(date::parse(text)? - NOW).ok()?
    };
    (seconds > 0).then_some(seconds)
}
