//! The command line.

use std::ops::RangeInclusive;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
Makes many gRPC calls at once with an expired token, on a real tonic server on loopback, and shows that they
cost one refresh; then has a stream cut by the end of its token, and a session revoked.

Usage: cargo run --example grpc --features grpc -- [OPTIONS]

Options:
      --calls <N>  How many unary calls at once, from 2 to 10000 [default: 200]
  -h, --help       Print this

Exit status: 0 if every number is as guaranteed, 1 if one is not, 2 for a wrong option.
";

const CALLS: RangeInclusive<usize> = 2..=10_000;

pub(crate) enum Args {
    Help,
    Run { calls: usize },
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Args, lexopt::Error> {
    let mut calls = 200;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("calls") => calls = parser.value()?.parse_with(number_of_calls)?,
            Short('h') | Long("help") => return Ok(Args::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Args::Run { calls })
}

fn number_of_calls(value: &str) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| CALLS.contains(number));
    number.ok_or_else(|| {
        format!("--calls takes a whole number from {} to {}", CALLS.start(), CALLS.end())
    })
}
