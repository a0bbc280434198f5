/// The source of the session of each request, in a
/// [`RefreshLayer::per_request`](crate::RefreshLayer::per_request): the extensions of the request.
#[derive(Clone, Debug)]
pub struct PerRequest {
    pub(super) pass_without_session: bool,
}
