//! Include and exclude rules.

mod glob;
mod pattern;

pub use glob::Glob;
