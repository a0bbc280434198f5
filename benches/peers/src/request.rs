//! The URL and the headers of every request, for all request types, and the content of uploads.

use bytes::Bytes;

pub(crate) const URL: &str = "https://api.example.com/v1/items?page=2";

/// Headers with custom names.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    ("x-custom-header-00", "the value of header number 00"),
    ("x-custom-header-01", "the value of header number 01"),
    ("x-custom-header-02", "the value of header number 02"),
    ("x-custom-header-03", "the value of header number 03"),
];

/// The headers, with a buffer per value, as in a client.
pub(crate) fn headers() -> http::HeaderMap {
    let name = |name: &str| name.parse::<http::HeaderName>().expect("lower case");
    let value = |value: &str| value.parse::<http::HeaderValue>().expect("visible ASCII");
    HEADERS.iter().map(|&(n, v)| (name(n), value(v))).collect()
}

/// The content of an upload. No two of its parts are equal.
pub(crate) fn content(len: usize) -> Bytes {
    // The size of a part is no multiple of 251.
    (0..len).map(|index| (index % 251) as u8).collect()
}
