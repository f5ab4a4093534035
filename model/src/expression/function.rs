//! The functions of the expression language. Their names are case-sensitive.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    AttributeExists,
    AttributeNotExists,
    AttributeType,
    BeginsWith,
    Contains,
    Size,
    IfNotExists,
    ListAppend,
}

/// Where a function may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// As a condition.
    Condition,
    /// As an operand of a condition.
    ConditionOperand,
    /// As an operand of an update.
    UpdateOperand,
}

impl Function {
    pub(super) const ALL: [Function; 8] = [
        Function::AttributeExists,
        Function::AttributeNotExists,
        Function::AttributeType,
        Function::BeginsWith,
        Function::Contains,
        Function::Size,
        Function::IfNotExists,
        Function::ListAppend,
    ];

    pub(super) fn named(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|function| function.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Function::AttributeExists => "attribute_exists",
            Function::AttributeNotExists => "attribute_not_exists",
            Function::AttributeType => "attribute_type",
            Function::BeginsWith => "begins_with",
            Function::Contains => "contains",
            Function::Size => "size",
            Function::IfNotExists => "if_not_exists",
            Function::ListAppend => "list_append",
        }
    }

    pub(super) fn place(self) -> Place {
        match self {
            Function::AttributeExists
            | Function::AttributeNotExists
            | Function::AttributeType
            | Function::BeginsWith
            | Function::Contains => Place::Condition,
            Function::Size => Place::ConditionOperand,
            Function::IfNotExists | Function::ListAppend => Place::UpdateOperand,
        }
    }
}
