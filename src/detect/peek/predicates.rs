/// The predicates of a layer, which all of its services share.
pub(super) struct Predicates<H, D> {
    pub(super) should_read: H,
    pub(super) is_rejection: D,
}
