//! `key=value&key=value`: the bodies of this example, so that it needs no parser.
//!
//! All values here are made of characters that need no percent-encoding; a real client has others.

/// The value of a field.
pub(crate) fn field<'a>(body: &'a [u8], key: &str) -> Option<&'a str> {
    std::str::from_utf8(body)
        .ok()?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == key).then_some(value))
}
