//! Over random trees, items and texts: trees survive their encoding and printing, evaluation agrees with a naive one, and
//! nothing panics.

use std::sync::Arc;

use proptest::prelude::*;

use super::naive;
use crate::expression::condition::{Comparator, Measured, Node, Operand};
use crate::expression::update::{Action, Sum, Term};
use crate::expression::{Condition, KeyCondition, Path, Placeholders, Projection, Step, Update, path::refuse_clashes};
use crate::number::Number;
use crate::value::{Item, Value};

const TYPES: [&str; 10] = ["S", "N", "B", "SS", "NS", "BS", "M", "L", "BOOL", "NULL"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["n", "s", "l", "é d"]).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = Number> {
    prop::sample::select(vec!["-1", "0", "0.5", "2", "10"]).prop_map(|text| Number::parse(text).unwrap())
}

fn string_set() -> impl Strategy<Value = Value> {
    let member = prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
    prop::collection::btree_set(member, 1..3).prop_map(|members| Value::Ss(members.into_iter().collect()))
}

/// Few enough values that many are equal.
fn value() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec!["", "a", "ab", "b", "\u{FFFD}", "\u{1F600}"]).prop_map(str::to_owned);
    let bytes = prop::collection::vec(0..3u8, 0..3).prop_map(bytes::Bytes::from);
    let scalar = prop_oneof![
        3 => text.prop_map(Value::S),
        3 => number().prop_map(Value::N),
        3 => string_set(),
        1 => bytes.clone().prop_map(Value::B),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
        1 => prop::collection::btree_set(number(), 1..3).prop_map(|members| Value::Ns(members.into_iter().collect())),
        1 => prop::collection::btree_set(bytes, 1..3).prop_map(|members| Value::Bs(members.into_iter().collect())),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::L),
            prop::collection::btree_map(name(), inner, 0..4).prop_map(Value::M),
        ]
    })
}

/// Mostly with a number, a set and a list under their own names, so that paths often find what their operators take.
fn item() -> impl Strategy<Value = Item> {
    let usual = (
        number().prop_map(Value::N),
        string_set(),
        prop::collection::vec(prop_oneof![string_set(), number().prop_map(Value::N), value()], 0..4).prop_map(Value::L),
    );
    let usual = usual.prop_map(|(n, s, l)| Item::from([("n".to_owned(), n), ("s".to_owned(), s), ("l".to_owned(), l)]));
    let any = prop::collection::btree_map(name(), value(), 0..5);
    prop_oneof![1 => any, 3 => (usual, prop::collection::btree_map(name(), value(), 0..2)).prop_map(|(mut item, more)| {
        item.extend(more);
        item
    })]
}

fn path() -> impl Strategy<Value = Path> {
    let step = prop_oneof![name().prop_map(Step::Field), (0..5u32).prop_map(Step::Index)];
    prop_oneof![
        3 => (name(), prop::collection::vec(step, 0..3)).prop_map(|(root, steps)| Path { root, steps }),
        2 => name().prop_map(Path::top),
        2 => (0..5u32).prop_map(|index| Path { root: "l".to_owned(), steps: vec![Step::Index(index)] }),
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        4 => path().prop_map(Operand::Path),
        4 => value().prop_map(|value| Operand::Value(Arc::new(value))),
        1 => path().prop_map(|path| Operand::Size(Measured::Path(path))),
        1 => value().prop_map(|value| Operand::Size(Measured::Value(Arc::new(value)))),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let comparator = prop::sample::select(vec![
        Comparator::Equal,
        Comparator::NotEqual,
        Comparator::Less,
        Comparator::LessOrEqual,
        Comparator::Greater,
        Comparator::GreaterOrEqual,
    ]);
    let compare = (comparator, operand(), operand());
    let leaf = prop_oneof![
        3 => compare.prop_map(|(comparator, left, right)| Node::Compare { comparator, left, right }),
        1 => [operand(), operand(), operand()].prop_map(|[value, low, high]| Node::Between { value, low, high }),
        1 => (operand(), prop::collection::vec(operand(), 1..4)).prop_map(|(value, list)| Node::In { value, list }),
        1 => path().prop_map(Node::Exists),
        1 => path().prop_map(Node::NotExists),
        1 => (operand(), prop::sample::select(TYPES.to_vec())).prop_map(|(of, name)| Node::HasType(of, name.to_owned())),
        1 => [operand(), operand()].prop_map(|[whole, start]| Node::BeginsWith(whole, start)),
        2 => [operand(), operand()].prop_map(|[whole, part]| Node::Contains(whole, part)),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Node::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Node::Or),
            inner.prop_map(|node| Node::Not(Box::new(node))),
        ]
    })
}

fn term() -> impl Strategy<Value = Term> {
    let leaf = prop_oneof![path().prop_map(Term::Path), value().prop_map(|value| Term::Value(Arc::new(value)))];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            (path(), inner.clone()).prop_map(|(path, otherwise)| Term::IfNotExists(path, Box::new(otherwise))),
            [inner.clone(), inner].prop_map(|[front, back]| Term::ListAppend(Box::new(front), Box::new(back))),
        ]
    })
}

/// Sections in one order; their actions do not clash.
fn actions() -> impl Strategy<Value = Vec<Action>> {
    let sum = prop_oneof![
        4 => term().prop_map(Sum::One),
        1 => [term(), term()].prop_map(|[left, right]| Sum::Plus(left, right)),
        1 => [term(), term()].prop_map(|[left, right]| Sum::Minus(left, right)),
    ];
    let is_set = |value: &Value| matches!(value, Value::Ss(_) | Value::Ns(_) | Value::Bs(_));
    let set = value().prop_filter("a set", is_set);
    let number_or_set =
        value().prop_filter("a number or a set", move |value| matches!(value, Value::N(_)) || is_set(value));
    let all = (
        prop::collection::vec((path(), sum).prop_map(|(path, sum)| Action::Set(path, sum)), 0..3),
        prop::collection::vec(path().prop_map(Action::Remove), 0..4),
        prop::collection::vec(
            (path(), number_or_set).prop_map(|(path, value)| Action::Add(path, Arc::new(value))),
            0..2,
        ),
        prop::collection::vec((path(), set).prop_map(|(path, value)| Action::Delete(path, Arc::new(value))), 0..2),
    );
    all.prop_map(|(set, remove, add, delete)| {
        let mut kept: Vec<Action> = Vec::new();
        for action in set.into_iter().chain(remove).chain(add).chain(delete) {
            let targets: Vec<&Path> = kept.iter().chain([&action]).map(Action::target).collect();
            if refuse_clashes(&targets).is_ok() {
                kept.push(action);
            }
        }
        kept
    })
}

/// Prints trees, making a placeholder of every name and value.
#[derive(Default)]
struct Printer {
    placeholders: Placeholders,
}

impl Printer {
    fn name(&mut self, name: &str) -> String {
        let key = format!("#n{}", self.placeholders.names.len());
        self.placeholders.names.insert(key.clone(), name.to_owned());
        key
    }

    fn value(&mut self, value: &Value) -> String {
        let key = format!(":v{}", self.placeholders.values.len());
        self.placeholders.values.insert(key.clone(), value.clone());
        key
    }

    fn path(&mut self, path: &Path) -> String {
        let mut text = self.name(&path.root);
        for step in &path.steps {
            text += &match step {
                Step::Field(name) => format!(" . {}", self.name(name)),
                Step::Index(index) => format!("[ {index}]"),
            };
        }
        text
    }

    fn operand(&mut self, operand: &Operand) -> String {
        match operand {
            Operand::Path(path) => self.path(path),
            Operand::Value(value) => self.value(value),
            Operand::Size(Measured::Path(path)) => format!("size({})", self.path(path)),
            Operand::Size(Measured::Value(value)) => format!("size ({})", self.value(value)),
        }
    }

    fn operands(&mut self, operands: &[Operand]) -> String {
        operands.iter().map(|operand| self.operand(operand)).collect::<Vec<_>>().join(" , ")
    }

    fn nodes(&mut self, nodes: &[Node], between: &str) -> String {
        nodes.iter().map(|node| self.part(node)).collect::<Vec<_>>().join(between)
    }

    /// A node within another.
    fn part(&mut self, node: &Node) -> String {
        let text = self.node(node);
        if matches!(node, Node::And(_) | Node::Or(_)) { format!("({text})") } else { text }
    }

    fn node(&mut self, node: &Node) -> String {
        match node {
            Node::And(all) => self.nodes(all, " AND "),
            Node::Or(any) => self.nodes(any, "\tor\n"),
            Node::Not(negated) => format!("Not {}", self.part(negated)),
            Node::Compare { comparator, left, right } => {
                format!("{}{}({})", self.operand(left), comparator.symbol(), self.operand(right))
            }
            Node::Between { value, low, high } => {
                format!("({}) between {} and {}", self.operand(value), self.operand(low), self.operand(high))
            }
            Node::In { value, list } => format!("{} IN ({})", self.operand(value), self.operands(list)),
            Node::Exists(path) => format!("attribute_exists({})", self.path(path)),
            Node::NotExists(path) => format!("attribute_not_exists({})", self.path(path)),
            Node::HasType(of, name) => {
                format!("attribute_type({}, {})", self.operand(of), self.value(&Value::S(name.clone())))
            }
            Node::BeginsWith(whole, start) => format!("begins_with({},{})", self.operand(whole), self.operand(start)),
            Node::Contains(whole, part) => format!("contains(({}),({}))", self.operand(whole), self.operand(part)),
        }
    }
}

/// Texts that look like expressions.
fn token_soup() -> impl Strategy<Value = String> {
    let tokens = vec![
        "a",
        "b",
        "#n",
        ":v",
        "(",
        ")",
        "(",
        ")",
        "[",
        "]",
        "0",
        "17",
        ",",
        ".",
        "=",
        "<>",
        "<",
        ">=",
        "+",
        "-",
        "AND",
        "or",
        "NOT",
        "between",
        "IN",
        "SET",
        "remove",
        "ADD",
        "DELETE",
        "size",
        "attribute_exists",
        "contains",
        "if_not_exists",
        "list_append",
        "begins_with",
        " ",
        "é",
        "#",
        ":",
        "name",
    ];
    prop::collection::vec(prop::sample::select(tokens), 0..40).prop_map(|tokens| tokens.join(" "))
}

fn parse_all(text: &str) {
    let names = [("#n".to_owned(), "n".to_owned())].into();
    let values = [(":v".to_owned(), Value::Null)].into();
    let mut placeholders = Placeholders::new(names, values);
    drop(Condition::parse("FilterExpression", text, &mut placeholders));
    drop(Update::parse(text, &mut placeholders));
    drop(Projection::parse(text, &mut placeholders));
    drop(KeyCondition::parse(text, &mut placeholders));
}

fn decode_all(bytes: &[u8]) {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    drop(Condition::decode(bytes.clone()));
    drop(Update::decode(bytes.clone()));
    drop(Projection::decode(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn conditions_survive_their_encoding(root in node()) {
        let condition = Condition { root };
        prop_assert_eq!(Condition::decode(condition.encode()), Ok(condition));
    }

    #[test]
    fn updates_survive_their_encoding(actions in actions()) {
        let update = Update { actions };
        prop_assert_eq!(Update::decode(update.encode()), Ok(update));
    }

    #[test]
    fn projections_survive_their_encoding(paths in prop::collection::vec(path(), 0..5)) {
        let projection = Projection { paths };
        prop_assert_eq!(Projection::decode(projection.encode()), Ok(projection));
    }

    #[test]
    fn printed_conditions_parse_to_what_they_were(root in node()) {
        let mut printer = Printer::default();
        let text = printer.node(&root);
        match Condition::parse("FilterExpression", &text, &mut printer.placeholders) {
            Ok(condition) => {
                prop_assert_eq!(condition.root, root);
                prop_assert!(printer.placeholders.check_all_used().is_ok());
            }
            // Random operands have types that their operators refuse; the text itself must be right.
            Err(error) => prop_assert!(!error.0.contains("yntax") && !error.0.contains("redundant"), "{}: {}", text, error),
        }
    }

    #[test]
    fn conditions_hold_where_the_naive_evaluator_says(root in node(), item in item()) {
        prop_assert_eq!(Condition { root: root.clone() }.matches(&item), naive::holds(&root, &item));
    }

    #[test]
    fn updates_do_what_the_naive_evaluator_does(actions in actions(), item in item()) {
        let expected = naive::apply(&actions, &item);
        prop_assert_eq!(Update { actions }.apply(&item).ok(), expected);
    }

    #[test]
    fn a_projected_path_leads_to_what_it_led_to(path in path(), item in item()) {
        let found = path.get(&item).cloned();
        let is_missing = found.is_none();
        let mut steps = path.steps.clone();
        let projected = Projection { paths: vec![path.clone()] }.project(&item);
        // Elements close up: what was named alone is the first.
        for step in &mut steps {
            if let Step::Index(index) = step {
                *index = 0;
            }
        }
        prop_assert_eq!(Path { root: path.root, steps }.get(&projected).cloned(), found);
        prop_assert_eq!(projected.is_empty(), is_missing);
    }

    #[test]
    fn no_text_makes_the_parser_panic(soup in token_soup(), text in "\\PC{0,40}", symbols in "[a#:()\\[\\].,=<> 0]{0,40}") {
        parse_all(&soup);
        parse_all(&text);
        parse_all(&symbols);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(
        random in prop::collection::vec(any::<u8>(), 0..60),
        root in node(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        decode_all(&random);
        let mut known_format = vec![1, 0];
        known_format.extend(random);
        decode_all(&known_format);
        let mut damaged = Condition { root }.encode().to_vec();
        let place = place.index(damaged.len());
        damaged[place] = byte;
        decode_all(&damaged);
        decode_all(&damaged[..place]);
    }
}

#[test]
fn a_tree_deeper_than_the_parser_makes_is_not_decoded() {
    let nested = |levels: usize| [vec![1, 0], vec![2; levels], vec![6, 1, b'a', 0]].concat();
    assert!(Condition::decode(nested(300).into()).is_ok());
    assert!(Condition::decode(nested(4000).into()).is_err());
}
