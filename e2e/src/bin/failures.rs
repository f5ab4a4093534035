//! Hurts real processes and measures how long it takes until all is well: `failures --trivet PATH` prints a table in Markdown.
//!
//! A promise that is missed is printed as missed. Groups that do not become whole again, or never get their three voters, end
//! it with 1; the folder with everything in it is kept then.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use e2e::bench::machine;
use e2e::failures::Bench;
use e2e::failures::memory::Memory;
use e2e::failures::row::{Row, table};
use e2e::failures::settings::{Settings, command};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let folder = settings.folder();
    ensure!(!folder.exists(), "{} is there already", folder.display());
    let begun = Instant::now();
    say(&format!("`{}`{} on {}.\n", command(std::env::args().skip(1)), machine::commit(), machine::describe(&folder)?));
    let rows = measure(Bench { settings, memory: Memory::default(), say }, &folder).await?;
    say("");
    table(&rows).iter().for_each(|line| say(line));
    say(&format!("\nAll of it took {:.0} s.", begun.elapsed().as_secs_f64()));
    std::fs::remove_dir(&folder).context("remove the folder")
}

async fn measure(bench: Bench, folder: &Path) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for part in &bench.settings.parts {
        let measured = bench.measure(*part).await;
        rows.extend(measured.with_context(|| format!("{part}: what it left is in {}", folder.display()))?);
    }
    rows.push(bench.memory.row());
    Ok(rows)
}

#[expect(clippy::print_stdout, reason = "the program's answer")]
fn say(line: &str) {
    println!("{line}");
}
