//! Expressions as they were written: placeholders unresolved, functions and types unchecked, groups dissolved.

use super::condition::Comparator;

/// A name in a path, written out or as a `#placeholder`.
#[derive(Debug)]
pub(super) struct NameText<'t> {
    pub(super) text: &'t str,
    pub(super) is_placeholder: bool,
}

#[derive(Debug)]
pub(super) struct PathText<'t> {
    pub(super) root: NameText<'t>,
    pub(super) steps: Vec<StepText<'t>>,
}

#[derive(Debug)]
pub(super) enum StepText<'t> {
    Field(NameText<'t>),
    /// Its digits.
    Index(&'t str),
}

#[derive(Debug)]
pub(super) enum OperandText<'t> {
    Path(PathText<'t>),
    /// `:name`
    Value(&'t str),
    Call(CallText<'t>),
}

#[derive(Debug)]
pub(super) struct CallText<'t> {
    pub(super) name: &'t str,
    pub(super) arguments: Vec<OperandText<'t>>,
}

#[derive(Debug)]
pub(super) enum ConditionText<'t> {
    And(Vec<ConditionText<'t>>),
    Or(Vec<ConditionText<'t>>),
    Not(Box<ConditionText<'t>>),
    Compare { comparator: Comparator, left: OperandText<'t>, right: OperandText<'t> },
    Between { value: OperandText<'t>, low: OperandText<'t>, high: OperandText<'t> },
    In { value: OperandText<'t>, list: Vec<OperandText<'t>> },
    Call(CallText<'t>),
}

/// The sections of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Set,
    Remove,
    Add,
    Delete,
}

impl Section {
    pub(super) fn name(self) -> &'static str {
        match self {
            Section::Set => "SET",
            Section::Remove => "REMOVE",
            Section::Add => "ADD",
            Section::Delete => "DELETE",
        }
    }
}

#[derive(Debug)]
pub(super) struct SectionText<'t> {
    pub(super) section: Section,
    pub(super) actions: Vec<ActionText<'t>>,
}

#[derive(Debug)]
pub(super) struct ActionText<'t> {
    pub(super) path: PathText<'t>,
    pub(super) change: ChangeText<'t>,
}

#[derive(Debug)]
pub(super) enum ChangeText<'t> {
    Set(SumText<'t>),
    Remove,
    Add(&'t str),
    Delete(&'t str),
}

/// The right side of a `SET`.
#[derive(Debug)]
pub(super) enum SumText<'t> {
    One(OperandText<'t>),
    Plus(OperandText<'t>, OperandText<'t>),
    Minus(OperandText<'t>, OperandText<'t>),
}
