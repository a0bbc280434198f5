use std::{fmt, sync::Arc};

/// A text that nobody is to see: a refresh token, a client's secret.
///
/// `Debug` shows nothing of it, and there is no `Display`. Clones are cheap and share the text.
/// With the feature `zeroize`, which `oauth2` enables, its memory is overwritten when the last
/// clone is dropped; without, it is freed as it is.
///
/// Of a `String` or a `Box<str>` it takes the memory over. Of a `&str` or an `Arc<str>` it is a
/// copy, and the original is the caller's to wipe, like whatever a `String` left behind when it
/// grew.
///
/// ```
/// use tower_refresh::credential::Secret;
///
/// let secret = Secret::from(String::from("s3cr3t"));
/// assert_eq!(secret.expose(), "s3cr3t");
/// assert_eq!(format!("{secret:?}"), "Secret([redacted])");
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Text>);

/// What is wiped.
struct Text(String);

// === impl Secret ===

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(Arc::new(Text(secret)))
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

// === impl Text ===

#[cfg(feature = "zeroize")]
impl Drop for Text {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_type_makes_a_secret_and_owned_text_is_not_copied() {
        assert_eq!(Secret::from("s").expose(), "s");
        assert_eq!(Secret::from(Arc::<str>::from("s")).expose(), "s");
        let (string, boxed) = (String::from("hush"), Box::<str>::from("hush"));
        let places = (string.as_ptr(), boxed.as_ptr());
        let secrets = (Secret::from(string), Secret::from(boxed));
        assert_eq!((secrets.0.expose().as_ptr(), secrets.1.expose().as_ptr()), places);
        assert_eq!(secrets.0.clone().expose().as_ptr(), places.0);
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::from("hush")), "Secret([redacted])");
        assert!(!format!("{:#?}", Some(Secret::from("hush"))).contains("hush"));
    }
}
