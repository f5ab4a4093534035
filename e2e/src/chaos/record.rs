//! What clients asked of which key, when, and what they were told: the record that checkers judge.
//!
//! As text, for other programs, a line of JSON for each operation:
//!
//! ```text
//! {"key":"k0-3","client":4,"call":1200,"return":4100,"op":"put","value":7,"outcome":"ok","item":{"value":6,"count":0}}
//! ```
//!
//! Times are nanoseconds of one clock. `op` is put, put_if (of the item's value `expect`; null: of no item), add (one to the
//! count), delete or get. `outcome` is ok, condition_failed, or unknown, which has no `return`: it may happen at any later time, or
//! never. `item` is what the answer showed: the item before the operation, or after an add; null for no item. What was surely
//! not carried out is not in the record: it would show as a value that nobody wrote.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// An item: what put it (none if an add made it), and how often it was added to since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    pub value: Option<u64>,
    pub count: u64,
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Values are never used twice.
    Put {
        value: u64,
    },
    /// Only if the item has this value; only if there is none.
    PutIf {
        expect: Option<u64>,
        value: u64,
    },
    Add,
    Delete,
    Get,
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done(Option<Item>),
    ConditionFailed(Option<Item>),
    /// Surely not carried out.
    Failed,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub client: u64,
    /// Nanoseconds since the record began.
    pub call: u64,
    pub end: u64,
    pub action: Action,
    pub outcome: Outcome,
}

impl Action {
    pub fn writes(self) -> bool {
        self != Action::Get
    }

    /// Whether it is carried out on this item, and what there is afterwards.
    pub fn apply(self, item: Option<Item>) -> (bool, Option<Item>) {
        match self {
            Action::Put { value } => (true, Some(Item { value: Some(value), count: 0 })),
            Action::PutIf { expect, value } => {
                let holds = match expect {
                    Some(expect) => item.is_some_and(|item| item.value == Some(expect)),
                    None => item.is_none(),
                };
                (holds, if holds { Some(Item { value: Some(value), count: 0 }) } else { item })
            }
            Action::Add => {
                let (value, count) = item.map_or((None, 0), |item| (item.value, item.count));
                (true, Some(Item { value, count: count + 1 }))
            }
            Action::Delete => (true, None),
            Action::Get => (true, item),
        }
    }

    /// Which of the two items an answer shows.
    pub fn shows(self, before: Option<Item>, after: Option<Item>) -> Option<Item> {
        if self == Action::Add { after } else { before }
    }
}

impl Operation {
    /// Whether it says something about the key: a failed one does not, nor does a read without an answer.
    pub fn counts(&self) -> bool {
        match self.outcome {
            Outcome::Done(_) | Outcome::ConditionFailed(_) => true,
            Outcome::Unknown => self.action.writes(),
            Outcome::Failed => false,
        }
    }

    fn print(&self, key: &str) -> String {
        let mut line = format!("{{\"key\":\"{key}\",\"client\":{},\"call\":{}", self.client, self.call);
        if self.outcome != Outcome::Unknown {
            add(&mut line, format_args!(",\"return\":{}", self.end));
        }
        match self.action {
            Action::Put { value } => add(&mut line, format_args!(",\"op\":\"put\",\"value\":{value}")),
            Action::PutIf { expect, value } => {
                let expect = expect.map_or_else(|| "null".to_owned(), |value| value.to_string());
                add(&mut line, format_args!(",\"op\":\"put_if\",\"expect\":{expect},\"value\":{value}"));
            }
            Action::Add => line.push_str(",\"op\":\"add\""),
            Action::Delete => line.push_str(",\"op\":\"delete\""),
            Action::Get => line.push_str(",\"op\":\"get\""),
        }
        match self.outcome {
            Outcome::Done(item) => add(&mut line, format_args!(",\"outcome\":\"ok\",\"item\":{}", print_item(item))),
            Outcome::ConditionFailed(item) => {
                add(&mut line, format_args!(",\"outcome\":\"condition_failed\",\"item\":{}", print_item(item)));
            }
            Outcome::Failed | Outcome::Unknown => line.push_str(",\"outcome\":\"unknown\""),
        }
        line.push('}');
        line
    }
}

fn add(line: &mut String, what: std::fmt::Arguments<'_>) {
    line.write_fmt(what).expect("a string takes everything");
}

fn print_item(item: Option<Item>) -> String {
    let Some(Item { value, count }) = item else { return "null".to_owned() };
    let value = value.map_or_else(|| "null".to_owned(), |value| value.to_string());
    format!("{{\"value\":{value},\"count\":{count}}}")
}

/// Writes a record as text.
pub fn write<'a>(path: &Path, keys: impl Iterator<Item = (&'a str, &'a [Operation])>) -> io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for (key, operations) in keys {
        for operation in operations.iter().filter(|operation| operation.counts()) {
            writeln!(file, "{}", operation.print(key))?;
        }
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_a_line_of_json() {
        let action = Action::PutIf { expect: None, value: 7 };
        let outcome = Outcome::Done(Some(Item { value: None, count: 2 }));
        let operation = Operation { client: 1, call: 5, end: 9, action, outcome };
        let line = r#"{"key":"k","client":1,"call":5,"return":9,"op":"put_if","expect":null,"value":7,"outcome":"ok","item":{"value":null,"count":2}}"#;
        assert_eq!(operation.print("k"), line);
        let unknown = Operation { action: Action::Delete, outcome: Outcome::Unknown, ..operation };
        assert_eq!(unknown.print("k"), r#"{"key":"k","client":1,"call":5,"op":"delete","outcome":"unknown"}"#);
        assert!(unknown.counts());
        assert!(!Operation { action: Action::Get, ..unknown }.counts());
    }
}
