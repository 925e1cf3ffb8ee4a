//! The command `gmprt`: looks at programs with goroutines from outside.
//!
//! | file | does |
//! |---|---|
//! | `report/` | `gmprt report`: a page of a trace |
//! | `dump.rs` | `gmprt dump`: the goroutines of a process or a core |
//! | `top.rs` | `gmprt top`: groups, Ps and threads, again and again |
//! | `screen.rs` | the terminal of `top` |
//! | `machine.rs` | the Ps and Ms of a process |
//! | `target.rs` | opens a process or a core |

mod dump;
mod machine;
mod report;
mod screen;
mod target;
mod top;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Looks at programs with goroutines: what they do, and what they have done.
#[derive(Parser)]
#[command(
    name = "gmprt",
    version,
    after_help = "\
    Examples:\n  \
    gmprt dump $(pidof server)        what waits where, and for what\n  \
    gmprt dump --each --stacks core   all of a program that has died\n  \
    gmprt top $(pidof server)         the same live, in numbers\n  \
    gmprt report server.trace         a page of GMPDEBUG=trace=server.trace"
)]
struct Gmprt {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the goroutines of a running process, or of a core
    Dump(dump::Dump),
    /// Watch what the goroutines of a running process do
    Top(top::Top),
    /// Make one HTML page of a trace, to be opened in any browser
    Report(report::Report),
}

fn main() -> ExitCode {
    let done = match Gmprt::parse().command {
        Command::Dump(dump) => dump.run(),
        Command::Top(top) => top.run(),
        Command::Report(report) => report.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gmprt: {why}");
            ExitCode::FAILURE
        }
    }
}
