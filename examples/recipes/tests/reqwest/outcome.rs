//! The outcome of a request, in a form that does not depend on the ports of the servers.

use std::collections::BTreeMap;

use reqwest::Response;
use tower::BoxError;
use tower_refresh::reqwest::SendError;

use crate::server::{Seen, Server};

/// The outcome of a request, and what the servers have accepted for it.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) answer: Result<Answer, &'static str>,
    /// For each server: the method, the target, the headers and the body of each request.
    pub(crate) accepted: Vec<Vec<String>>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) url: String,
    body: String,
}

// === impl Outcome ===

impl Outcome {
    pub(crate) async fn of(result: Result<Response, BoxError>, servers: &[&Server]) -> Self {
        let answer = match result {
            Ok(response) => Ok(Answer {
                status: response.status().as_u16(),
                url: without_ports(response.url().as_str(), servers),
                body: response.text().await.unwrap(),
            }),
            Err(error) => Err(kind(&error)),
        };
        let accepted = servers.iter().map(|server| {
            let shown = server.accepted().into_iter().map(|seen| {
                let Seen { method, target, mut headers, body } = seen;
                headers.remove("host");
                // Their order does not matter.
                let headers: BTreeMap<_, _> =
                    headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
                without_ports(&format!("{method} {target} {headers:?} {body:?}"), servers)
            });
            shown.collect()
        });
        Self { answer, accepted: accepted.collect() }
    }
}

fn kind(error: &BoxError) -> &'static str {
    match (error.downcast_ref::<reqwest::Error>(), error.downcast_ref::<SendError>()) {
        // reqwest tells a scheme that it does not know by another kind.
        (Some(error), _) if error.is_redirect() || error.is_builder() => "redirect",
        (Some(error), _) if error.is_connect() => "connect",
        (_, Some(error)) if error.is_redirect() => "redirect",
        _ => panic!("{error:?}"),
    }
}

fn without_ports(text: &str, servers: &[&Server]) -> String {
    servers.iter().enumerate().fold(text.to_owned(), |text, (index, server)| {
        text.replace(&server.address.to_string(), &format!("server-{index}"))
    })
}
