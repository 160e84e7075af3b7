//! The `coffre` binary: see `coffre::cli`.

fn main() -> std::process::ExitCode {
    coffre::cli::main()
}
