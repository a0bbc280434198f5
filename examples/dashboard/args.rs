//! The command line.

use std::ops::RangeInclusive;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
Fires many HTTP requests at once with an expired access token, at real servers on loopback, and shows that
they cost one refresh; then the same the naive way, then a refresh that is refused, then a new login, then
hours of steady traffic in which tokens are renewed ahead of their expiry and no request waits.

Usage: cargo run --example dashboard -- [OPTIONS]
       cargo run --features cookies --example dashboard -- --credential cookie [OPTIONS]

Options:
      --requests <N>       How many requests at once, from 2 (one alone is no herd) to 20000 [default: 100]
      --credential <KIND>  What carries the tokens: bearer, or cookie (needs the feature) [default: bearer]
  -h, --help               Print this

Exit status: 0 if every number is as guaranteed, 1 if one is not, 2 for a wrong option.
";

/// All of the herd is in flight at once, clients and servers in one process: 20 000 of them take
/// half a gigabyte.
const REQUESTS: RangeInclusive<usize> = 2..=20_000;

pub(crate) enum Args {
    Help,
    Run { requests: usize, credential: Credential },
}

/// What carries the tokens.
pub(crate) enum Credential {
    Bearer,
    Cookie,
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Args, lexopt::Error> {
    let mut requests = 100;
    let mut credential = Credential::Bearer;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("requests") => requests = parser.value()?.parse_with(number_of_requests)?,
            Long("credential") => credential = parser.value()?.parse_with(kind_of_credential)?,
            Short('h') | Long("help") => return Ok(Args::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Args::Run { requests, credential })
}

fn kind_of_credential(value: &str) -> Result<Credential, &'static str> {
    match value {
        "bearer" => Ok(Credential::Bearer),
        "cookie" => Ok(Credential::Cookie),
        _ => Err("--credential takes `bearer` or `cookie`"),
    }
}

fn number_of_requests(value: &str) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| REQUESTS.contains(number));
    number.ok_or_else(|| {
        format!("--requests takes a whole number from {} to {}", REQUESTS.start(), REQUESTS.end())
    })
}
