//! `Set-Cookie`, against RFC 6265 §5.2 to §5.4 in its own words, with the limits that the docs of
//! the module `cookies` name.

#![no_main]

use std::time::{Duration, SystemTime};

use arbitrary::Arbitrary;
use http::{
    HeaderMap, HeaderValue, Request,
    header::{COOKIE, SET_COOKIE},
};
use libfuzzer_sys::fuzz_target;
use tower_refresh::{Credential, cookies::Jar};
use tower_refresh_fuzz::date;

#[derive(Arbitrary, Debug)]
struct Input {
    lines: Vec<Line>,
    request: usize,
    /// Seconds between the answer and the request.
    later: u16,
}

#[derive(Arbitrary, Debug)]
enum Line {
    Raw(String),
    Cookie { name: u8, value: String, attributes: Vec<Attribute> },
}

#[derive(Arbitrary, Debug)]
enum Attribute {
    Raw(String),
    Domain(usize),
    Path(usize),
    MaxAge(i8),
    Expires(i16),
    Secure,
}

#[derive(Clone, Debug, PartialEq)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    path: String,
    is_host_only: bool,
    is_secure: bool,
    expires_at: Option<i64>,
}

const HOST: &str = "app.example.com";
const BASE: &str = "https://app.example.com/shop/";
const DOMAINS: &[&str] = &["example.com", ".Example.com", "app.example.com", "other.com", "com"];
const PATHS: &[&str] = &["/", "/shop", "/shop/", "/shop/cart", "shop", "/s", ""];
const REQUESTS: &[(&str, &str, &str)] = &[
    ("https", "app.example.com", "/shop/cart"),
    ("https", "app.example.com", "/shopping"),
    ("https", "app.example.com", "/"),
    ("http", "app.example.com", "/shop"),
    ("https", "img.example.com", "/shop/cart"),
    ("https", "img.app.example.com", "/shop/"),
    ("https", "badexample.com", "/shop/"),
];
const NOW: i64 = 1_000_000_000;

fuzz_target!(|input: Input| {
    let mut headers = HeaderMap::new();
    let mut store: Vec<Cookie> = Vec::new();
    for line in input.lines.iter().take(50).map(Line::text) {
        let Ok(value) = HeaderValue::from_bytes(line.as_bytes()) else { continue };
        headers.append(SET_COOKIE, value);
        if let Some(cookie) = parse(&line) {
            insert(&mut store, cookie);
        }
    }
    let (scheme, host, path) = REQUESTS[input.request % REQUESTS.len()];
    let later = NOW + i64::from(input.later);
    let expected = header(&store, scheme, host, path, later);

    let jar = Jar::new(BASE).expect("the base is valid").with_clock(|| at(NOW));
    jar.store(&headers);
    let jar = jar.with_clock(move || at(later));
    let request = Request::get(format!("{scheme}://{host}{path}")).body(());
    let (mut head, ()) = request.expect("the request is valid").into_parts();
    jar.apply(&mut head);
    let sent = head.headers.get(COOKIE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    assert_eq!(sent.as_deref().unwrap_or_default(), expected, "{headers:?}");
});

fn at(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds as u64)
}

impl Line {
    fn text(&self) -> String {
        match self {
            Self::Raw(text) => text.clone(),
            Self::Cookie { name, value, attributes } => {
                let name = char::from(b'a' + name % 3);
                let attributes =
                    attributes.iter().map(|attribute| format!("; {}", attribute.text()));
                format!("{name}={value}{}", attributes.collect::<String>())
            }
        }
    }
}

impl Attribute {
    fn text(&self) -> String {
        match self {
            Self::Raw(text) => text.clone(),
            Self::Domain(at) => format!("Domain={}", DOMAINS[at % DOMAINS.len()]),
            Self::Path(at) => format!("path={}", PATHS[at % PATHS.len()]),
            Self::MaxAge(seconds) => format!("MAX-AGE = {seconds}"),
            // A time of the day of NOW.
            Self::Expires(minutes) => {
                let minutes = minutes.rem_euclid(24 * 60);
                format!("Expires=Sun, 09 Sep 2001 {:02}:{:02}:00 GMT", minutes / 60, minutes % 60)
            }
            Self::Secure => "Secure".into(),
        }
    }
}

/// RFC 6265 §5.2, and §5.3 up to the storage.
fn parse(line: &str) -> Option<Cookie> {
    let blank = |character: char| character == ' ' || character == '\t';
    let (pair, mut rest) = line.split_once(';').map_or((line, ""), |(pair, rest)| (pair, rest));
    let (name, value) = pair.split_once('=')?;
    let (name, value) = (name.trim_matches(blank), value.trim_matches(blank));
    if name.is_empty() || name.len() + value.len() > 4096 {
        return None;
    }
    let (mut domain, mut path, mut max_age, mut expires) = (String::new(), "", None, None);
    let mut is_secure = false;
    while !rest.is_empty() {
        let attribute;
        (attribute, rest) = rest.split_once(';').unwrap_or((rest, ""));
        let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let (key, value) =
            (key.trim_matches(blank).to_ascii_lowercase(), value.trim_matches(blank));
        match &key[..] {
            "expires" => expires = date::parse(value.as_bytes()).or(expires),
            "max-age" => max_age = seconds(value).or(max_age),
            "domain" if !value.is_empty() => {
                domain = value.strip_prefix('.').unwrap_or(value).to_owned();
            }
            "path" => path = if value.starts_with('/') { value } else { "" },
            "secure" => is_secure = true,
            _ => {}
        }
    }
    let is_host_only = domain.is_empty();
    if is_host_only {
        domain = HOST.into();
    }
    domain = if domain.is_ascii() {
        domain.to_ascii_lowercase()
    } else {
        url::Host::parse(&domain).map_or(domain, |host| host.to_string())
    };
    // A name without a dot is a public suffix, as far as the jar knows.
    let is_allowed = is_host_only || domain.contains('.') && is_below(HOST, &domain);
    let expires_at = match max_age {
        Some(seconds) if seconds <= 0 => Some(i64::MIN),
        Some(seconds) => Some(NOW + seconds.min(u32::MAX.into())),
        None => expires,
    };
    is_allowed.then(|| Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        domain,
        path: if path.is_empty() { "/shop" } else { path }.to_owned(),
        is_host_only,
        is_secure,
        expires_at,
    })
}

/// RFC 6265 §5.2.2: digits, after a minus or not.
fn seconds(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().unwrap_or(i64::MAX);
    Some(if text.starts_with('-') { -number } else { number })
}

/// RFC 6265 §5.3, step 11.
fn insert(store: &mut Vec<Cookie>, cookie: Cookie) {
    let is_same = |held: &Cookie| {
        (&held.name, &held.domain, &held.path) == (&cookie.name, &cookie.domain, &cookie.path)
    };
    let is_expired = cookie.expires_at.is_some_and(|at| at <= NOW);
    match store.iter().position(is_same) {
        Some(position) if is_expired => drop(store.remove(position)),
        Some(position) => store[position] = cookie,
        None if is_expired => {}
        None => store.push(cookie),
    }
}

/// RFC 6265 §5.4.
fn header(store: &[Cookie], scheme: &str, host: &str, path: &str, now: i64) -> String {
    let mut sent: Vec<&Cookie> = store
        .iter()
        .filter(|cookie| {
            let is_for_host = if cookie.is_host_only {
                cookie.domain == host
            } else {
                is_below(host, &cookie.domain)
            };
            let is_for_path = path == cookie.path
                || path.starts_with(&cookie.path)
                    && (cookie.path.ends_with('/') || path.as_bytes()[cookie.path.len()] == b'/');
            is_for_host
                && is_for_path
                && (!cookie.is_secure || scheme == "https")
                && cookie.expires_at.is_none_or(|at| at > now)
        })
        .collect();
    sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
    let pairs = sent.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value));
    pairs.collect::<Vec<_>>().join("; ")
}

/// RFC 6265 §5.1.3.
fn is_below(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|below| below.ends_with('.'))
}
