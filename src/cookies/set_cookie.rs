use std::time::{Duration, SystemTime};

use http::HeaderValue;
use url::Host;

use crate::exchange::date::parse_date;

/// The content of a `Set-Cookie` header (RFC 6265 §5.2).
pub(super) struct SetCookie<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// In lower case, without a leading dot.
    pub(super) domain: Option<String>,
    /// `None` for the default path.
    pub(super) path: Option<&'a str>,
    pub(super) is_secure: bool,
    max_age: Option<MaxAge>,
    expires: Option<SystemTime>,
}

/// The moment at which an answer arrived.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    /// By the clock of the jar.
    pub(super) now: SystemTime,
    /// By the clock of the server: the `Date` header of the answer.
    pub(super) date: Option<SystemTime>,
}

#[derive(Clone, Copy)]
enum MaxAge {
    /// Zero or less.
    Expired,
    Lifetime(Duration),
}

/// The longest lifetime, about 136 years. Longer ones could be beyond what a clock can say.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

// === impl SetCookie ===

impl<'a> SetCookie<'a> {
    pub(super) fn parse(header: &'a HeaderValue) -> Option<Self> {
        let mut parts = str::from_utf8(header.as_bytes()).ok()?.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (trim(name), trim(value));
        if name.is_empty() {
            return None;
        }
        let mut cookie = Self {
            name,
            value,
            domain: None,
            path: None,
            is_secure: false,
            max_age: None,
            expires: None,
        };
        for attribute in parts {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            cookie.take(trim(name), trim(value));
        }
        Some(cookie)
    }

    /// Takes an attribute. Of several the last one counts, and one that can't be read is ignored.
    fn take(&mut self, name: &str, value: &'a str) {
        if name.eq_ignore_ascii_case("expires") {
            self.expires = parse_date(value.as_bytes()).or(self.expires);
        } else if name.eq_ignore_ascii_case("max-age") {
            self.max_age = MaxAge::parse(value).or(self.max_age);
        } else if name.eq_ignore_ascii_case("domain") && !value.is_empty() {
            self.domain = Some(canonical(value.strip_prefix('.').unwrap_or(value)));
        } else if name.eq_ignore_ascii_case("path") {
            self.path = Some(value).filter(|path| path.starts_with('/'));
        } else if name.eq_ignore_ascii_case("secure") {
            self.is_secure = true;
        }
    }

    /// The moment at which the cookie expires, by the clock of the jar. `None` for a cookie that
    /// lasts as long as the session.
    ///
    /// A server that says when the cookie expires, and what time it is now, has said how long the
    /// cookie lasts: the clock of this machine may be wrong.
    pub(super) fn expires_at(&self, arrival: Arrival) -> Option<SystemTime> {
        match (self.max_age, self.expires, arrival.date) {
            (Some(MaxAge::Expired), _, _) => Some(SystemTime::UNIX_EPOCH),
            (Some(MaxAge::Lifetime(lifetime)), _, _) => arrival.now.checked_add(lifetime),
            (None, Some(expires), Some(date)) => match expires.duration_since(date) {
                Ok(lifetime) => arrival.now.checked_add(lifetime),
                Err(_) => Some(SystemTime::UNIX_EPOCH),
            },
            (None, expires, None) => expires,
            (None, None, Some(_)) => None,
        }
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A domain in lower case, and in ASCII.
fn canonical(domain: &str) -> String {
    if domain.is_ascii() {
        return domain.to_ascii_lowercase();
    }
    Host::parse(domain).map_or_else(|_| domain.to_owned(), |host| host.to_string())
}

// === impl Arrival ===

impl Arrival {
    /// Takes `date` for the clock of the server if the answer does not tell it.
    pub(super) fn or_date(self, date: SystemTime) -> Self {
        Self { date: self.date.or(Some(date)), ..self }
    }
}

// === impl MaxAge ===

impl MaxAge {
    fn parse(value: &str) -> Option<Self> {
        let digits = value.strip_prefix('-').unwrap_or(value);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let seconds = digits.parse().unwrap_or(u64::MAX);
        if seconds == 0 || digits.len() < value.len() {
            return Some(Self::Expired);
        }
        Some(Self::Lifetime(Duration::from_secs(seconds).min(LONGEST)))
    }
}
