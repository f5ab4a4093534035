//! Tokens to syntax trees, by recursive descent without backtracking.
//!
//! Whether a parenthesis opens a condition or an operand is told by what follows the one that closes it. Recursion is
//! bounded: every level costs an operator or an opened group, and both are counted. A refusal is DynamoDB's sentence
//! without the `Invalid …Expression: ` before it.

use super::lexer::{Kind, Token, tokens};
use super::syntax::{
    ActionText, CallText, ChangeText, ConditionText, NameText, OperandText, PathText, Section, SectionText, StepText,
    SumText,
};
use super::{Refusal, condition::Comparator};
use crate::limits::EXPRESSION_OPERATORS;

/// Deepest groups and calls. Each level of an expression that is not refused anyway (as redundant, or for its operators)
/// holds an operator of its own, so that this refuses nothing that [`EXPRESSION_OPERATORS`] allows.
pub(super) const DEPTH: usize = EXPRESSION_OPERATORS + 2;

const REDUNDANT: &str = "The expression has redundant parentheses;";

type Parsed<T> = Result<T, Refusal>;

/// A condition, of any kind of expression that takes one.
pub(super) fn condition(text: &str) -> Parsed<ConditionText<'_>> {
    let mut parser = Parser::new(text, true);
    let (condition, _) = parser.or()?;
    parser.expect(Kind::End)?;
    Ok(condition)
}

pub(super) fn update(text: &str) -> Parsed<Vec<SectionText<'_>>> {
    let mut parser = Parser::new(text, false);
    let mut sections = Vec::new();
    while sections.is_empty() || parser.kind() != Kind::End {
        sections.push(parser.section()?);
    }
    Ok(sections)
}

pub(super) fn projection(text: &str) -> Parsed<Vec<PathText<'_>>> {
    let mut parser = Parser::new(text, false);
    let paths = parser.list(Parser::path)?;
    parser.expect(Kind::End)?;
    Ok(paths)
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    /// For each opening parenthesis the index of the token that closes it.
    closes: Vec<Option<usize>>,
    at: usize,
    operators: usize,
    depth: usize,
    /// Conditions take `(a.b).c`, updates do not.
    takes_grouped_roots: bool,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, takes_grouped_roots: bool) -> Parser<'t> {
        let tokens = tokens(text);
        let mut closes = vec![None; tokens.len()];
        let mut open = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            if token.kind == Kind::Open {
                open.push(index);
            } else if token.kind == Kind::Close
                && let Some(opened) = open.pop()
            {
                closes[opened] = Some(index);
            }
        }
        Parser { text, tokens, closes, at: 0, operators: 0, depth: 0, takes_grouped_roots }
    }

    fn token(&self) -> Token<'t> {
        self.tokens[self.at]
    }

    fn kind(&self) -> Kind {
        self.token().kind
    }

    /// The token here; moves on, but never past the end.
    fn take(&mut self) -> Token<'t> {
        let token = self.token();
        if token.kind != Kind::End {
            self.at += 1;
        }
        token
    }

    fn take_if(&mut self, kind: Kind) -> bool {
        let found = self.kind() == kind;
        if found {
            self.take();
        }
        found
    }

    fn expect(&mut self, kind: Kind) -> Parsed<Token<'t>> {
        if self.kind() == kind { Ok(self.take()) } else { Err(self.syntax_error()) }
    }

    /// Names the token here, and the text from the token before it to the one after it.
    fn syntax_error(&self) -> Refusal {
        let token = self.token();
        let from = self.tokens[self.at.saturating_sub(1)].start;
        let to = self.tokens[(self.at + 1).min(self.tokens.len() - 1)].end;
        Refusal(format!("Syntax error; token: \"{}\", near: \"{}\"", token.text, &self.text[from..to]))
    }

    fn count_operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > EXPRESSION_OPERATORS { Err(self.too_many_operators()) } else { Ok(()) }
    }

    fn too_many_operators(&self) -> Refusal {
        let count = self.operators.max(EXPRESSION_OPERATORS + 1);
        Refusal(format!("The expression contains too many operators; operator count: {count}"))
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn too_deep(&self) -> Refusal {
        let has_redundant = self.closes.windows(2).any(|pair| match (pair[0], pair[1]) {
            (Some(outer), Some(inner)) => outer == inner + 1,
            (_, _) => false,
        });
        if has_redundant { Refusal(REDUNDANT.to_owned()) } else { self.too_many_operators() }
    }

    /// What follows the parenthesis that closes the one here.
    fn after_group(&self) -> Option<Kind> {
        self.closes[self.at].map(|close| self.tokens[close + 1].kind)
    }

    /// `( inner )`. `inner` also tells whether what it read was itself one whole group.
    fn group<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<(T, bool)>) -> Parsed<T> {
        self.expect(Kind::Open)?;
        let (content, is_group) = self.deeper(inner)?;
        self.expect(Kind::Close)?;
        if is_group { Err(Refusal(REDUNDANT.to_owned())) } else { Ok(content) }
    }

    /// One or more, separated by commas.
    fn list<T>(&mut self, element: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut elements = vec![element(self)?];
        while self.take_if(Kind::Comma) {
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    // Conditions. Beside each stands whether it was one whole group.

    fn or(&mut self) -> Parsed<(ConditionText<'t>, bool)> {
        let (first, is_group) = self.and()?;
        if self.kind() != Kind::Or {
            return Ok((first, is_group));
        }
        let mut all = vec![first];
        while self.take_if(Kind::Or) {
            self.count_operator()?;
            all.push(self.and()?.0);
        }
        Ok((ConditionText::Or(all), false))
    }

    fn and(&mut self) -> Parsed<(ConditionText<'t>, bool)> {
        let (first, is_group) = self.not()?;
        if self.kind() != Kind::And {
            return Ok((first, is_group));
        }
        let mut all = vec![first];
        while self.take_if(Kind::And) {
            self.count_operator()?;
            all.push(self.not()?.0);
        }
        Ok((ConditionText::And(all), false))
    }

    fn not(&mut self) -> Parsed<(ConditionText<'t>, bool)> {
        if !self.take_if(Kind::Not) {
            return self.primary();
        }
        self.count_operator()?;
        let (negated, _) = self.deeper(Self::not)?;
        Ok((ConditionText::Not(Box::new(negated)), false))
    }

    fn primary(&mut self) -> Parsed<(ConditionText<'t>, bool)> {
        let opens_operand = || {
            self.after_group().is_some_and(|kind| is_comparison(kind) || matches!(kind, Kind::Dot | Kind::OpenBracket))
        };
        if self.kind() == Kind::Open && !opens_operand() {
            return Ok((self.group(Self::or)?, true));
        }
        Ok((self.comparison()?, false))
    }

    fn comparison(&mut self) -> Parsed<ConditionText<'t>> {
        let left = self.operand()?;
        if let Some(comparator) = comparator(self.kind()) {
            self.take();
            self.count_operator()?;
            return Ok(ConditionText::Compare { comparator, left, right: self.operand()? });
        }
        if self.take_if(Kind::Between) {
            self.count_operator()?;
            let low = self.operand()?;
            self.expect(Kind::And)?;
            return Ok(ConditionText::Between { value: left, low, high: self.operand()? });
        }
        if self.take_if(Kind::In) {
            self.count_operator()?;
            self.expect(Kind::Open)?;
            let list = self.list(Self::operand)?;
            self.expect(Kind::Close)?;
            return Ok(ConditionText::In { value: left, list });
        }
        match left {
            OperandText::Call(call) => Ok(ConditionText::Call(call)),
            OperandText::Path(_) | OperandText::Value(_) => Err(self.syntax_error()),
        }
    }

    // Operands and paths.

    fn operand(&mut self) -> Parsed<OperandText<'t>> {
        Ok(self.grouped_operand()?.0)
    }

    /// Beside it stands whether it was one whole group.
    fn grouped_operand(&mut self) -> Parsed<(OperandText<'t>, bool)> {
        if self.kind() == Kind::Open {
            let inner = self.group(Self::grouped_operand)?;
            if let OperandText::Path(path) = inner {
                let is_root = self.takes_grouped_roots && matches!(self.kind(), Kind::Dot | Kind::OpenBracket);
                return Ok((OperandText::Path(if is_root { self.steps(path)? } else { path }), !is_root));
            }
            return Ok((inner, true));
        }
        let operand = if self.kind() == Kind::ValuePlaceholder {
            OperandText::Value(self.take().text)
        } else if self.kind() == Kind::Name && self.tokens[self.at + 1].kind == Kind::Open {
            OperandText::Call(self.call()?)
        } else {
            OperandText::Path(self.path()?)
        };
        Ok((operand, false))
    }

    fn call(&mut self) -> Parsed<CallText<'t>> {
        let name = self.expect(Kind::Name)?.text;
        self.count_operator()?;
        self.expect(Kind::Open)?;
        let arguments = self.deeper(|parser| parser.list(Self::operand))?;
        self.expect(Kind::Close)?;
        Ok(CallText { name, arguments })
    }

    fn path(&mut self) -> Parsed<PathText<'t>> {
        let root = self.name()?;
        self.steps(PathText { root, steps: Vec::new() })
    }

    fn steps(&mut self, mut path: PathText<'t>) -> Parsed<PathText<'t>> {
        loop {
            if self.take_if(Kind::Dot) {
                path.steps.push(StepText::Field(self.name()?));
            } else if self.take_if(Kind::OpenBracket) {
                path.steps.push(StepText::Index(self.expect(Kind::Index)?.text));
                self.expect(Kind::CloseBracket)?;
            } else {
                return Ok(path);
            }
        }
    }

    fn name(&mut self) -> Parsed<NameText<'t>> {
        let is_placeholder = self.kind() == Kind::NamePlaceholder;
        if is_placeholder || self.kind() == Kind::Name {
            Ok(NameText { text: self.take().text, is_placeholder })
        } else {
            Err(self.syntax_error())
        }
    }

    // Updates.

    fn section(&mut self) -> Parsed<SectionText<'t>> {
        const SECTIONS: [(Kind, Section); 4] = [
            (Kind::Set, Section::Set),
            (Kind::Remove, Section::Remove),
            (Kind::Add, Section::Add),
            (Kind::Delete, Section::Delete),
        ];
        let Some((_, section)) = SECTIONS.iter().find(|(kind, _)| *kind == self.kind()) else {
            return Err(self.syntax_error());
        };
        self.take();
        let actions = match section {
            Section::Set => self.list(Self::set_action)?,
            Section::Remove => {
                self.list(|parser| Ok(ActionText { path: parser.path()?, change: ChangeText::Remove }))?
            }
            Section::Add => self.list(|parser| parser.value_action(ChangeText::Add))?,
            Section::Delete => self.list(|parser| parser.value_action(ChangeText::Delete))?,
        };
        Ok(SectionText { section: *section, actions })
    }

    fn set_action(&mut self) -> Parsed<ActionText<'t>> {
        let path = self.path()?;
        self.expect(Kind::Equal)?;
        let (sum, _) = self.sum()?;
        Ok(ActionText { path, change: ChangeText::Set(sum) })
    }

    fn value_action(&mut self, change: fn(&'t str) -> ChangeText<'t>) -> Parsed<ActionText<'t>> {
        let path = self.path()?;
        let value = self.expect(Kind::ValuePlaceholder)?;
        Ok(ActionText { path, change: change(value.text) })
    }

    /// At most one `+` or `-`. Beside it stands whether it was one whole group.
    fn sum(&mut self) -> Parsed<(SumText<'t>, bool)> {
        if self.kind() == Kind::Open && !matches!(self.after_group(), Some(Kind::Plus | Kind::Minus)) {
            return Ok((self.group(Self::sum)?, true));
        }
        let left = self.operand()?;
        if self.take_if(Kind::Plus) {
            self.count_operator()?;
            return Ok((SumText::Plus(left, self.operand()?), false));
        }
        if self.take_if(Kind::Minus) {
            self.count_operator()?;
            return Ok((SumText::Minus(left, self.operand()?), false));
        }
        Ok((SumText::One(left), false))
    }
}

fn comparator(kind: Kind) -> Option<Comparator> {
    const COMPARATORS: [(Kind, Comparator); 6] = [
        (Kind::Equal, Comparator::Equal),
        (Kind::NotEqual, Comparator::NotEqual),
        (Kind::Less, Comparator::Less),
        (Kind::LessOrEqual, Comparator::LessOrEqual),
        (Kind::Greater, Comparator::Greater),
        (Kind::GreaterOrEqual, Comparator::GreaterOrEqual),
    ];
    COMPARATORS.iter().find(|(of, _)| *of == kind).map(|(_, comparator)| *comparator)
}

fn is_comparison(kind: Kind) -> bool {
    comparator(kind).is_some() || matches!(kind, Kind::Between | Kind::In)
}
