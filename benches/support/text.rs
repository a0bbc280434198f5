use http::{
    Extensions, HeaderName, HeaderValue, Request, Uri, Version,
    request::Parts,
    uri::{self, Authority, PathAndQuery, Scheme},
};

/// A copy of a request's head as text in one buffer, from which the head can be made again.
pub(crate) struct HeadText {
    text: Vec<u8>,
    version: Version,
    extensions: Extensions,
}

/// The parts of a text that were not read yet.
struct Reader<'a>(&'a [u8]);

/// The bytes of a part's length, before the part.
const LENGTH: usize = size_of::<u32>();

const VALID: &str = "the part was copied from a head";

// === impl HeadText ===

impl HeadText {
    pub(crate) fn of(head: &Parts) -> Self {
        let scheme = head.uri.scheme_str().unwrap_or_default();
        let authority = head.uri.authority().map_or("", |authority| authority.as_str());
        let path_and_query = head.uri.path_and_query().map_or("", |path| path.as_str());
        let start = [head.method.as_str(), scheme, authority, path_and_query];
        let len: usize = start.iter().map(|part| LENGTH + part.len()).sum();
        let mut text = Vec::with_capacity(len + head.headers.len() * 72);
        for part in start {
            push(&mut text, part.as_bytes());
        }
        for (name, value) in &head.headers {
            push(&mut text, name.as_str().as_bytes());
            push(&mut text, value.as_bytes());
        }
        Self { text, version: head.version, extensions: head.extensions.clone() }
    }

    pub(crate) fn restore(self) -> Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        let mut parts = Reader(&self.text);
        let mut part = || parts.next().expect(VALID);
        head.method = part().try_into().expect(VALID);
        let mut uri = uri::Parts::default();
        uri.scheme = Some(part())
            .filter(|part| !part.is_empty())
            .map(|part| Scheme::try_from(part).expect(VALID));
        uri.authority = Some(part())
            .filter(|part| !part.is_empty())
            .map(|part| Authority::try_from(part).expect(VALID));
        uri.path_and_query = Some(PathAndQuery::try_from(part()).expect(VALID));
        head.uri = Uri::from_parts(uri).expect(VALID);
        head.version = self.version;
        head.extensions = self.extensions;
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            let name = HeaderName::from_bytes(name).expect(VALID);
            head.headers.append(name, HeaderValue::from_bytes(value).expect(VALID));
        }
        head
    }
}

fn push(text: &mut Vec<u8>, part: &[u8]) {
    text.extend_from_slice(&(part.len() as u32).to_ne_bytes());
    text.extend_from_slice(part);
}

// === impl Reader ===

impl<'a> Iterator for Reader<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk::<LENGTH>()?;
        let (part, rest) = rest.split_at_checked(u32::from_ne_bytes(*len) as usize)?;
        self.0 = rest;
        Some(part)
    }
}
