//! Samples as `perf script -F comm,pid,tid,ip,sym` prints them.

use std::collections::BTreeMap;

use crate::bench::accounts::family;

/// One sample.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stack {
    pub pid: u32,
    /// The thread's name without its number.
    pub thread: String,
    /// Functions, the one that was called first in front.
    pub frames: Vec<String>,
}

/// Every sample with a stack.
pub fn parse(text: &str) -> Vec<Stack> {
    text.split("\n\n").filter_map(parse_one).collect()
}

/// ```text
/// log-writer 11096/11124
///         ffffffff813a2413 finish_task_switch.isra.0
///                    9a9628 raft_engine::engine::Engine<F,P>::write (inlined)
/// ```
fn parse_one(block: &str) -> Option<Stack> {
    let mut lines = block.lines().filter(|line| !line.trim().is_empty());
    let (name, ids) = lines.next()?.trim().rsplit_once(' ')?;
    let pid = ids.split_once('/')?.0.parse().ok()?;
    let mut frames: Vec<String> = lines.filter_map(frame).collect();
    frames.reverse();
    (!frames.is_empty()).then(|| Stack { pid, thread: family(name.trim()), frames })
}

fn frame(line: &str) -> Option<String> {
    let (_address, name) = line.trim().split_once(' ')?;
    let name = name.trim().trim_end_matches(" (inlined)");
    // A semicolon separates frames in folded stacks.
    Some(name.replace(';', ":"))
}

/// Stacks as flame graphs are drawn from them: `thread;first;second 42`, sorted.
pub fn fold(stacks: &[&Stack]) -> Vec<String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for stack in stacks {
        *counts.entry(format!("{};{}", stack.thread, stack.frames.join(";"))).or_default() += 1;
    }
    counts.into_iter().map(|(stack, count)| format!("{stack} {count}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "worker-0 41/42 \n\t  14461a3 <A as B>::c\n\t      891f4 start_thread\n\t     1098eb clone3\n\n\
                        tokio rt 41/43 \n\tffffffff81b0 sys;x\n\t   9a 3f [unknown]\n\t   9b main (inlined)\n\n\
                        worker-0 41/42 \n\n";

    #[test]
    fn samples_are_read_whatever_their_threads_are_called() {
        let stacks = parse(TEXT);
        assert_eq!(stacks.len(), 2);
        assert_eq!((stacks[0].pid, stacks[0].thread.as_str()), (41, "worker"));
        assert_eq!(stacks[0].frames, ["clone3", "start_thread", "<A as B>::c"]);
        assert_eq!(stacks[1].thread, "tokio rt");
        assert_eq!(stacks[1].frames, ["main", "3f [unknown]", "sys:x"]);
    }

    #[test]
    fn equal_stacks_are_folded_into_one_line() {
        let stacks = parse(TEXT);
        let folded = fold(&[&stacks[0], &stacks[1], &stacks[0]]);
        assert_eq!(folded, ["tokio rt;main;3f [unknown];sys:x 1", "worker;clone3;start_thread;<A as B>::c 2"]);
    }
}
