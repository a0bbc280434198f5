//! A gRPC client whose token expires: two hundred calls at once, a stream that is cut, and a
//! session that is revoked.
//!
//! `cargo run --example grpc --features grpc` runs a tonic server and a tonic client on loopback,
//! and checks every number that it prints. No `protoc` is needed: messages and clients are written
//! like generated code. The part to copy is `client.rs`.

mod args;
mod auth;
mod client;
mod messages;
mod quotes;
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
    args::Args,
    scenes::{Scene, Story},
};

/// The program takes a second. The deadline is for the case that it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    let told = match args::parse(lexopt::Parser::from_env()) {
        Ok(Args::Help) => print(args::HELP).map(|()| true),
        Ok(Args::Run { calls }) => tell(calls).await,
        Err(error) => {
            eprintln!("grpc: {error}\nTry `--help`.");
            return ExitCode::from(2);
        }
    };
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("grpc: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every number was right.
async fn tell(calls: usize) -> Result<bool, BoxError> {
    let story = Story::begin().await?;
    let mut is_right = print_scene(timeout(PATIENCE, story.expired(calls)).await?)?;
    is_right &= print_scene(timeout(PATIENCE, story.cut()).await??)?;
    is_right &= print_scene(timeout(PATIENCE, story.revoked()).await??)?;
    Ok(is_right)
}

fn print_scene(scene: Scene) -> Result<bool, BoxError> {
    print(&format!("{scene}\n"))?;
    Ok(scene.is_right())
}

/// Like `println!`, which panics when the reader of a pipe has gone (`| head`).
fn print(text: &str) -> Result<(), BoxError> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}
