/// A flight, as its refresher sees it: has a login, a logout or a replacement overtaken it?
///
/// The session implements this for its own flights. [`RefreshContext`] holds it as a trait object,
/// so that this seam imports nothing from the session.
///
/// [`RefreshContext`]: crate::RefreshContext
pub(crate) trait Fence: Send + Sync {
    fn is_fenced(&self) -> bool;
}
