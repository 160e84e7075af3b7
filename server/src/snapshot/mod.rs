//! owned elsewhere
