//! The story of a failure: a table of the last events that concern its group and key, and of what befell whole nodes.

use std::fmt::Write;

use crate::invariant::Broken;
use crate::trace::{Line, Trace};

/// What happens all the time and says little.
const NOISE: [&str; 2] = ["hears Heartbeat ", "hears HeartbeatResponse "];

/// At most so many lines, up to the moment in question.
pub fn tell(trace: &Trace, broken: &Broken, lines: usize) -> String {
    let told: Vec<&Line> = trace.recent.iter().filter(|line| concerns(line, broken)).collect();
    let mut story = String::from("|    seconds | who             | what |\n|-----------:|-----------------|------|\n");
    for line in told.iter().skip(told.len().saturating_sub(lines)) {
        let seconds = format!("{}.{:06}", line.time / 1_000_000, line.time % 1_000_000);
        writeln!(story, "| {seconds:>10} | {:<15} | {} |", who(line), what(line)).expect("a string takes every line");
    }
    story
}

fn concerns(line: &Line, broken: &Broken) -> bool {
    let about = |this: Option<usize>, that: Option<usize>| this.is_none() || that.is_none() || this == that;
    let quiet = NOISE.iter().any(|noise| line.what.starts_with(noise));
    !quiet
        && about(line.at.group, broken.group)
        && about(line.at.key, broken.key)
        && broken.at.is_none_or(|moment| line.time <= moment)
}

fn who(line: &Line) -> String {
    let place = line.at.place.map(|place| format!("node {place}"));
    let group = line.at.group.map(|group| format!("group {group}"));
    let client = line.at.client.map(|client| format!("client {client}"));
    let names: Vec<String> = [place, group, client].into_iter().flatten().collect();
    if names.is_empty() { String::from("the world") } else { names.join(" ") }
}

/// "append (first last)" and its numbers become "append: first 3, last 4".
fn what(line: &Line) -> String {
    let Some((words, names)) = line.what.split_once(" (") else { return line.what.to_owned() };
    let names = names.trim_end_matches(')').split([' ', ',']).filter(|name| !name.is_empty()).zip(line.numbers);
    let numbers: Vec<String> =
        names.filter(|(name, _)| *name != "_").map(|(name, number)| format!("{name} {number}")).collect();
    format!("{words}: {}", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::At;

    #[test]
    fn a_story_tells_of_one_group_and_key_with_named_numbers_and_without_noise() {
        let mut trace = Trace::default();
        let of = |group, key| At { key, ..At::seat(2, group) };
        trace.note(1, of(4, None), "append (first last term sync)", [3, 4, 6, 1]);
        trace.note(2, of(4, None), "hears Heartbeat (from term _ commit)", [1, 6, 0, 3]);
        trace.note(3, of(5, None), "append (first last term sync)", [9, 9, 6, 1]);
        trace.note(4, of(4, Some(1)), "answers: read (op client position)", [70, 3, 12, 0]);
        trace.note(5, of(4, Some(2)), "answers: read (op client position)", [71, 3, 12, 0]);
        trace.note(6, At::place(1), "cleared", [0; 4]);
        trace.note(7, At::default(), "heal", [0; 4]);
        let broken = Broken { key: Some(1), at: Some(6), ..Broken::new("any", 4, String::new()) };
        let story = tell(&trace, &broken, 80);
        let rows: Vec<&str> = story.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "|   0.000001 | node 2 group 4  | append: first 3, last 4, term 6, sync 1 |",
                "|   0.000004 | node 2 group 4  | answers: read: op 70, client 3, position 12 |",
                "|   0.000006 | node 1          | cleared |",
            ]
        );
    }
}
