//! A dashboard sends a hundred requests just after its access token has expired.
//!
//! `cargo run --example dashboard` shows the result in five scenes, with real HTTP on loopback, and
//! checks every number that it prints against the guarantees of the crate. The files to copy from
//! are `client/dashboard.rs` and `client/auth.rs`.
//!
//! With `--features cookies` and `--credential cookie` the tokens travel in cookies, and
//! `cookies/client.rs` replaces `client/auth.rs`.
//!
//! With `--log` an observer of the session (`log.rs`) prints each refresh and each login.
//!
//! With `--svg FILE` the first two scenes run with network delays and are drawn on a time axis.

mod args;
mod client;
mod clock;
#[cfg(feature = "cookies")]
mod cookies;
mod form;
mod log;
mod picture;
mod report;
mod scenes;
mod server;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use tokio::time::timeout;
use tower::BoxError;

use crate::{
    args::{Args, Credential, Options},
    client::{AuthClient, AuthService},
    log::Log,
    report::Report,
    scenes::Story,
    server::{Bearer, Wire, link::Link},
};

/// The time limit of a scene, far above what the largest one takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    let result = match args::parse(lexopt::Parser::from_env()) {
        Ok(Args::Help) => print(args::HELP).map(|()| true),
        Ok(Args::Run(options)) => match options.credential {
            Credential::Bearer => run::<AuthClient>(&options, &Bearer).await,
            #[cfg(feature = "cookies")]
            Credential::Cookie => run::<cookies::CookieClient>(&options, &cookies::Cookies).await,
            #[cfg(not(feature = "cookies"))]
            Credential::Cookie => {
                return misused(
                    "`--credential cookie` needs the feature `cookies`:\n  \
                     cargo run --features cookies --example dashboard -- --credential cookie",
                );
            }
        },
        Err(error) => return misused(&format!("{error}\nTry `--help`.")),
    };
    match result {
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

/// Returns whether every number is right.
async fn run<A: AuthService>(options: &Options, wire: &'static dyn Wire) -> Result<bool, BoxError> {
    let log = options.log.then(Log::start);
    match &options.svg {
        Some(file) => draw::<A>(options.requests, wire, log, file).await,
        None => play_all::<A>(options.requests, wire, log).await,
    }
}

async fn play_all<A: AuthService>(
    requests: usize,
    wire: &'static dyn Wire,
    log: Option<Log>,
) -> Result<bool, BoxError> {
    let story = limited(Story::<A>::begin(requests, wire, Link::Loopback, log)).await?;
    let mut is_right = show('a', &limited(story.expired()).await?.report)?;
    is_right &= show('b', &limited(story.naive()).await?.report)?;
    is_right &= show('c', &limited(story.refused()).await?)?;
    is_right &= show('d', &limited(story.back()).await?)?;
    is_right &= show('e', &limited(story.ahead()).await?)?;
    Ok(is_right)
}

async fn draw<A: AuthService>(
    requests: usize,
    wire: &'static dyn Wire,
    log: Option<Log>,
    file: &Path,
) -> Result<bool, BoxError> {
    let story = limited(Story::<A>::begin(requests, wire, Link::recorded(), log)).await?;
    let layer = limited(story.expired()).await?;
    let by_hand = limited(story.naive()).await?;
    let is_right = show('a', &layer.report)? & show('b', &by_hand.report)?;
    fs::write(file, picture::draw(&by_hand, &layer))
        .map_err(|error| format!("can't write {}: {error}", file.display()))?;
    print(&format!("drawn: {}\n", file.display()))?;
    Ok(is_right)
}

async fn limited<T>(scene: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    timeout(LIMIT, scene).await.map_err(|_| format!("a scene did not end in {LIMIT:?}"))?
}

/// Prints a scene's report, and returns whether its numbers are right.
fn show(name: char, report: &Report) -> Result<bool, BoxError> {
    print(&format!("({name}) {report}\n"))?;
    for wrong in report.wrong() {
        eprintln!("dashboard: scene ({name}): {wrong}");
    }
    Ok(report.wrong().next().is_none())
}

/// Prints without `println!`, which panics once the pipe is closed (`| head`).
fn print(text: &str) -> Result<(), BoxError> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}
