//! stub
#[derive(Debug, Clone)]
pub struct Rules;
