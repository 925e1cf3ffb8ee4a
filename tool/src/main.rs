//! The command `gmprt`.

fn main() {
    eprintln!("gmprt: no command yet");
    std::process::exit(2);
}
