//! Situations that people can read, a file each, and the steps that a pure plan makes of them: whoever plans brings the form in which
//! they are written. Only dev-dependencies name this crate.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// One file, and what is planned for it.
pub struct Planned {
    /// One sentence.
    pub about: String,
    pub wanted: Vec<String>,
    pub found: Vec<String>,
    /// Parts of what people are to be told.
    pub says: Vec<String>,
    pub said: String,
}

/// Every file of the folder, of which there are so many at least.
///
/// # Panics
/// With all of them that have other steps than are wanted, and what differs.
#[expect(clippy::expect_used, reason = "a test says by panicking")]
pub fn have_their_steps(folder: &Path, least: usize, plan: impl Fn(&str) -> Planned) {
    let files = fs::read_dir(folder).expect("a folder of situations");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("a file of it").path()).collect();
    files.sort();
    assert!(files.len() >= least, "{files:?}");
    let mut troubles = String::new();
    for file in files {
        let name = file.display();
        let Planned { about, wanted, found, says, said } = plan(&fs::read_to_string(&file).expect("a situation"));
        assert!(about.ends_with('.'), "{name}: what it is about is a sentence");
        if found != wanted {
            write!(troubles, "{name}: {about}\n{}", difference(&wanted, &found)).expect("a text takes more");
        }
        for part in says.iter().filter(|part| !said.contains(part.as_str())) {
            writeln!(troubles, "{name}: nobody says {part:?}, but:\n{said}").expect("a text takes more");
        }
    }
    assert!(troubles.is_empty(), "- is wanted, + is planned\n{troubles}");
}

/// What is in one of the two alone, in its place.
fn difference(wanted: &[String], found: &[String]) -> String {
    let only = |sign: char, one: &[String], other: &[String]| {
        let lines = one.iter().filter(|line| !other.contains(line));
        lines.fold(String::new(), |text, line| format!("{text}  {sign} {line}\n"))
    };
    let text = only('-', wanted, found) + &only('+', found, wanted);
    if text.is_empty() { format!("  in another order, or as often: {found:#?}\n") } else { text }
}
