//! stub
#[derive(Debug, Clone)]
pub struct Cron;
