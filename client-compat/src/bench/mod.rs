use anyhow::Result;
#[derive(clap::Args)]
pub struct BenchOptions {}
pub fn bench(_o: &BenchOptions) -> Result<()> {
    Ok(())
}
