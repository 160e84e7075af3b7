//! coffre with layers of its confinement switched off, for the test that shows what each of them
//! holds without the others. It is the whole server otherwise, and takes the same command line.
//!
//! `COFFRE_WITHOUT` names what is off: `names`, `descriptors`, both with a comma between, or
//! nothing. Landlock has a key in the configuration. Not part of what is installed; the switches
//! are not there in a release build, and this program refuses to be one.

#![expect(
    clippy::unwrap_used,
    reason = "a test's program ends where it cannot go on"
)]

fn main() -> std::process::ExitCode {
    let without = std::env::var("COFFRE_WITHOUT").unwrap();
    eprintln!("WARNING: this is a test build that works WITHOUT: [{without}]; never use it");
    for layer in without.split(',').filter(|layer| !layer.is_empty()) {
        switch_off(layer);
    }
    coffre::cli::main()
}

#[cfg(debug_assertions)]
fn switch_off(layer: &str) {
    match layer {
        "names" => coffre_protocol::layers::stop_checking_names(),
        "descriptors" => coffre::confine::follow_everything(),
        other => panic!("no layer \"{other}\""),
    }
}

#[cfg(not(debug_assertions))]
fn switch_off(layer: &str) {
    panic!("a release build cannot work without {layer}");
}
