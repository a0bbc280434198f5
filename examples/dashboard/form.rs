//! The body format of this example: `key=value&key=value`.
//!
//! The values in this example need no percent-encoding. A real client uses a form parser.

/// The value of a field.
pub(crate) fn field<'a>(body: &'a [u8], key: &str) -> Option<&'a str> {
    std::str::from_utf8(body)
        .ok()?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == key).then_some(value))
}
