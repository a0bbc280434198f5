//! Random secrets: session keys, codes and tokens.

use oauth2::CsrfToken;

/// 43 characters of base64url: 256 random bits.
pub(crate) fn random() -> String {
    CsrfToken::new_random_len(32).into_secret()
}

/// Whether a text has the form of a secret. A text of another form was not made by [`random`].
pub(crate) fn is_well_formed(text: &str) -> bool {
    text.len() == 43
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
