use http::{HeaderMap, HeaderValue, header::COOKIE};

use crate::cookies::store::Pair;

/// Puts the jar's cookies into the `Cookie` header, before those of the caller.
///
/// A cookie of the jar takes the place of the caller's of the same name, so that a replay replaces
/// the cookies of the first attempt. The result is one sensitive header (RFC 6265 §5.4).
pub(super) fn merge(headers: &mut HeaderMap, jar: &[Pair]) {
    if jar.is_empty() {
        return;
    }
    let mut merged = Vec::new();
    for (name, value) in jar {
        push(&mut merged, &[name.as_bytes(), b"=", value.expose().as_bytes()]);
    }
    for own in headers.get_all(COOKIE).iter().flat_map(pairs) {
        if !jar.iter().any(|(name, _)| name.as_bytes() == name_of(own)) {
            push(&mut merged, &[own]);
        }
    }
    // Each part came from a header value, so the whole is one.
    if let Ok(mut value) = HeaderValue::from_bytes(&merged) {
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
    }
}

fn push(header: &mut Vec<u8>, pair: &[&[u8]]) {
    if !header.is_empty() {
        header.extend_from_slice(b"; ");
    }
    header.extend(pair.iter().copied().flatten());
}

fn pairs(header: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    header
        .as_bytes()
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or(pair).trim_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(own: &[&str], jar: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for own in own {
            headers.append(COOKIE, HeaderValue::from_bytes(own.as_bytes()).unwrap());
        }
        let jar: Vec<_> =
            jar.iter().map(|(name, value)| (name.to_string(), (*value).into())).collect();
        merge(&mut headers, &jar);
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.get_all(COOKIE).iter().map(text).collect()
    }

    #[test]
    fn the_callers_cookies_are_kept_and_no_name_is_sent_twice() {
        assert_eq!(merged(&[], &[]), [""; 0]);
        assert_eq!(merged(&["theme=dark"], &[]), ["theme=dark"]);
        assert_eq!(merged(&[], &[("sid", "1")]), ["sid=1"]);
        assert_eq!(merged(&["theme=dark"], &[("sid", "1")]), ["sid=1; theme=dark"]);
        assert_eq!(merged(&["sid=0; theme=dark;sid = 00"], &[("sid", "1")]), ["sid=1; theme=dark"]);
        assert_eq!(merged(&["SID=0", "a=b=c;; ;"], &[("sid", "1")]), ["sid=1; SID=0; a=b=c"]);
        assert_eq!(merged(&["bare", "é=ü"], &[("sid", "1")]), ["sid=1; bare; é=ü"]);
    }

    #[test]
    fn the_merged_header_is_sensitive() {
        let mut headers = HeaderMap::new();
        merge(&mut headers, &[("sid".to_owned(), "s3cr3t".into())]);
        assert!(!format!("{headers:?}").contains("s3cr3t"));
    }

    proptest! {
        #[test]
        fn merging_again_changes_nothing(own in "[a-c=; ]{0,20}", value in "[x-z=]{0,4}") {
            let jar = [("a", value.as_str())];
            let once = merged(&[&own], &jar);
            prop_assert_eq!(once.len(), 1);
            prop_assert_eq!(&merged(&[&once[0]], &jar), &once);
            let names = pairs_of(&once[0]).filter(|pair| name_of(pair.as_bytes()) == b"a").count();
            prop_assert_eq!(names, 1);
        }
    }

    proptest! {
        #[test]
        fn the_callers_cookies_are_kept_unless_the_jar_has_the_same_name(
            own in proptest::collection::vec("[a-c=; \tü\"]{0,12}", 0..3),
            jar in proptest::collection::btree_map("[a-d]", "[x-z=\"]{0,3}", 1..4),
        ) {
            let pair = |(name, value): (&String, &String)| format!("{name}={value}");
            let jar_pairs: Vec<_> = jar.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let own: Vec<_> = own.iter().map(String::as_str).collect();
            let kept = own.iter().flat_map(|header| header.split(';')).map(|pair| pair.trim_matches([' ', '\t']));
            let kept = kept.filter(|pair| !pair.is_empty());
            let kept = kept.filter(|pair| !jar.contains_key(pair.split('=').next().unwrap().trim_matches([' ', '\t'])));
            let expected: Vec<_> = jar.iter().map(pair).chain(kept.map(str::to_owned)).collect();
            prop_assert_eq!(merged(&own, &jar_pairs), [expected.join("; ")]);
        }
    }

    fn pairs_of(header: &str) -> impl Iterator<Item = &str> {
        header.split(';').map(str::trim)
    }
}
