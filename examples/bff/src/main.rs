//! Starts the back-end, the auth server and the upstream, and prints the address to open.

use std::time::Duration;

use bff::{Demo, DemoOptions};
use tower_refresh::BoxError;

const HELP: &str = "\
A back-end for a browser front-end, with an auth server and an upstream, on loopback.

Usage: cargo run --manifest-path examples/bff/Cargo.toml -- [OPTIONS]

    --port PORT             the port of the back-end (default: 0)
    --auth-port PORT        the port of the auth server (default: 0)
    --upstream-port PORT    the port of the upstream (default: 0)
    --token-seconds N       the lifetime of access tokens, at least 1 second (default: 60)
    --max-sessions N        the number of browsers that are logged in at a time (default: 10000)
    --public-url URL        the address for browsers, if a proxy with TLS is in front
    -h, --help              print this text

With port 0, the system chooses a free one.
";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Some(options) = parse()? else {
        print!("{HELP}");
        return Ok(());
    };
    let demo = Demo::start(&options).await?;
    println!("dashboard       {}/", demo.address());
    println!("status page     {}/status", demo.address());
    println!("administration  {}/admin", demo.auth_address());
    demo.run().await
}

/// `None` asks for help.
fn parse() -> Result<Option<DemoOptions>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt};

    let mut options = DemoOptions::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("port") => options.port = parser.value()?.parse()?,
            Long("auth-port") => options.auth_port = parser.value()?.parse()?,
            Long("upstream-port") => options.upstream_port = parser.value()?.parse()?,
            Long("token-seconds") => {
                let seconds: std::num::NonZeroU32 = parser.value()?.parse()?;
                options.token_lifetime = Duration::from_secs(seconds.get().into());
            }
            Long("max-sessions") => options.max_sessions = parser.value()?.parse()?,
            Long("public-url") => options.public_url = Some(parser.value()?.parse()?),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(options))
}
