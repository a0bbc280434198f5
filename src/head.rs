use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request::Parts};

/// A copy of a request's head: cheap to make, because every request makes one, and dear to use, because few do.
///
/// A `HeaderMap` clones header by header, with an allocation for many. Here all of them are in one buffer.
pub(crate) struct HeadCopy {
    method: Method,
    uri: Uri,
    version: Version,
    extensions: Extensions,
    headers: Flat,
}

/// Headers one after the other, in the order of the map: a [`Prefix`], the name, the value.
struct Flat(Vec<u8>);

/// How long a name and a value are, and whether the value is sensitive.
#[derive(Clone, Copy)]
struct Prefix(u64);

/// What one header takes, most of the time: a larger buffer than needed costs less than a second allocation.
const TYPICAL: usize = 72;

/// Names have less than 2¹⁶ bytes.
const NAME_BITS: u32 = 16;
const SENSITIVE: u64 = 1 << NAME_BITS;

const UNCHANGED: &str = "it was copied from a header map";

// === impl HeadCopy ===

impl HeadCopy {
    #[inline]
    pub(crate) fn of(head: &Parts) -> Self {
        Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            extensions: head.extensions.clone(),
            headers: Flat::of(&head.headers),
        }
    }

    pub(crate) fn restore(self) -> Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.extensions = self.extensions;
        head.headers = self.headers.restore();
        head
    }
}

// === impl Flat ===

impl Flat {
    #[inline]
    fn of(headers: &HeaderMap) -> Self {
        let mut flat = Vec::with_capacity(headers.len() * TYPICAL);
        for (name, value) in headers {
            flat.extend_from_slice(&Prefix::of(name, value).0.to_ne_bytes());
            flat.extend_from_slice(name.as_str().as_bytes());
            flat.extend_from_slice(value.as_bytes());
        }
        Self(flat)
    }

    fn restore(self) -> HeaderMap {
        let mut rest = Bytes::from(self.0);
        let mut headers = HeaderMap::new();
        while !rest.is_empty() {
            let prefix = rest.split_to(size_of::<Prefix>());
            let prefix = Prefix(u64::from_ne_bytes(prefix.as_ref().try_into().expect(UNCHANGED)));
            let name = HeaderName::from_bytes(&rest.split_to(prefix.name_len())).expect(UNCHANGED);
            let value = rest.split_to(prefix.value_len());
            let mut value = HeaderValue::from_maybe_shared(value).expect(UNCHANGED);
            value.set_sensitive(prefix.is_sensitive());
            headers.append(name, value);
        }
        headers
    }
}

// === impl Prefix ===

impl Prefix {
    #[inline]
    fn of(name: &HeaderName, value: &HeaderValue) -> Self {
        let sensitive = if value.is_sensitive() { SENSITIVE } else { 0 };
        Self((value.len() as u64) << (NAME_BITS + 1) | sensitive | name.as_str().len() as u64)
    }

    fn name_len(self) -> usize {
        (self.0 & (SENSITIVE - 1)) as usize
    }

    fn value_len(self) -> usize {
        (self.0 >> (NAME_BITS + 1)) as usize
    }

    fn is_sensitive(self) -> bool {
        self.0 & SENSITIVE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn restored(headers: &HeaderMap) -> HeaderMap {
        Flat::of(headers).restore()
    }

    fn listed(headers: &HeaderMap) -> Vec<(HeaderName, Vec<u8>, bool)> {
        let listed = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.clone(), value.as_bytes().to_vec(), value.is_sensitive())
        };
        headers.iter().map(listed).collect()
    }

    #[test]
    fn a_head_is_restored_as_it_was() {
        let request = Request::put("https://example.com/a?b")
            .version(Version::HTTP_2)
            .header("x", "1")
            .extension("an extension")
            .body(())
            .unwrap();
        let (head, ()) = request.into_parts();
        let copy = HeadCopy::of(&head).restore();
        assert_eq!((&copy.method, &copy.uri, copy.version), (&head.method, &head.uri, head.version));
        assert_eq!(copy.headers, head.headers);
        assert_eq!(copy.extensions.get::<&str>(), Some(&"an extension"));
    }

    #[test]
    fn no_headers_take_no_buffer() {
        assert_eq!(Flat::of(&HeaderMap::new()).0.capacity(), 0);
        assert!(restored(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn the_longest_name_and_an_empty_value_survive() {
        let mut headers = HeaderMap::new();
        let longest = HeaderName::from_bytes(&[b'n'; 65_535]).unwrap();
        headers.insert(longest, HeaderValue::from_static(""));
        headers.insert("long", HeaderValue::from_bytes(&[b'v'; 200_000]).unwrap());
        assert_eq!(listed(&restored(&headers)), listed(&headers));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn headers_keep_their_order_repeats_bytes_and_sensitivity(
            pairs in vec(("[a-e]|host|accept|x-[a-z]{1,20}", vec(0x20_u8..=0xff, 0..40), any::<bool>()), 0..40),
            removed in "[a-e]",
        ) {
            let mut headers = HeaderMap::new();
            for (name, value, sensitive) in pairs {
                let Ok(mut value) = HeaderValue::from_bytes(&value) else { continue };
                value.set_sensitive(sensitive);
                headers.append(HeaderName::try_from(name).unwrap(), value);
            }
            headers.remove(removed.as_str());
            prop_assert_eq!(listed(&restored(&headers)), listed(&headers));
        }
    }
}
