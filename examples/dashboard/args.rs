//! The command line.

use std::{ops::RangeInclusive, path::PathBuf};

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
Sends many HTTP requests at once with an expired access token, to real servers on loopback, and shows that they
cost one refresh. Then shows the same requests with a refresh written by hand, a refresh that is refused, a new
login, and hours of steady traffic in which tokens are renewed before they expire and no request waits.

Usage: cargo run --example dashboard -- [OPTIONS]
       cargo run --features cookies --example dashboard -- --credential cookie [OPTIONS]

Options:
      --requests <N>       Number of requests at once, 2 to 20000 [default: 100]
      --credential <KIND>  Carrier of the tokens: bearer, or cookie (needs the feature `cookies`) [default: bearer]
      --log                Print each refresh and each login to standard error, as they happen
      --svg <FILE>         Draw the first two scenes, with network delays, into an SVG file, and stop
                           [requests: 2 to 40, default: 16]
  -h, --help               Print this

Exit status: 0 if all numbers are as guaranteed, 1 if one is not, 2 for a wrong option.
";

/// All requests are in flight at once, with clients and servers in one process: 20 000 of them take
/// half a gigabyte.
const REQUESTS: RangeInclusive<usize> = 2..=20_000;

/// Each request is a row of the picture.
const ROWS: RangeInclusive<usize> = 2..=40;

pub(crate) enum Args {
    Help,
    Run(Options),
}

pub(crate) struct Options {
    pub(crate) requests: usize,
    pub(crate) credential: Credential,
    pub(crate) log: bool,
    pub(crate) svg: Option<PathBuf>,
}

/// The carrier of the tokens.
pub(crate) enum Credential {
    Bearer,
    Cookie,
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Args, lexopt::Error> {
    let (mut requests, mut credential, mut svg) = (None, Credential::Bearer, None);
    let mut log = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("requests") => requests = Some(parser.value()?.parse()?),
            Long("credential") => credential = parser.value()?.parse_with(kind_of_credential)?,
            Long("log") => log = true,
            Long("svg") => svg = Some(parser.value()?.into()),
            Short('h') | Long("help") => return Ok(Args::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    let (range, default) = if svg.is_some() { (ROWS, 16) } else { (REQUESTS, 100) };
    let requests = requests.unwrap_or(default);
    if !range.contains(&requests) {
        return Err(format!("--requests is from {} to {}", range.start(), range.end()).into());
    }
    Ok(Args::Run(Options { requests, credential, log, svg }))
}

fn kind_of_credential(value: &str) -> Result<Credential, &'static str> {
    match value {
        "bearer" => Ok(Credential::Bearer),
        "cookie" => Ok(Credential::Cookie),
        _ => Err("--credential takes `bearer` or `cookie`"),
    }
}
