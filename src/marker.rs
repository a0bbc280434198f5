/// Marks a request that is none of the session's business: put into its extensions, it passes untouched.
///
/// For requests that must not carry the credential, and for those of a refresher that are sent from another task than
/// its own (see [`refresher`](crate::refresher)).
///
/// ```
/// use http::Request;
/// use tower_refresh::Anonymous;
///
/// let request = Request::post("https://api.example.com/auth/refresh").extension(Anonymous).body(());
/// # assert!(request.is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

/// Marks a request that must not be sent twice: put into its extensions, a rejection starts a refresh and goes to the
/// caller at once.
///
/// ```
/// use http::Request;
/// use tower_refresh::NoReplay;
///
/// let request = Request::post("https://api.example.com/payments").extension(NoReplay).body(());
/// # assert!(request.is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;
