use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    time::{self, Instant},
};

use crate::{
    credential::contract::Credential,
    observe::{event::EventKind, outcome::StoreOperation},
    store::{
        contract::Leased,
        error::StoreError,
        stored::{
            desk::{Desk, Operation},
            lease::{GiveUp, Lease, Term},
        },
    },
};

// === impl Desk ===

impl<C: Credential> Desk<C> {
    /// The lease, shared with the saver where that still has it, or else the time for which another
    /// holder has it.
    pub(super) async fn lease(
        self: &Arc<Self>,
    ) -> Result<Result<Arc<Lease>, Duration>, StoreError> {
        let lease = self.state().operations().lease.upgrade();
        if let Some(lease) = lease.filter(|lease| lease.is_held()) {
            return Ok(Ok(lease));
        }
        Ok(self.take_lease().await?.map(|lease| {
            let lease = Arc::new(lease);
            self.state().operations().lease = Arc::downgrade(&lease);
            lease
        }))
    }

    /// Reports the loss of a lease once.
    pub(super) fn report_lost(&self, term: &Term) {
        if term.takes_loss() {
            self.report(EventKind::StoreLeaseLost);
        }
    }

    async fn take_lease(self: &Arc<Self>) -> Result<Result<Lease, Duration>, StoreError> {
        // Another holder each time: a lease that is given up late must not end the next one.
        let holder: Arc<str> = format!("{:032x}", fastrand::u128(..)).into();
        let give_up = self.give_up(holder.clone());
        let asked = Instant::now();
        match self.ask_for_lease(&holder, self.settings.lease_ttl).await? {
            Leased::Held => Ok(Ok(self.keep(holder, asked, give_up))),
            Leased::Busy(left) => {
                give_up.cancel();
                Ok(Err(left))
            }
        }
    }

    async fn ask_for_lease(&self, holder: &str, ttl: Duration) -> Result<Leased, StoreError> {
        let lease = self.settings.store.lease(&self.name, holder, ttl);
        self.within(StoreOperation::Lease, lease).await
    }

    fn keep(self: &Arc<Self>, holder: Arc<str>, asked: Instant, give_up: GiveUp) -> Lease {
        let ttl = self.settings.lease_ttl;
        let term = Arc::new(Term::new(asked + ttl));
        let keeper = tokio::spawn({
            let (desk, term) = (Operation::start(self, None), term.clone());
            async move {
                loop {
                    time::sleep(ttl / 3).await;
                    let asked = Instant::now();
                    let lasts = match desk.ask_for_lease(&holder, ttl).await {
                        Ok(Leased::Held) => term.extend(asked + ttl),
                        Ok(Leased::Busy(_)) => {
                            term.end();
                            false
                        }
                        Err(_) => term.lasts(),
                    };
                    // A lost lease is asked for again nevertheless: its holder may be in
                    // mid-exchange, or have something unsaved.
                    if !lasts {
                        desk.report_lost(&term);
                    }
                }
            }
        });
        Lease::new(term, keeper.abort_handle(), give_up)
    }

    fn give_up(self: &Arc<Self>, holder: Arc<str>) -> GiveUp {
        let desk = Operation::start(self, None);
        GiveUp::new(move || {
            // Without a runtime the lease ends by itself.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(async move {
                    drop(desk.ask_for_lease(&holder, Duration::ZERO).await);
                });
            }
        })
    }
}
