use std::fmt;

use tracing::Instrument;

use crate::{
    credential::contract::Credential,
    error::RefreshError,
    observe::tracing::spans::FlightSpans,
    refresher::{
        context::RefreshContext,
        contract::{BoxFuture, Refresher},
    },
};

/// A refresher that runs inside the span of its flight. Made by
/// [`TracingObserver::instrument_refresher`](super::TracingObserver::instrument_refresher).
pub struct Instrumented<R> {
    refresher: R,
    spans: FlightSpans,
}

// === impl Instrumented ===

impl<R> Instrumented<R> {
    pub(super) fn new(refresher: R, spans: FlightSpans) -> Self {
        Self { refresher, spans }
    }
}

impl<C: Credential, R: Refresher<C>> Refresher<C> for Instrumented<R> {
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        let span =
            context.flight_id().and_then(|(session, flight)| self.spans.get(session, flight));
        let Some(span) = span else { return self.refresher.refresh(context) };
        // The call itself may do work before it returns its future.
        let refresh = span.in_scope(|| self.refresher.refresh(context));
        Box::pin(refresh.instrument(span))
    }

    fn is_read_only(&self) -> bool {
        self.refresher.is_read_only()
    }
}

impl<R: fmt::Debug> fmt::Debug for Instrumented<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instrumented").field("refresher", &self.refresher).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::token::Token;

    struct Reading(bool);

    impl Refresher for Reading {
        fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
            Box::pin(async { Err(RefreshError::transient("unreadable")) })
        }

        fn is_read_only(&self) -> bool {
            self.0
        }
    }

    #[test]
    fn an_instrumented_refresher_is_as_read_only_as_the_refresher_inside() {
        for answer in [true, false] {
            let instrumented = Instrumented::new(Reading(answer), FlightSpans::default());
            assert_eq!(Refresher::<Token>::is_read_only(&instrumented), answer);
        }
    }
}
