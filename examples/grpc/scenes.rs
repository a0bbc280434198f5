//! The scenes, each with its expected numbers.

use std::{fmt, time::Duration};

use tokio::{sync::watch, task::JoinSet};
use tokio_stream::StreamExt;
use tonic::Code;
use tower::BoxError;

use crate::{
    auth::Auth,
    client::{self, LayeredChannel, QuotesClient},
    messages::Symbol,
    server::Backend,
};

/// Observed values, each with the expected one.
pub(crate) struct Scene {
    title: String,
    facts: Vec<(&'static str, String, String)>,
    note: Option<String>,
}

/// A server, and a client that does not know that its token has expired.
pub(crate) struct Story {
    auth: Auth,
    backend: Backend,
    client: QuotesClient<LayeredChannel>,
    log_outs: watch::Receiver<usize>,
}

const SHORT: Duration = Duration::from_secs(1);

// === impl Story ===

impl Story {
    pub(crate) async fn begin() -> Result<Self, BoxError> {
        let auth = Auth::new();
        let backend = Backend::new(auth.clone());
        let endpoint = backend.listen().await?;
        let (logged_out, log_outs) = watch::channel(0);
        let log_out = move || logged_out.send_modify(|count| *count += 1);
        let session = client::session(auth.log_in(), endpoint.connect_lazy(), log_out);
        let client = QuotesClient::new(client::layered(endpoint.connect_lazy(), session));
        auth.expire_in(Duration::ZERO);
        Ok(Self { auth, backend, client, log_outs })
    }

    pub(crate) async fn expired(&self, calls: usize) -> Scene {
        let mut herd = JoinSet::new();
        for number in 0..calls {
            let mut client = self.client.clone();
            herd.spawn(async move { client.get(Symbol::new(&number.to_string())).await });
        }
        let answers = herd.join_all().await.iter().filter(|answer| answer.is_ok()).count();
        Scene::new(format!("{calls} unary calls at once, and the token has expired"))
            .fact("answers", answers, calls)
            .fact("refreshes", self.auth.refreshes(), 1)
    }

    pub(crate) async fn cut(&self) -> Result<Scene, BoxError> {
        self.auth.expire_in(SHORT);
        let refreshes = self.auth.refreshes();
        let mut client = self.client.clone();
        let mut quotes = client.watch(Symbol::new("ACME")).await?.into_inner();
        let mut messages = 0;
        let status = loop {
            match quotes.next().await.ok_or("the stream ended without a status")? {
                Ok(_) => messages += 1,
                Err(status) => break status,
            }
        };

        let calls = self.backend.calls();
        let symbols = tokio_stream::iter(["ACME", "INIT"].map(Symbol::new));
        let answers: Vec<_> = client.ask(symbols).await?.into_inner().collect().await;
        Ok(Scene::new("A token expires during a stream; a bidirectional call follows")
            .fact("messages before the token expired", messages > 0, true)
            .fact("status of the stream", status.code(), Code::Unauthenticated)
            .fact("refreshes before the next call is sent", self.auth.refreshes() - refreshes, 1)
            .fact("attempts", self.backend.calls() - calls, 1)
            .fact("answers to it", answers.iter().filter(|answer| answer.is_ok()).count(), 2))
    }

    pub(crate) async fn revoked(mut self) -> Result<Scene, BoxError> {
        self.auth.expire_in(Duration::ZERO);
        self.auth.revoke();
        let first = self.client.get(Symbol::new("ACME")).await.err().ok_or("it was answered")?;

        let (calls, refreshes) = (self.backend.calls(), self.auth.refreshes());
        let second = self.client.get(Symbol::new("ACME")).await.err().ok_or("it was answered")?;
        let log_outs = *self.log_outs.wait_for(|count| *count > 0).await?;
        Ok(Scene::new("The session is revoked")
            .fact("the next call", first.code(), Code::Unauthenticated)
            .fact("the call after it", second.code(), Code::Unauthenticated)
            .fact("attempts", self.backend.calls() - calls, 0)
            .fact("refreshes", self.auth.refreshes() - refreshes, 0)
            .fact("logouts", log_outs, 1)
            .note(first.message()))
    }
}

// === impl Scene ===

impl Scene {
    fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), facts: Vec::new(), note: None }
    }

    fn fact<T: fmt::Debug>(mut self, label: &'static str, seen: T, must_be: T) -> Self {
        self.facts.push((label, format!("{seen:?}"), format!("{must_be:?}")));
        self
    }

    fn note(mut self, note: &str) -> Self {
        self.note = Some(note.to_owned());
        self
    }

    pub(crate) fn is_right(&self) -> bool {
        self.facts.iter().all(|(_, seen, must_be)| seen == must_be)
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for (label, seen, must_be) in &self.facts {
            let verdict =
                if seen == must_be { "ok".to_owned() } else { format!("WRONG: must be {must_be}") };
            writeln!(f, "  {label:<43} {seen:<16} {verdict}")?;
        }
        if let Some(note) = &self.note {
            writeln!(f, "  the caller is told: {note}")?;
        }
        Ok(())
    }
}
