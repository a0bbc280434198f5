use std::mem;

use bytes::{Buf, Bytes};
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    request::Parts,
    uri::{self, Authority, PathAndQuery, Scheme},
};

/// A copy of a request's head. Every request makes one, and few restore it, so making it is cheap
/// and restoring it is not.
///
/// A `HeaderMap` clones header by header, with an allocation for each value that owns its memory,
/// and a `Uri` part by part. This copy is plain text in few blocks.
pub(crate) struct HeadCopy {
    text: HeadText,
    version: Version,
    extensions: Extensions,
}

/// The copy of a request's head after its replay was made: enough to tell which request it was.
pub(crate) struct HeadSummary {
    text: Bytes,
    extensions: Extensions,
}

/// The method and the URI at the beginning of a copy. Each method parses the text again.
#[derive(Clone, Copy)]
pub(crate) struct RequestLine<'a>(&'a [u8]);

/// The method, the URI and the headers of a request.
///
/// ```text
/// number of headers, method, scheme, authority, path and query     each part after its length
/// then for each header: HeaderPrefix, name, value                   in the order of the map
/// ```
///
/// Numbers are `u64` in native byte order. No header is split between two blocks. Blocks stay
/// small, because one large buffer costs more than the copying itself: glibc's `malloc`
/// consolidates its free lists for a request beyond 1 KiB.
struct HeadText {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
}

/// The lengths of a header's name and value, and whether the value is sensitive.
#[derive(Clone, Copy)]
struct HeaderPrefix(u64);

/// The room that is reserved for each header. A larger block than needed costs less than a second
/// one.
const TYPICAL: usize = 72;
/// The size of a block, unless a single header is larger. glibc's `malloc` caches freed blocks of
/// up to 1032 bytes per thread.
const BLOCK: usize = 1008;

/// `http` limits names to less than 2¹⁶ bytes.
const NAME_BITS: u32 = 16;
const SENSITIVE: u64 = 1 << NAME_BITS;

/// Why a part of a copy is valid.
const UNCHANGED: &str = "the text was copied from a valid head";

// === impl HeadCopy ===

impl HeadCopy {
    #[inline]
    pub(crate) fn of(head: &Parts) -> Self {
        let mut copy = Self {
            text: HeadText { full: Vec::new(), last: Vec::new() },
            version: head.version,
            extensions: head.extensions.clone(),
        };
        // Filled in place: moving a struct right after writing it stalls the processor.
        copy.text.push_start(&head.method, &head.uri, head.headers.len());
        copy.text.push_headers(&head.headers);
        copy
    }

    /// The method and the URI, to be read from the copy.
    pub(crate) fn request_line(&self) -> RequestLine<'_> {
        RequestLine(self.text.first())
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Makes the head of the replay, and keeps the part of the copy that says which request it is.
    pub(crate) fn restore(self) -> (Parts, HeadSummary) {
        let (mut head, ()) = Request::new(()).into_parts();
        head.version = self.version;
        head.extensions = self.extensions.clone();
        let first;
        (first, head.method, head.uri, head.headers) = self.text.restore();
        (head, HeadSummary { text: first, extensions: self.extensions })
    }
}

// === impl HeadSummary ===

impl HeadSummary {
    /// The method, the URI and the extensions alone, for a request that is not sent again.
    pub(crate) fn of(head: &Parts) -> Self {
        let mut text = HeadText { full: Vec::new(), last: Vec::new() };
        text.push_start(&head.method, &head.uri, 0);
        let text = text.last.into_boxed_slice().into();
        Self { text, extensions: head.extensions.clone() }
    }

    pub(crate) fn request_line(&self) -> RequestLine<'_> {
        RequestLine(&self.text)
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

// === impl RequestLine ===

impl<'a> RequestLine<'a> {
    pub(crate) fn method(self) -> Method {
        let (method, _) = part(self.after_length(), 0);
        Method::from_bytes(method).expect(UNCHANGED)
    }

    pub(crate) fn uri(self) -> Uri {
        let (_, rest) = part(self.after_length(), 0);
        let has_scheme = rest.first_chunk().is_some_and(|len| u64::from_ne_bytes(*len) > 0);
        let (scheme, rest) = part(rest, 1);
        let (authority, rest) = part(rest, 0);
        let (path_and_query, _) = part(rest, 0);
        let mut parts = uri::Parts::default();
        if has_scheme {
            parts.scheme = Some(Scheme::try_from(scheme).expect(UNCHANGED));
        }
        if !authority.is_empty() {
            parts.authority = Some(Authority::try_from(authority).expect(UNCHANGED));
        }
        if !path_and_query.is_empty() {
            let path_and_query = PathAndQuery::try_from(path_and_query);
            parts.path_and_query = Some(path_and_query.expect(UNCHANGED));
        }
        Uri::from_parts(parts).expect(UNCHANGED)
    }

    /// The text behind the number of headers, as [`HeadText::push_start`] writes it.
    fn after_length(self) -> &'a [u8] {
        &self.0[size_of::<u64>()..]
    }
}

/// Splits the first part from the text behind it. Its length stands before it, and is `more` than
/// that of the part.
fn part(mut text: &[u8], more: usize) -> (&[u8], &[u8]) {
    let len = (text.get_u64_ne() as usize).saturating_sub(more);
    text.split_at(len)
}

// === impl HeadText ===

impl HeadText {
    /// Writes the number of headers, the method and the URI.
    #[inline]
    fn push_start(&mut self, method: &Method, uri: &Uri, headers: usize) {
        let (method, scheme) = (method.as_str(), uri.scheme_str());
        let authority = uri.authority().map_or("", Authority::as_str);
        // An empty path is shown as a slash, unless the URI is an authority alone.
        let path_and_query = uri.path_and_query().filter(|_| !uri.path().is_empty());
        let path_and_query = path_and_query.map_or("", PathAndQuery::as_str);
        let parts = [
            (method.len(), method),
            // The length plus one, and zero for no scheme: `http` parses `://a` as a URI with an
            // empty scheme.
            (scheme.map_or(0, |scheme| scheme.len() + 1), scheme.unwrap_or_default()),
            (authority.len(), authority),
            (path_and_query.len(), path_and_query),
        ];
        let text_len: usize = parts.iter().map(|(_, text)| text.len()).sum();
        self.last = block(size_of::<u64>() * (1 + parts.len()) + text_len, headers);
        self.last.extend_from_slice(&(headers as u64).to_ne_bytes());
        for (len, text) in parts {
            self.last.extend_from_slice(&(len as u64).to_ne_bytes());
            self.last.extend_from_slice(text.as_bytes());
        }
    }

    fn first(&self) -> &[u8] {
        self.full.first().unwrap_or(&self.last)
    }

    #[inline]
    fn push_headers(&mut self, headers: &HeaderMap) {
        for (at, (name, value)) in headers.iter().enumerate() {
            let len = size_of::<HeaderPrefix>() + name.as_str().len() + value.len();
            if self.last.capacity() - self.last.len() < len {
                let full = mem::replace(&mut self.last, block(len, headers.len() - at - 1));
                self.full.push(full);
            }
            self.last.extend_from_slice(&HeaderPrefix::of(name, value).0.to_ne_bytes());
            self.last.extend_from_slice(name.as_str().as_bytes());
            self.last.extend_from_slice(value.as_bytes());
        }
    }

    fn restore(self) -> (Bytes, Method, Uri, HeaderMap) {
        let mut blocks = self.full.into_iter().chain([self.last]).map(Bytes::from);
        let start = blocks.next().expect("the chain has at least the last block");
        let mut first = start.clone();
        let headers = restore_len(&mut first);
        let method = restore_method(&mut first);
        let uri = restore_uri(&mut first);
        // One more, for the credential. The capacity is refused if there are more values than a map
        // may have names. The values then share names, and the map grows as needed.
        let mut restored = HeaderMap::try_with_capacity(headers + 1).unwrap_or_default();
        for mut block in [first].into_iter().chain(blocks) {
            while block.has_remaining() {
                let (name, value) = restore_header(&mut block);
                restored.append(name, value);
            }
        }
        (start, method, uri, restored)
    }
}

/// A block with room for `len` bytes, and for a number of headers after them.
#[inline]
fn block(len: usize, headers: usize) -> Vec<u8> {
    Vec::with_capacity((len + headers * TYPICAL).min(BLOCK).max(len))
}

fn restore_uri(text: &mut Bytes) -> Uri {
    let mut parts = uri::Parts::default();
    parts.scheme = restore_scheme(text);
    parts.authority =
        slice_part(text).map(|part| Authority::from_maybe_shared(part).expect(UNCHANGED));
    parts.path_and_query =
        slice_part(text).map(|part| PathAndQuery::from_maybe_shared(part).expect(UNCHANGED));
    Uri::from_parts(parts).expect(UNCHANGED)
}

fn restore_scheme(text: &mut Bytes) -> Option<Scheme> {
    let len = restore_len(text).checked_sub(1)?;
    Some(take(text, len, |part| Scheme::try_from(part).expect(UNCHANGED)))
}

fn restore_method(text: &mut Bytes) -> Method {
    let len = restore_len(text);
    take(text, len, |part| Method::from_bytes(part).expect(UNCHANGED))
}

/// A part that keeps a reference to its block. `None` if it is empty.
fn slice_part(text: &mut Bytes) -> Option<Bytes> {
    let len = restore_len(text);
    (len > 0).then(|| text.split_to(len))
}

fn restore_len(text: &mut Bytes) -> usize {
    text.get_u64_ne() as usize
}

/// A part that is parsed in place: slicing it would count a reference and drop it again.
fn take<T>(text: &mut Bytes, len: usize, read: impl FnOnce(&[u8]) -> T) -> T {
    let taken = read(&text[..len]);
    text.advance(len);
    taken
}

fn restore_header(text: &mut Bytes) -> (HeaderName, HeaderValue) {
    let prefix = HeaderPrefix(text.get_u64_ne());
    let name =
        take(text, prefix.name_len(), |name| HeaderName::from_lowercase(name).expect(UNCHANGED));
    let mut value =
        HeaderValue::from_maybe_shared(text.split_to(prefix.value_len())).expect(UNCHANGED);
    value.set_sensitive(prefix.is_sensitive());
    (name, value)
}

// === impl HeaderPrefix ===

impl HeaderPrefix {
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
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn head(uri: Uri, headers: HeaderMap) -> Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        (head.uri, head.headers) = (uri, headers);
        head
    }

    fn restored(headers: &HeaderMap) -> HeaderMap {
        HeadCopy::of(&head(Uri::default(), headers.clone())).restore().0.headers
    }

    /// The URI of the replay. The copy shows the same one, before and after it is restored.
    fn restored_uri(uri: &Uri) -> Uri {
        let copy = HeadCopy::of(&head(uri.clone(), HeaderMap::new()));
        assert_eq!(copy.request_line().method(), Method::GET);
        assert_same(&copy.request_line().uri(), uri);
        let (head, rest) = copy.restore();
        assert_same(&rest.request_line().uri(), uri);
        head.uri
    }

    fn listed(headers: &HeaderMap) -> Vec<(HeaderName, Vec<u8>, bool)> {
        let listed = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.clone(), value.as_bytes().to_vec(), value.is_sensitive())
        };
        headers.iter().map(listed).collect()
    }

    /// Every observable part of a URI.
    fn shown(uri: &Uri) -> (String, uri::Parts) {
        (format!("{uri} {uri:?}"), uri.clone().into_parts())
    }

    fn assert_same(restored: &Uri, uri: &Uri) {
        assert_eq!(restored, uri);
        let ((shown, parts), (expected, expected_parts)) = (shown(restored), shown(uri));
        assert_eq!(shown, expected);
        assert_eq!(parts.scheme, expected_parts.scheme);
        assert_eq!(
            parts.authority.map(|it| it.to_string()),
            expected_parts.authority.map(|it| it.to_string())
        );
        let text = |it: PathAndQuery| it.to_string();
        assert_eq!(parts.path_and_query.map(text), expected_parts.path_and_query.map(text));
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
        let (copy, _) = HeadCopy::of(&head).restore();
        assert_eq!(
            (&copy.method, &copy.uri, copy.version),
            (&head.method, &head.uri, head.version)
        );
        assert_eq!(copy.headers, head.headers);
        assert_eq!(copy.extensions.get::<&str>(), Some(&"an extension"));
    }

    #[test]
    fn every_form_of_a_uri_is_restored_as_it_was() {
        for uri in [
            "/",
            "/a?b=c",
            "*",
            "/?",
            "/a?",
            "example.com:443",
            "[::1]:80",
            "https://example.com",
            "https://example.com/",
            "http://a@b:80?x",
            "HTTPS://EXAMPLE.com/A%2fb",
            "coap+tcp://[2001:db8::1]:5683//x",
            "://a",
            "://a:80/b?c",
            "http://a/ü?ö",
        ] {
            let uri = Uri::try_from(uri).unwrap();
            assert_same(&restored_uri(&uri), &uri);
        }
        let long = Authority::try_from("a".repeat(70_000).as_str()).unwrap();
        let uri =
            Uri::builder().scheme("https").authority(long).path_and_query("/").build().unwrap();
        assert_same(&restored_uri(&uri), &uri);
    }

    /// The blocks for headers with these lengths, from the prefix to the end of the value.
    fn blocks(lengths: impl IntoIterator<Item = usize>) -> HeadText {
        let header = |(n, length): (usize, usize)| {
            let value = vec![b'v'; length - size_of::<HeaderPrefix>() - "x-000".len()];
            let name = HeaderName::try_from(format!("x-{n:03}")).unwrap();
            (name, HeaderValue::try_from(value).unwrap())
        };
        let headers = lengths.into_iter().enumerate().map(header).collect();
        HeadCopy::of(&head(Uri::from_static("https://example.com/"), headers)).text
    }

    #[test]
    fn a_block_has_room_for_the_headers_that_are_to_come() {
        let start = blocks([]).last;
        assert_eq!(start.capacity(), start.len());
        for few in [vec![20], vec![TYPICAL], vec![TYPICAL, 20], vec![TYPICAL; 5]] {
            let room = start.len() + few.len() * TYPICAL;
            let text = blocks(few);
            assert_eq!((text.full.len(), text.last.capacity()), (0, room));
        }
    }

    #[test]
    fn many_headers_take_small_blocks_that_are_full() {
        let len = 20;
        for count in 1..500 {
            let text = blocks(vec![len; count]);
            assert!(text.full.iter().all(|block| block.len() > BLOCK - len), "{count} headers");
            for block in text.full.iter().chain([&text.last]) {
                assert!(block.capacity() <= BLOCK && !block.is_empty(), "{count} headers");
            }
            // The first header of a block has its own length, and the others have a typical one.
            if !text.full.is_empty() {
                let others = text.last.len() / len - 1;
                let room = (len + others * TYPICAL).min(BLOCK);
                assert_eq!(text.last.capacity(), room, "{count} headers");
            }
        }
    }

    #[test]
    fn a_restored_map_has_room_for_the_credential() {
        for count in 0..100 {
            let (_, _, _, headers) = blocks(vec![20; count]).restore();
            assert!(headers.capacity() > headers.len(), "{count} headers");
        }
    }

    #[test]
    fn the_longest_name_and_an_empty_value_are_restored() {
        let mut headers = HeaderMap::new();
        let longest = HeaderName::from_bytes(&[b'n'; 65_535]).unwrap();
        headers.insert("short", HeaderValue::from_static("1"));
        headers.insert(longest, HeaderValue::from_static(""));
        headers.insert("long", HeaderValue::from_bytes(&[b'v'; 200_000]).unwrap());
        headers.insert("another", HeaderValue::from_static("2"));
        assert_eq!(listed(&restored(&headers)), listed(&headers));
    }

    #[test]
    fn more_values_than_a_map_may_have_names_are_restored() {
        let mut headers = HeaderMap::new();
        for n in 0..30_000 {
            headers.append("x", HeaderValue::from(n));
        }
        assert_eq!(listed(&restored(&headers)), listed(&headers));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn headers_keep_their_order_repeats_bytes_and_sensitivity(
            pairs in vec(("[a-e]|host|accept|x-[a-z]{1,20}", vec(0x20_u8..=0xff, 0..40), any::<bool>()), 0..60),
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

        #[test]
        fn any_uri_is_restored_as_it_was(
            text in prop_oneof![
                "\\PC{0,20}",
                "([a-zA-Z][a-z+.-]{0,6})?://[!-~]{0,20}",
                "[*/?#%a-z\\[\\]:@.0-9-]{0,20}",
                "(https?://)?[a-z.:@0-9\\[\\]-]{0,12}[/?#]?[!-~]{0,12}",
            ],
        ) {
            if let Ok(uri) = Uri::try_from(text.as_str()) {
                assert_same(&restored_uri(&uri), &uri);
            }
            if let Ok(path) = PathAndQuery::try_from(text.as_str()) {
                let built = Uri::builder().path_and_query(path.clone()).build();
                let below = Uri::builder().scheme("https").authority("example.com").path_and_query(path).build();
                for uri in built.into_iter().chain(below) {
                    assert_same(&restored_uri(&uri), &uri);
                }
            }
            if let Ok(authority) = Authority::try_from(text.as_str()) {
                let alone = Uri::builder().authority(authority.clone()).build();
                let whole = Uri::builder().scheme("https").authority(authority).path_and_query("/").build();
                for uri in alone.into_iter().chain(whole) {
                    assert_same(&restored_uri(&uri), &uri);
                }
            }
        }
    }
}
