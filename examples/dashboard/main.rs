//! A dashboard fires a hundred requests just after its access token has expired. What happens next?
//!
//! `cargo run --example dashboard` tells it in five scenes, all of them real HTTP on loopback, and
//! checks every number that it prints against what the crate guarantees. Copy from
//! `client/dashboard.rs` and `client/auth.rs`.
//!
//! With `--features cookies` and `--credential cookie` the tokens travel in cookies, and
//! `cookies/client.rs` takes the place of `client/auth.rs`.

mod args;
mod client;
mod clock;
#[cfg(feature = "cookies")]
mod cookies;
mod form;
mod report;
mod scenes;
mod server;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use tokio::time::timeout;
use tower::BoxError;

use crate::{
    args::{Args, Credential},
    client::{AuthClient, AuthService},
    report::Report,
    scenes::Story,
    server::{Bearer, Wire},
};

/// No scene takes nearly as long, not even the largest on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    let told = match args::parse(lexopt::Parser::from_env()) {
        Ok(Args::Help) => print(args::HELP).map(|()| true),
        Ok(Args::Run { requests, credential: Credential::Bearer }) => {
            tell::<AuthClient>(requests, &Bearer).await
        }
        #[cfg(feature = "cookies")]
        Ok(Args::Run { requests, credential: Credential::Cookie }) => {
            tell::<cookies::CookieClient>(requests, &cookies::Cookies).await
        }
        #[cfg(not(feature = "cookies"))]
        Ok(Args::Run { requests, credential: Credential::Cookie }) => {
            let command = "cargo run --features cookies --example dashboard -- --credential cookie";
            return misused(&format!(
                "`--credential cookie` needs the feature `cookies`:\n  {command} --requests {requests}"
            ));
        }
        Err(error) => return misused(&format!("{error}\nTry `--help`.")),
    };
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("dashboard: {}", report::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn misused(message: &str) -> ExitCode {
    eprintln!("dashboard: {message}");
    ExitCode::from(2)
}

/// Whether every number was right.
async fn tell<A: AuthService>(requests: usize, wire: &'static dyn Wire) -> Result<bool, BoxError> {
    let story = timeout(PATIENCE, Story::<A>::begin(requests, wire)).await??;
    let mut is_right = play('a', story.expired()).await?;
    is_right &= play('b', story.naive()).await?;
    is_right &= play('c', story.refused()).await?;
    is_right &= play('d', story.back()).await?;
    is_right &= play('e', story.ahead()).await?;
    Ok(is_right)
}

async fn play(
    name: char,
    scene: impl Future<Output = Result<Report, BoxError>>,
) -> Result<bool, BoxError> {
    let report = match timeout(PATIENCE, scene).await {
        Ok(report) => {
            report.map_err(|error| format!("scene ({name}): {}", report::with_causes(&*error)))?
        }
        Err(_) => return Err(format!("scene ({name}) hangs: no end after {PATIENCE:?}").into()),
    };
    print(&format!("({name}) {report}\n"))?;
    for wrong in report.wrong() {
        eprintln!("dashboard: scene ({name}): {wrong}");
    }
    Ok(report.wrong().next().is_none())
}

/// Not `println!`, which panics when nobody reads any more (`| head`).
fn print(text: &str) -> Result<(), BoxError> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}
