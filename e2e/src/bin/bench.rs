//! Measures what operations cost, and how long they take: `bench --trivet PATH` prints tables in Markdown.
//!
//! The numbers hold for this machine, with client and servers on it together.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use e2e::bench::machine;
use e2e::bench::session::Session;
use e2e::bench::settings::{Beside, Settings, Shape, command};
use e2e::bench::subject::Subject;
use rustix::process::{Resource, getrlimit, setrlimit};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    settings.validate()?;
    allow_many_connections()?;
    let begun = Instant::now();
    let mut text = String::new();
    let mut say = |line: &str| {
        print(line);
        text.push_str(line);
        text.push('\n');
    };
    say(&format!(
        "`{}`{} on {}.",
        command(std::env::args().skip(1)),
        machine::commit(),
        machine::describe(&folder(&settings))?
    ));
    for shape in settings.shapes() {
        measure(&settings, shape, &mut say).await?;
    }
    say(&format!("\nAll of it took {:.0} s.", begun.elapsed().as_secs_f64()));
    if let Some(path) = &settings.markdown {
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(std::fs::remove_dir(folder(&settings))?)
}

/// Everything fresh for each shape.
async fn measure(settings: &Settings, shape: Shape, say: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let folder = folder(settings);
    let subject = Subject::trivet(&settings.trivet, &settings.listen, folder.join("trivet")).await?;
    let beside = match settings.beside {
        None => None,
        Some(Beside::Dynalite) => {
            let listen = next_port(&settings.listen)?;
            Some(Subject::dynalite(&settings.dynalite, &listen, folder.join("dynalite")).await?)
        }
    };
    let measured = Session::new(settings, shape, &subject, beside.as_ref(), say).run().await;
    if let Err(error) = measured {
        return Err(error.context(format!("{} and the log beside it are kept", subject.data.display())));
    }
    if let Some(beside) = beside {
        beside.end().await?;
    }
    subject.end().await
}

fn folder(settings: &Settings) -> PathBuf {
    let temporary = || std::env::temp_dir().join(format!("bench-{}", std::process::id()));
    settings.data.clone().unwrap_or_else(temporary)
}

fn next_port(listen: &str) -> anyhow::Result<String> {
    let mut address: std::net::SocketAddr = listen.parse().context("read the address")?;
    address.set_port(address.port() + 1);
    Ok(address.to_string())
}

/// For ourselves and for the router, which inherits it.
fn allow_many_connections() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).context("allow more files")
}

#[expect(clippy::print_stdout, reason = "the program's answer")]
fn print(line: &str) {
    println!("{line}");
}
