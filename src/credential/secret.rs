use std::{fmt, sync::Arc};

/// A secret text, such as a refresh token or the secret of a client.
///
/// `Debug` does not show the text, and there is no `Display`. Clones are cheap and share the text.
/// With the feature `zeroize`, which `oauth2` enables, dropping the last clone overwrites the
/// memory. Without it, the memory is freed as it is.
///
/// A secret takes over the memory of a `String` or a `Box<str>`. From a `&str` or an `Arc<str>` it
/// makes a copy, and wiping the original is up to the caller. So is memory that a `String` has left
/// behind when it grew.
///
/// # Examples
///
/// ```
/// use tower_refresh::credential::Secret;
///
/// let secret = Secret::from(String::from("s3cr3t"));
/// assert_eq!(secret.expose(), "s3cr3t");
/// assert_eq!(format!("{secret:?}"), "Secret([redacted])");
/// ```
#[derive(Clone)]
pub struct Secret(Arc<SecretText>);

/// The memory that is overwritten when it is dropped.
struct SecretText(String);

// === impl Secret ===

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(Arc::new(SecretText(secret)))
    }
}

impl From<Box<str>> for Secret {
    fn from(secret: Box<str>) -> Self {
        Self::from(String::from(secret))
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self::from(secret.to_owned())
    }
}

impl From<Arc<str>> for Secret {
    fn from(secret: Arc<str>) -> Self {
        Self::from(&*secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

// === impl SecretText ===

#[cfg(feature = "zeroize")]
impl Drop for SecretText {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_of_any_text_and_owned_text_is_not_copied() {
        assert_eq!(Secret::from("s").expose(), "s");
        assert_eq!(Secret::from(Arc::<str>::from("s")).expose(), "s");
        let (string, boxed) = (String::from("hush"), Box::<str>::from("hush"));
        let places = (string.as_ptr(), boxed.as_ptr());
        let secrets = (Secret::from(string), Secret::from(boxed));
        assert_eq!((secrets.0.expose().as_ptr(), secrets.1.expose().as_ptr()), places);
        assert_eq!(secrets.0.clone().expose().as_ptr(), places.0);
    }

    #[test]
    fn debug_does_not_show_the_text() {
        assert_eq!(format!("{:?}", Secret::from("hush")), "Secret([redacted])");
        assert!(!format!("{:#?}", Some(Secret::from("hush"))).contains("hush"));
    }
}
