//! A dashboard fires a hundred requests just after its access token has expired. What happens next?
//!
//! `cargo run --example dashboard` tells it in five scenes, all of them real HTTP on loopback, and checks every number
//! that it prints against what the crate guarantees. Copy from `client/dashboard.rs` and `client/auth.rs`.

mod args;
mod client;
mod clock;
mod form;
mod report;
mod scenes;
mod server;

use crate::{args::Args, report::Report, scenes::Story};
use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};
use tokio::time::timeout;
use tower::BoxError;

/// No scene takes nearly as long, not even the largest on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    let told = match args::parse(lexopt::Parser::from_env()) {
        Ok(Args::Help) => print(args::HELP).map(|()| true),
        Ok(Args::Run { requests }) => tell(requests).await,
        Err(error) => {
            eprintln!("dashboard: {error}\nTry `--help`.");
            return ExitCode::from(2);
        }
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

/// Whether every number was right.
async fn tell(requests: usize) -> Result<bool, BoxError> {
    let story = timeout(PATIENCE, Story::begin(requests)).await??;
    let mut is_right = play('a', story.expired()).await?;
    is_right &= play('b', story.naive()).await?;
    is_right &= play('c', story.refused()).await?;
    is_right &= play('d', story.back()).await?;
    is_right &= play('e', story.ahead()).await?;
    Ok(is_right)
}

async fn play(name: char, scene: impl Future<Output = Result<Report, BoxError>>) -> Result<bool, BoxError> {
    let report = match timeout(PATIENCE, scene).await {
        Ok(report) => report.map_err(|error| format!("scene ({name}): {}", report::with_causes(&*error)))?,
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
