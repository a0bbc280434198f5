use http::{HeaderMap, header::CONTENT_TYPE};

/// Whether an answer is a page for people: a firewall or a proxy wrote it, and not the auth server.
///
/// An answer is a page if its `Content-Type` is `text/html` or `application/xhtml+xml`, or if its
/// body begins with a `<`. The start of the body is enough.
///
/// ```
/// use http::HeaderMap;
/// use tower_refresh::exchange::is_page;
///
/// assert!(is_page(&HeaderMap::new(), b"\n<!DOCTYPE html><title>Request blocked</title>"));
/// assert!(!is_page(&HeaderMap::new(), br#"{"error":"invalid_grant"}"#));
/// ```
pub fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii();
    media_type.eq_ignore_ascii_case(b"text/html")
        || media_type.eq_ignore_ascii_case(b"application/xhtml+xml")
        || without_bom(body).trim_ascii_start().starts_with(b"<")
}

fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_is_known_by_its_type_or_its_start() {
        let cases = [
            ("", "", false),
            ("", "{}", false),
            ("text/html", "", true),
            ("Text/HTML; charset=utf-8", "blocked", true),
            (" text/html ;x", "{}", true),
            ("application/xhtml+xml", "", true),
            ("application/json", r#"{"a":"<html>"}"#, false),
            ("application/json", "<html>", true),
            ("text/plain", "denied", false),
            ("text/htmlx", "", false),
            ("", "\u{feff} \r\n<!doctype html>", true),
            ("", "<?xml version='1.0'?>", true),
        ];
        for (content_type, body, expected) in cases {
            let mut headers = HeaderMap::new();
            if !content_type.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            assert_eq!(is_page(&headers, body.as_bytes()), expected, "{content_type:?} {body:?}");
        }
    }
}
