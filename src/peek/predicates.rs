/// The predicates of a layer, which all of its services share.
pub(super) struct Predicates<H, D> {
    /// Tells by the head of a response whether to read its body.
    pub(super) should_read: H,
    /// Tells by the beginning of a body whether the response rejects the credential.
    pub(super) is_rejection: D,
}
