//! Cookie dates by the text of RFC 6265 §5.1.1, character by character.

/// Seconds since 1970, or `None` for a text that is no date.
pub fn parse(text: &[u8]) -> Option<i64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in tokens(text) {
        if time.is_none()
            && let Some(found) = hms(&token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some(found) = digits(&token, 1, 2)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = month_of(&token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some(found) = digits(&token, 2, 4)
        {
            year = Some(found);
        }
    }
    let (hour, minute, second) = time?;
    let (day, month, mut year) = (day?, month?, year?);
    if (70..=99).contains(&year) {
        year += 1900;
    } else if year <= 69 {
        year += 2000;
    }
    if !(1..=31).contains(&day) || year < 1601 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if day > length_of(year, month) {
        return None;
    }
    let days: i64 = (1601..year).map(|year| 337 + length_of(year, 2)).sum::<i64>()
        + (1..month).map(|month| length_of(year, month)).sum::<i64>()
        + day
        - 1;
    // From 1601-01-01 to 1970-01-01.
    Some((days - 134_774) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn tokens(text: &[u8]) -> Vec<Vec<u8>> {
    let mut tokens = vec![Vec::new()];
    for &byte in text {
        let is_delimiter = byte == 0x09
            || (0x20..=0x2f).contains(&byte)
            || (0x3b..=0x40).contains(&byte)
            || (0x5b..=0x60).contains(&byte)
            || (0x7b..=0x7e).contains(&byte);
        if is_delimiter {
            tokens.push(Vec::new());
        } else {
            tokens.last_mut().expect("there is one").push(byte);
        }
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

/// `hms-time ( non-digit *OCTET )`
fn hms(token: &[u8]) -> Option<(i64, i64, i64)> {
    let (hour, rest) = field(token)?;
    let (minute, rest) = field(rest.strip_prefix(b":")?)?;
    let (second, rest) = field(rest.strip_prefix(b":")?)?;
    (!starts_with_digit(rest)).then_some((hour, minute, second))
}

/// `1*2DIGIT`
fn field(text: &[u8]) -> Option<(i64, &[u8])> {
    let length = text.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
    (length > 0).then(|| (number(&text[..length]), &text[length..]))
}

/// `min*maxDIGIT ( non-digit *OCTET )`
fn digits(token: &[u8], min: usize, max: usize) -> Option<i64> {
    let length = token.iter().take(max).take_while(|byte| byte.is_ascii_digit()).count();
    (length >= min && !starts_with_digit(&token[length..])).then(|| number(&token[..length]))
}

fn month_of(token: &[u8]) -> Option<i64> {
    let months =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let start = token.get(..3)?;
    let found = months.iter().position(|month| start.eq_ignore_ascii_case(month.as_bytes()))?;
    Some(found as i64 + 1)
}

fn starts_with_digit(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

fn length_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 400 == 0 || year % 4 == 0 && year % 100 != 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
