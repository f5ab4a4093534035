//! The checks that need no placeholders: reserved words, list indexes, which functions there are and where they stand,
//! sections used twice. DynamoDB makes them over the whole expression before it resolves anything.

use super::Refusal;
use super::function::{Function, Place};
use super::reserved::is_reserved;
use super::syntax::{
    ActionText, CallText, ChangeText, ConditionText, NameText, OperandText, PathText, SectionText, StepText, SumText,
};

type Checked = Result<(), Refusal>;

pub(super) fn condition(text: &ConditionText<'_>) -> Checked {
    match text {
        ConditionText::And(all) | ConditionText::Or(all) => all.iter().try_for_each(condition),
        ConditionText::Not(negated) => condition(negated),
        ConditionText::Compare { comparator: _, left, right } => {
            [left, right].into_iter().try_for_each(condition_operand)
        }
        ConditionText::Between { value, low, high } => [value, low, high].into_iter().try_for_each(condition_operand),
        ConditionText::In { value, list } => [value].into_iter().chain(list).try_for_each(condition_operand),
        ConditionText::Call(text) => call(text, Place::Condition, condition_operand),
    }
}

pub(super) fn update(sections: &[SectionText<'_>]) -> Checked {
    for (index, first) in sections.iter().enumerate() {
        let same = || sections.iter().filter(|other| other.section == first.section);
        if sections[..index].iter().any(|earlier| earlier.section == first.section) {
            continue;
        }
        same().flat_map(|section| &section.actions).try_for_each(action)?;
        if same().count() > 1 {
            let name = first.section.name();
            return Err(Refusal(format!("The \"{name}\" section can only be used once in an update expression;")));
        }
    }
    Ok(())
}

pub(super) fn projection(paths: &[PathText<'_>]) -> Checked {
    paths.iter().try_for_each(path)
}

fn action(text: &ActionText<'_>) -> Checked {
    path(&text.path)?;
    match &text.change {
        ChangeText::Set(SumText::One(operand)) => update_operand(operand),
        ChangeText::Set(SumText::Plus(left, right) | SumText::Minus(left, right)) => {
            [left, right].into_iter().try_for_each(update_operand)
        }
        ChangeText::Remove | ChangeText::Add(_) | ChangeText::Delete(_) => Ok(()),
    }
}

fn condition_operand(text: &OperandText<'_>) -> Checked {
    operand(text, |text| call(text, Place::ConditionOperand, condition_operand))
}

fn update_operand(text: &OperandText<'_>) -> Checked {
    operand(text, |text| call(text, Place::UpdateOperand, function_argument))
}

/// An argument of an update's function; DynamoDB takes no `list_append` there.
fn function_argument(text: &OperandText<'_>) -> Checked {
    match text {
        OperandText::Call(call) if Function::named(call.name) == Some(Function::ListAppend) => Err(misused(call.name)),
        OperandText::Call(_) | OperandText::Path(_) | OperandText::Value(_) => update_operand(text),
    }
}

fn operand(text: &OperandText<'_>, call: impl FnOnce(&CallText<'_>) -> Checked) -> Checked {
    match text {
        OperandText::Path(text) => path(text),
        OperandText::Value(_) => Ok(()),
        OperandText::Call(text) => call(text),
    }
}

fn call(text: &CallText<'_>, place: Place, argument: fn(&OperandText<'_>) -> Checked) -> Checked {
    let name = text.name;
    let Some(function) = Function::named(name) else {
        return Err(Refusal(format!("Invalid function name; function: {name}")));
    };
    match (place, function.place()) {
        (Place::Condition, Place::Condition)
        | (Place::ConditionOperand, Place::ConditionOperand)
        | (Place::UpdateOperand, Place::UpdateOperand) => {}
        (Place::Condition, Place::ConditionOperand) | (Place::ConditionOperand, Place::Condition) => {
            return Err(misused(name));
        }
        (Place::Condition | Place::ConditionOperand, Place::UpdateOperand) => {
            return Err(Refusal(format!("The function is not allowed in a condition expression; function: {name}")));
        }
        (Place::UpdateOperand, Place::Condition | Place::ConditionOperand) => {
            return Err(Refusal(format!("The function is not allowed in an update expression; function: {name}")));
        }
    }
    text.arguments.iter().try_for_each(argument)
}

/// The refusal of a function where another kind of function belongs.
pub(super) fn misused(name: &str) -> Refusal {
    Refusal(format!("The function is not allowed to be used this way in an expression; function: {name}"))
}

fn path(text: &PathText<'_>) -> Checked {
    name(&text.root)?;
    text.steps.iter().try_for_each(|step| match step {
        StepText::Field(field) => name(field),
        StepText::Index(digits) => list_index(digits).map(|_| ()),
    })
}

/// The index that `digits` write; the largest is Java's largest `int`.
pub(super) fn list_index(digits: &str) -> Result<u32, Refusal> {
    match digits.parse::<i32>().ok().and_then(|index| u32::try_from(index).ok()) {
        Some(index) => Ok(index),
        None => Err(Refusal(format!("List index is not within the allowable range; index: [{digits}]"))),
    }
}

fn name(name: &NameText<'_>) -> Checked {
    if !name.is_placeholder && is_reserved(name.text) {
        return Err(Refusal(format!("Attribute name is a reserved keyword; reserved keyword: {}", name.text)));
    }
    Ok(())
}
