use std::{error::Error as StdError, fmt::Write, iter};

use crate::error::{Error, RefreshError};

/// A cause may be a page of HTML; this is meant for a header or a line of a log.
const LIMIT: usize = 1024;

/// An error and its causes in one line. Without `causes`, only as far as the words are this crate's
/// own.
pub(crate) fn describe(error: &Error, causes: bool) -> String {
    let mut text = error.to_string();
    let first: Option<&(dyn StdError + 'static)> = error.source();
    for cause in iter::successors(first, |&cause| cause.source()) {
        if !causes && !cause.is::<RefreshError>() {
            break;
        }
        // Writing into a string can fail only if a cause's `Display` does; then there is that much
        // less of it.
        let _ = write!(text, ": {cause}");
        if text.len() > LIMIT {
            truncate(&mut text);
            break;
        }
    }
    text
}

fn truncate(text: &mut String) {
    let end = (0..=LIMIT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text.push('…');
}
