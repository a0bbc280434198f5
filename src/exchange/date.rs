use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

/// Reads a date by the algorithm for cookies (RFC 6265 §5.1.1). It takes the three forms of RFC
/// 9110 §5.6.7, and every form that a browser takes in a cookie.
pub(crate) fn parse_date(text: &[u8]) -> Option<SystemTime> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    // Each token is the first of these that it can be and that was not found before.
    for token in text.split(|byte| is_delimiter(*byte)).filter(|token| !token.is_empty()) {
        if time.is_none() && parse_time(token).is_some() {
            time = parse_time(token);
        } else if day.is_none() && leading_number(token, 1..=2).is_some() {
            day = leading_number(token, 1..=2);
        } else if month.is_none() && parse_month(token).is_some() {
            month = parse_month(token);
        } else if year.is_none() && leading_number(token, 2..=4).is_some() {
            year = leading_number(token, 2..=4);
        }
    }
    let year = match year? {
        year @ 70..=99 => year + 1900,
        year @ 0..=69 => year + 2000,
        year => year,
    };
    let [hour, minute, second] = time?;
    to_system_time([year, month?, day?], [hour, minute, second])
}

fn to_system_time([year, month, day]: [u32; 3], time: [u32; 3]) -> Option<SystemTime> {
    let [hour, minute, second] = time;
    let exists = year >= 1601
        && (1..=days_in_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 59;
    if !exists {
        return None;
    }
    let days = days_since_epoch(i64::from(year), i64::from(month), i64::from(day));
    let seconds = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, 0x09 | 0x20..=0x2F | 0x3B..=0x40 | 0x5B..=0x60 | 0x7B..=0x7E)
}

/// `hour:minute:second` of one or two digits each, up to a byte that is no digit.
fn parse_time(token: &[u8]) -> Option<[u32; 3]> {
    let mut fields = token.splitn(3, |byte| *byte == b':');
    let (hour, minute) = (fields.next()?, fields.next()?);
    let is_number = |field: &[u8]| field.iter().all(u8::is_ascii_digit);
    if !is_number(hour) || !is_number(minute) {
        return None;
    }
    let number = |field| leading_number(field, 1..=2);
    Some([number(hour)?, number(minute)?, number(fields.next()?)?])
}

/// The digits at the start of a token, if there are as many as allowed.
fn leading_number(token: &[u8], digits: RangeInclusive<usize>) -> Option<u32> {
    let length = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !digits.contains(&length) {
        return None;
    }
    Some(token[..length].iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

fn parse_month(token: &[u8]) -> Option<u32> {
    const MONTHS: &[u8] = b"janfebmaraprmayjunjulaugsepoctnovdec";

    let name = token.get(..3)?.to_ascii_lowercase();
    (1..).zip(MONTHS.chunks(3)).find_map(|(number, month)| (month == name).then_some(number))
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, in the Gregorian calendar. A year starts in March here, so that the leap
/// day is its last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    year * 365 + year / 4 - year / 100 + year / 400 + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        let date = parse_date(text.as_bytes())?;
        Some(match date.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => after.as_secs() as i64,
            Err(before) => -(before.duration().as_secs() as i64),
        })
    }

    #[test]
    fn dates_are_read_as_browsers_read_them() {
        let same = 784_111_777;
        let cases = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(same)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(same)),
            ("Sun Nov  6 08:49:37 1994", Some(same)),
            ("Sun, 06 Nov 1994 08:49:37 UTC", Some(same)),
            ("Sun, 06 Nov 1994 08:49:37", Some(same)),
            ("Sun, 6 Nov 1994 08:49:37 GMT", Some(same)),
            ("6 november 1994 8:49:37", Some(same)),
            ("1994 08:49:37 06 NOV", Some(same)),
            ("06-Nov-1994-08:49:37", Some(same)),
            ("Sun, 06 Nov 1994 08:49:37.123 +0500", Some(same)),
            ("06 Nov 1994 08:49:37x", Some(same)),
            ("06x Nov 1994y 08:49:37", Some(same)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("01 Jan 1601 00:00:00", Some(-11_644_473_600)),
            ("31 Dec 1600 23:59:59", None),
            ("29 Feb 2000 00:00:00", Some(951_782_400)),
            ("29 Feb 1900 00:00:00", None),
            ("29 Feb 2001 00:00:00", None),
            ("29 Feb 2024 00:00:00", Some(1_709_164_800)),
            ("31 Apr 2024 00:00:00", None),
            ("00 Jan 2024 00:00:00", None),
            ("01 Jan 69 00:00:00", Some(3_124_224_000)),
            ("01 Jan 70 00:00:00", Some(0)),
            ("01 Jan 9999 00:00:00", Some(253_370_764_800)),
            ("01 Jan 02024 00:00:00", None),
            ("001 Jan 2024 00:00:00", None),
            ("01 Jan 2024 24:00:00", None),
            ("01 Jan 2024 00:60:00", None),
            ("01 Jan 2024 00:00:60", None),
            ("01 Jan 2024 00:00", None),
            ("01 Jan 2024 000:00:00", None),
            ("01 Jan 2024 00: 00:00", None),
            ("01 Foo 2024 00:00:00", None),
            // `2024` has too many digits for a day.
            ("Jan 2024 00:00:00", None),
            ("", None),
            ("tomorrow", None),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_date_that_was_written_is_read(at in 0..253_402_300_800_u64, form in 0..5) {
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            let written = httpdate::fmt_http_date(date);
            let text = match form {
                0 => written,
                1 => written.replace("GMT", "UTC"),
                2 => written.replace(" GMT", ""),
                3 => written.replace(' ', "-").to_uppercase(),
                _ => written[5..].replace(", 0", ", "),
            };
            prop_assert_eq!(parse_date(text.as_bytes()), Some(date), "{}", text);
        }

        #[test]
        fn any_bytes_are_a_date_or_none(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            parse_date(&text);
        }
    }
}
