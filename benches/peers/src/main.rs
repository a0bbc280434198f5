//! Three measurements of each peer: a herd of requests whose token was revoked, a herd in trouble,
//! and a request whose token is valid. The README of this package has the details and the results.

mod contest;
mod effort;
mod endpoint;
mod fresh;
mod herd;
mod issuer;
mod peer;
mod peers;
mod request;
mod stack;
mod table;
mod trouble;
mod upstream;

/// Code that the benches of tower-refresh use as well. Both packages compile the same files,
/// because a package for them could not be part of the published crate.
#[path = "../../support"]
mod support {
    pub(crate) mod page;
    pub(crate) mod retry;
}

use contest::Contest;
use effort::Effort;
use lexopt::{Arg, Parser, ValueExt};
use peers::{
    AzureCore, AzureCoreChallenged, CfGears, Huskarl, Kube, ReqwestChecked, ReqwestMutex,
    TowerRefresh, TowerRetry,
};
use tower::BoxError;

const HELP: &str = "\
Sends the same herd, and the same request with a valid token, through tower-refresh and its peers, and prints tables.
With BENCH_WRITE in the environment, also writes them into benches/peers/README.md.

Usage: cargo run --release --manifest-path benches/peers/Cargo.toml [-- OPTIONS]

Options:
      --test    Everything once and small, to check that it runs. The figures mean nothing
  -h, --help    Print help
";

fn main() -> Result<(), BoxError> {
    let mut effort = Effort::Full;
    let mut args = Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("test") => effort = Effort::Once,
            // The layer of kube runs this program as its credential plugin.
            Arg::Long("exec-plugin") => return endpoint::exec_plugin(&args.value()?.string()?),
            Arg::Short('h') | Arg::Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(arg.unexpected().into()),
        }
    }

    trouble::hide_panics();
    let mut contest = Contest::new(effort)?;
    contest.enter::<TowerRefresh>()?;
    contest.enter::<CfGears>()?;
    contest.enter::<Kube>()?;
    contest.enter::<AzureCore>()?;
    contest.enter::<AzureCoreChallenged>()?;
    contest.enter::<ReqwestMutex>()?;
    contest.enter::<ReqwestChecked>()?;
    contest.enter::<Huskarl>()?;
    contest.enter::<TowerRetry>()?;
    contest.run()
}
