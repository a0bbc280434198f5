use std::{error::Error as StdError, fmt::Write, iter};

use crate::error::{Error, RefreshError};

/// The length of a description in bytes. A cause may be a page of HTML, and a description goes into
/// a header or a line of a log.
const MAX_LEN: usize = 1024;

/// An error and its causes, joined by colons. Without `causes`, only those whose text this crate
/// has written.
pub(crate) fn describe(error: &Error, causes: bool) -> String {
    let mut text = error.to_string();
    let first: Option<&(dyn StdError + 'static)> = error.source();
    for cause in iter::successors(first, |&cause| cause.source()) {
        if !causes && !cause.is::<RefreshError>() {
            break;
        }
        // Fails only if the `Display` of a cause does. The text then has what was written so far.
        let _ = write!(text, ": {cause}");
        if text.len() > MAX_LEN {
            truncate(&mut text);
            break;
        }
    }
    text
}

fn truncate(text: &mut String) {
    let end = (0..=MAX_LEN).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text.push('…');
}
