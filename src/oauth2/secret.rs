use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// A text that nobody is to see: its memory is overwritten when the last clone is dropped, and `Debug` shows nothing.
///
/// Made of a `String` it takes over that memory; of a `&str` it is a copy, and the original is the caller's to wipe.
///
/// ```
/// use tower_refresh::oauth2::Secret;
///
/// let secret = Secret::from(String::from("s3cr3t"));
/// assert_eq!(secret.expose(), "s3cr3t");
/// assert_eq!(format!("{secret:?}"), "Secret([redacted])");
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(Arc::new(Zeroizing::new(secret)))
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self::from(secret.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}
