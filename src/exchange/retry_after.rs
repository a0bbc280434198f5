use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

use crate::exchange::date::parse_date;

/// The time that a `Retry-After` header ([RFC 9110
/// §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)) asks to wait: seconds, or a
/// date. `None` for zero and for a date that is over at `now`, so that the session's own back-off
/// stays in force.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
/// use tower_refresh::exchange::retry_after;
///
/// let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("120"))]);
/// assert_eq!(retry_after(&headers, SystemTime::now()), Some(Duration::from_secs(120)));
/// ```
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.as_bytes().trim_ascii();
    let wait = if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        let seconds = str::from_utf8(value).ok()?.parse();
        Duration::from_secs(seconds.unwrap_or(u64::MAX))
    } else {
        parse_date(value)?.duration_since(now).ok()?
    };
    Some(wait).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_other_values_are_ignored() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let cases = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:27 GMT", None),
        ];
        for (value, seconds) in cases {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    fn read(value: &[u8], now: SystemTime) -> Option<Duration> {
        let value = HeaderValue::from_bytes(value).ok()?;
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now)
    }

    proptest! {
        #[test]
        fn a_number_is_a_time_to_wait(seconds: u64) {
            let expected = Some(Duration::from_secs(seconds)).filter(|wait| !wait.is_zero());
            prop_assert_eq!(read(seconds.to_string().as_bytes(), SystemTime::UNIX_EPOCH), expected);
        }

        #[test]
        fn a_date_in_the_future_is_a_time_to_wait(at in 0..253_402_300_800_u64, now in 0..253_402_300_800_u64) {
            let [at, now] = [at, now].map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            let expected = at.duration_since(now).ok().filter(|wait| !wait.is_zero());
            prop_assert_eq!(read(httpdate::fmt_http_date(at).as_bytes(), now), expected);
        }

        #[test]
        fn any_value_is_none_or_more_than_zero(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                "[A-Z][a-z]{2,8},? [0-9]{1,2}[ -][A-Z][a-z]{2}[ -][0-9]{2,6} [0-9]{1,2}:[0-9]{2}:[0-9]{2} ?(GMT|UTC)?"
                    .prop_map(String::into_bytes),
                "[-+ 0-9.eE]{1,30}".prop_map(String::into_bytes),
            ],
        ) {
            prop_assert_ne!(read(&value, SystemTime::now()), Some(Duration::ZERO));
        }
    }
}
