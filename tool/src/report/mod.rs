//! `gmprt report`: one HTML page of a trace, to look at without a network.
//!
//! | file | does |
//! |---|---|
//! | `page.rs` | writes the page: `page.html`, `page.css`, `page_*.js`, data |
//! | `summary.rs` | the tables: latencies, waits, who woke whom |
//! | `story.rs` | makes the timeline of the tracks of a trace |
//! | `timeline.rs` | the timeline: what ran where and when |
//! | `perfetto.rs` | reads packets, tracks and events |
//! | `wire.rs` | reads the fields of a message |

mod page;
mod perfetto;
mod story;
mod summary;
mod timeline;
mod wire;

use clap::Args;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(
    after_help = "The page has everything in itself and asks no network. \
    It shows what ran on each P, the states of the goroutines that the reader \
    chooses, which goroutine woke which, how long they waited for what and for \
    a P, and the marks of gmp_trace_mark. Arrows move, + and - zoom; the page \
    says the rest.\n\n\
    A trace that is cut off, as by the death of its program, is shown up to \
    there.\n\n\
    Exit status: 0, or 1 with the reason on the standard error."
)]
pub struct Report {
    /// The trace: what GMPDEBUG=trace=FILE, gmp_trace_start or gmp_trace_save
    /// has written
    file: PathBuf,
    /// Where the page goes; FILE with ".html" behind it unless said otherwise,
    /// "-" for the standard output
    #[arg(short, long, value_name = "OUT.html")]
    output: Option<PathBuf>,
}

impl Report {
    /// Writes the page.
    ///
    /// # Errors
    /// In words.
    pub fn run(&self) -> Result<(), String> {
        let name = self.file.display();
        let file = fs::read(&self.file)
            .map_err(|why| format!("cannot read {name}: {}", words(&why)))?;
        let about = |why| format!("{name} {why}");
        let trace = perfetto::read(&file).map_err(about)?;
        let timeline = story::tell(trace).map_err(about)?;
        for warning in &timeline.warnings {
            eprintln!("gmprt: {name}: {warning}");
        }
        self.write(&page::page(&timeline))
    }

    fn write(&self, page: &str) -> Result<(), String> {
        let path = self.output.clone().unwrap_or_else(|| {
            let mut path = self.file.clone().into_os_string();
            path.push(".html");
            path.into()
        });
        if path == Path::new("-") {
            return match io::stdout().write_all(page.as_bytes()) {
                Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
                    Err(format!("cannot write the page: {}", words(&why)))
                }
                _ => Ok(()),
            };
        }
        fs::write(&path, page).map_err(|why| {
            format!("cannot write {}: {}", path.display(), words(&why))
        })?;
        println!("{}", path.display());
        Ok(())
    }
}

/// The words for an error of the system's, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
