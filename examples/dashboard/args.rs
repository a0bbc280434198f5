//! The command line.

use lexopt::prelude::*;
use std::ops::RangeInclusive;

pub(crate) const HELP: &str = "\
Fires many HTTP requests at once with an expired access token, at real servers on loopback, and shows that
they cost one refresh; then the same the naive way, then a refresh that is refused, then a new login, then
hours of steady traffic in which tokens are renewed ahead of their expiry and no request waits.

Usage: cargo run --example dashboard -- [OPTIONS]

Options:
      --requests <N>  How many requests at once, from 2 (one alone is no herd) to 20000 [default: 100]
  -h, --help          Print this

Exit status: 0 if every number is as guaranteed, 1 if one is not, 2 for a wrong option.
";

/// All of the herd is in flight at once, clients and servers in one process: 20 000 of them take half a gigabyte.
const REQUESTS: RangeInclusive<usize> = 2..=20_000;

pub(crate) enum Args {
    Help,
    Run { requests: usize },
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Args, lexopt::Error> {
    let mut requests = 100;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("requests") => requests = parser.value()?.parse_with(number_of_requests)?,
            Short('h') | Long("help") => return Ok(Args::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Args::Run { requests })
}

fn number_of_requests(value: &str) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| REQUESTS.contains(number));
    number.ok_or_else(|| {
        format!("--requests takes a whole number from {} to {}", REQUESTS.start(), REQUESTS.end())
    })
}
