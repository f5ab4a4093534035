//! What DynamoDB says of texts that it refuses.

use super::*;

/// `:s`, `:n` and so on are values of each type; `#a` is `a`, `#c` is `c`, `#d` is `[3]`.
pub(super) fn all() -> Placeholders {
    placeholders(
        [("#a", "a"), ("#c", "c"), ("#d", "[3]")],
        [
            (":s", s("a")),
            (":s2", s("b")),
            (":n", n("1")),
            (":b", b(b"a")),
            (":bool", Value::Bool(true)),
            (":null", Value::Null),
            (":ss", ss(["a"])),
            (":ns", ns(["1"])),
            (":bs", bs([b"a"])),
            (":m", m([])),
            (":l", l([])),
        ],
    )
}

fn refused_condition(text: &str) -> String {
    let refused = Condition::parse("FilterExpression", text, &mut all()).expect_err(text).0;
    refused.strip_prefix("Invalid FilterExpression: ").expect(&refused).to_owned()
}

fn refused_update(text: &str) -> String {
    let refused = Update::parse(text, &mut all()).expect_err(text).0;
    refused.strip_prefix("Invalid UpdateExpression: ").expect(&refused).to_owned()
}

fn refused_projection(text: &str) -> String {
    let refused = Projection::parse(text, &mut all()).expect_err(text).0;
    refused.strip_prefix("Invalid ProjectionExpression: ").expect(&refused).to_owned()
}

fn check(refuse: fn(&str) -> String, cases: &[(&str, &str)]) {
    for (text, sentence) in cases {
        assert_eq!(refuse(text), *sentence, "{text}");
    }
}

#[test]
fn syntax_errors_name_the_token_and_its_neighbours() {
    check(
        refused_condition,
        &[
            ("foo", r#"Syntax error; token: "<EOF>", near: "foo""#),
            ("a > 4", r#"Syntax error; token: "4", near: "> 4""#),
            ("a = = :n", r#"Syntax error; token: "=", near: "= = :n""#),
            ("ADD #a :n", r#"Syntax error; token: "ADD", near: "ADD #a""#),
            ("_hidden = :n", r#"Syntax error; token: "_", near: "_hidden""#),
            ("attribute_not_exists(", r#"Syntax error; token: "<EOF>", near: "(""#),
            ("attribute_exists(Pictures-RearView)", r#"Syntax error; token: "-", near: "Pictures-RearView""#),
            ("ü > a", r#"Syntax error; token: "ü", near: "ü >""#),
            ("a in (b,c,)", r#"Syntax error; token: ")", near: ",)""#),
            ("(a = :n", r#"Syntax error; token: "<EOF>", near: ":n""#),
            ("a = :n)", r#"Syntax error; token: ")", near: ":n)""#),
            ("things are not gonna be ok", r#"Syntax error; token: "are", near: "things are not""#),
        ],
    );
    check(
        refused_update,
        &[
            ("INVALID SYNTAX HERE", r#"Syntax error; token: "INVALID", near: "INVALID SYNTAX""#),
            ("ADD hits : incr", r#"Syntax error; token: ":", near: "hits : incr""#),
            ("SET", r#"Syntax error; token: "<EOF>", near: "SET""#),
            ("SET a = :n,", r#"Syntax error; token: "<EOF>", near: ",""#),
            ("SET a = b + :n +", r#"Syntax error; token: "+", near: ":n +""#),
        ],
    );
    check(
        refused_projection,
        &[
            ("a b", r#"Syntax error; token: "b", near: "a b""#),
            ("a,", r#"Syntax error; token: "<EOF>", near: ",""#),
            ("a[x]", r#"Syntax error; token: "x", near: "[x]""#),
        ],
    );
}

#[test]
fn what_is_no_condition_is_a_syntax_error() {
    for text in [
        "attribute_exists(\"Pictures.RearView\")",
        "attribute_exists(Pictures..RearView)",
        "attribute_exists(Pi#ctures.RearView)",
        "attribute_exists(asdf[a])",
        "a in b, c",
        "a > between",
        "a in b",
        "a in ()",
        "(a)between(b.(c.d))and(c)",
        "(a)between(b.c.d)and((c)",
        "#$.b > a",
        "a > :things.stuff",
        "b[:a] > a",
        "b[#_] > a",
        "a.:a < b.:b",
        "(a)between(b.c[4.5].#d)and(:a)",
        "size(a).b > a",
        "(size(a)).b > a",
        "size(a)[0] > a",
        "(size(a))[0] > a",
        "a",
        ":n",
        "(a)",
        "a[01] = :n",
        "a AND b",
        "(a = b) = c",
    ] {
        assert!(refused_condition(text).starts_with("Syntax error; "), "{text}");
    }
}

#[test]
fn what_is_no_update_is_a_syntax_error() {
    for text in [
        "whatever",
        "set a",
        "add a",
        "delete a",
        "set a=set",
        "remove a = b",
        "add a = b",
        "delete a = b",
        "delete a b",
        "delete a if_not_exist(b)",
        "add abort b",
        "remove a b",
        "set a b",
        "set :a = b",
        "add :a b",
        "remove :a",
        "set a = b / c",
        "set a = b * c",
        "set a[1] = \"eight\"",
        "set a[1] = 1",
        "SET a = if_not_exist(a, 100)",
        "SET if_not_exist(a, b) = a",
        "set (a = (b + c))",
        "set a = (b.c).d + e",
        "set a = (b.c)[0] + e",
        "set a = b + c + d",
        "set a = _f(b, c)",
        "set c = if_not_exists(c, :n + :n)",
        "set a = :n,, b = :n",
    ] {
        assert!(refused_update(text).starts_with("Syntax error; "), "{text}");
    }
}

#[test]
fn parentheses_around_parentheses_are_redundant() {
    for text in [
        "a=a and a > ((views))",
        "(a)between(((b.c)).d)and(c)",
        "a > whatever((:things), ((a)))",
        "a=a AND ((a=a AND a=a)) AND a=a",
        "a=a OR ((a=a OR a=a)) OR a=a",
        "a=a AND ((a=a AND (a=a AND a=a)))",
        "((a = :n))",
        "((attribute_exists(a)))",
    ] {
        assert_eq!(refused_condition(text), "The expression has redundant parentheses;", "{text}");
    }
    assert_eq!(refused_update("set a = ((:n))"), "The expression has redundant parentheses;");
}

#[test]
fn functions_must_be_known_and_stand_where_they_may() {
    let misused = "The function is not allowed to be used this way in an expression; function: ";
    for (text, function) in [
        ("a=a and attribute_exists((views), (#a)) > b", "attribute_exists"),
        ("attribute_not_exists(things) > b", "attribute_not_exists"),
        ("attribute_type(things, :a) > b", "attribute_type"),
        ("begins_with(things, a) > b", "begins_with"),
        ("contains(:things, c) > b", "contains"),
        ("size(contains(a, b)) > a", "contains"),
        ("size(things)", "size"),
        ("a between b and attribute_exists(things)", "attribute_exists"),
        ("a in (b, attribute_exists(things))", "attribute_exists"),
    ] {
        assert_eq!(refused_condition(text), format!("{misused}{function}"), "{text}");
    }
    check(
        refused_condition,
        &[
            ("a=a and whatever((:things)) > a", "Invalid function name; function: whatever"),
            ("attRIbute_exIsts((views), #a)", "Invalid function name; function: attRIbute_exIsts"),
            (
                "if_not_exists(a, b) = c",
                "The function is not allowed in a condition expression; function: if_not_exists",
            ),
        ],
    );
    check(
        refused_update,
        &[
            ("set #c = if_not_exist(:c) set c = d", "Invalid function name; function: if_not_exist"),
            ("set a = LIST_APPEND(:l, :l)", "Invalid function name; function: LIST_APPEND"),
            ("set a = size(b)", "The function is not allowed in an update expression; function: size"),
            (
                "set a = list_append(list_append(:l, :l), :l)",
                "The function is not allowed to be used this way in an expression; function: list_append",
            ),
        ],
    );
}

#[test]
fn reserved_words_need_a_placeholder() {
    let reserved = "Attribute name is a reserved keyword; reserved keyword: ";
    assert_eq!(refused_condition("attribute_exists(views, #a)"), format!("{reserved}views"));
    assert_eq!(refused_condition(":a < abOrT"), format!("{reserved}abOrT"));
    assert_eq!(refused_condition("a.size = :n"), format!("{reserved}size"));
    assert_eq!(refused_update(" set #c = :c set abOrt = true "), format!("{reserved}abOrt"));
    assert_eq!(refused_update(" remove Absolute "), format!("{reserved}Absolute"));
    assert_eq!(refused_projection("a, name"), format!("{reserved}name"));
}

#[test]
fn placeholders_must_be_defined() {
    let no_name = "An expression attribute name used in the document path is not defined; attribute name: ";
    let no_value = "An expression attribute value used in expression is not defined; attribute value: ";
    for (text, name) in [
        ("attribute_exists(#Pictures.RearView, :a) and a=a", "#Pictures"),
        ("begins_with(Pictures.#RearView)", "#RearView"),
        ("(#P between :lo and :hi) and (#PC in (:cat1, :cat2))", "#P"),
        ("#4g > a", "#4g"),
        ("#_ > a", "#_"),
    ] {
        assert_eq!(refused_condition(text), format!("{no_name}{name}"), "{text}");
    }
    for (text, name) in [("begins_with(:hello, #a, #b)", ":hello"), (":a < :b", ":a"), (":_ > a", ":_")] {
        assert_eq!(refused_condition(text), format!("{no_value}{name}"), "{text}");
    }
    assert_eq!(refused_update("SET #x = if_not_exists(:c)"), format!("{no_name}#x"));
    assert_eq!(refused_update("SET #a = if_not_exists(:c)"), format!("{no_value}:c"));
    assert_eq!(refused_projection("a, #x"), format!("{no_name}#x"));
}

#[test]
fn operands_are_counted() {
    let wrong = "Incorrect number of operands for operator or function; operator or function: ";
    for (text, function, count) in [
        ("attribute_exists(things, a) and a=a", "attribute_exists", 2),
        ("attribute_not_exists(things, b)", "attribute_not_exists", 2),
        ("attribute_type(things)", "attribute_type", 1),
        ("begins_with(things)", "begins_with", 1),
        ("begins_with(things, size(a), b)", "begins_with", 3),
        ("contains(things)", "contains", 1),
        ("size(things, a) > b", "size", 2),
    ] {
        assert_eq!(refused_condition(text), format!("{wrong}{function}, number of operands: {count}"), "{text}");
    }
    assert_eq!(refused_update("set a = if_not_exists(c)"), format!("{wrong}if_not_exists, number of operands: 1"));
    assert_eq!(refused_update("set a = list_append(c)"), format!("{wrong}list_append, number of operands: 1"));
}

#[test]
fn types_of_values_are_known_before_any_item() {
    let wrong = "Incorrect operand type for operator or function; operator or function: ";
    let known = ["s", "n", "b", "bool", "null", "ss", "ns", "bs", "m", "l"];
    for name in known {
        let found = name.to_ascii_uppercase();
        if !matches!(name, "s" | "b") {
            for text in [format!("begins_with(a, :{name})"), format!("begins_with(:{name}, a)")] {
                assert_eq!(refused_condition(&text), format!("{wrong}begins_with, operand type: {found}"), "{text}");
            }
        }
        if name != "s" {
            let text = format!("attribute_type(a, :{name})");
            assert_eq!(refused_condition(&text), format!("{wrong}attribute_type, operand type: {found}"));
        }
        if !matches!(name, "s" | "b" | "n") {
            assert_eq!(refused_condition(&format!("a <= :{name}")), format!("{wrong}<=, operand type: {found}"));
            let text = format!("a between :{name} and b");
            assert_eq!(refused_condition(&text), format!("{wrong}BETWEEN, operand type: {found}"));
        }
        if name != "l" {
            let text = format!("set a = list_append(a, :{name})");
            assert_eq!(refused_update(&text), format!("{wrong}list_append, operand type: {found}"));
        }
        if name != "n" {
            assert_eq!(refused_update(&format!("set a = a + :{name}")), format!("{wrong}+, operand type: {found}"));
            assert_eq!(refused_update(&format!("set a = :{name} - a")), format!("{wrong}-, operand type: {found}"));
        }
    }
    check(
        refused_condition,
        &[
            ("attribute_type(a, size(a)) and a=a", &format!("{wrong}attribute_type, operand type: N")),
            ("attribute_type(a, b)", &format!("{wrong}attribute_type, operand type: {{NS,SS,L,BS,N,M,B,BOOL,NULL,S}}")),
            ("size(size(a)) > :n", &format!("{wrong}size, operand type: N")),
            ("attribute_not_exists(size(:n))", &format!("{wrong}size, operand type: N")),
            ("size(:bool) > a", &format!("{wrong}size, operand type: BOOL")),
            ("begins_with(a, size(a))", &format!("{wrong}begins_with, operand type: N")),
            (
                "attribute_type(a, :s)",
                "Invalid attribute type name found; type: a, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
            ),
        ],
    );
}

#[test]
fn sections_take_their_own_types() {
    for (text, section, found) in [
        ("set b = list_append(:s, a), c = if_not_exists(a) add a.b :s", "ADD", "STRING"),
        ("delete a.b :s", "DELETE", "STRING"),
        ("add a.b :null", "ADD", "NULL"),
        ("add a.b :bool", "ADD", "BOOLEAN"),
        ("delete a.b :b", "DELETE", "BINARY"),
        ("add a.b :m", "ADD", "MAP"),
        ("add a.b :l", "ADD", "LIST"),
        ("delete a.b :n", "DELETE", "NUMBER"),
    ] {
        let sentence = format!(
            "Incorrect operand type for operator or function; operator: {section}, operand type: {found}, \
             typeSet: ALLOWED_FOR_{section}_OPERAND"
        );
        assert_eq!(refused_update(text), sentence, "{text}");
    }
}

#[test]
fn some_functions_need_a_path() {
    let needs = "Operator or function requires a document path; operator or function: ";
    assert_eq!(refused_condition("attribute_exists(:s) and a=a"), format!("{needs}attribute_exists"));
    assert_eq!(refused_condition("attribute_not_exists(size(:s))"), format!("{needs}attribute_not_exists"));
    assert_eq!(refused_update("set a = if_not_exists(:s, c)"), format!("{needs}if_not_exists"));
    assert_eq!(refused_update("set a = if_not_exists(if_not_exists(a, b), c)"), format!("{needs}if_not_exists"));
}

#[test]
fn a_path_is_not_held_against_itself() {
    for (text, operator, path) in [
        ("a = a AND #a = b AND :views > a", "=", "[a]"),
        ("#a <> a", "<>", "[a]"),
        ("a > #a", ">", "[a]"),
        ("((a=a) OR (a=a))", "=", "[a]"),
        ("((a=a) AND (a=a))", "=", "[a]"),
        ("contains(ab.bc[1].a, ab.bc[1].#a)", "contains", "[ab, bc, [1], a]"),
        ("attribute_type(ab.bc[1].#a, ab.bc[1].a)", "attribute_type", "[ab, bc, [1], a]"),
        ("begins_with(ab.bc[1].a, ab.bc[1].#a)", "begins_with", "[ab, bc, [1], a]"),
        ("a in (b, a)", "IN", "[a]"),
    ] {
        let sentence = format!(
            "The first operand must be distinct from the remaining operands for this operator or function; \
             operator: {operator}, first operand: {path}"
        );
        assert_eq!(refused_condition(text), sentence, "{text}");
    }
}

#[test]
fn bounds_of_between_agree() {
    check(
        refused_condition,
        &[
            (
                "a between :n and :s",
                "The BETWEEN operator requires same data type for lower and upper bounds; \
                 lower bound operand: AttributeValue: {N:1}, upper bound operand: AttributeValue: {S:a}",
            ),
            (
                "a between :s2 and :s",
                "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; \
                 lower bound operand: AttributeValue: {S:b}, upper bound operand: AttributeValue: {S:a}",
            ),
        ],
    );
}

#[test]
fn paths_that_clash_are_refused() {
    let overlap = |one: &str, two: &str| {
        format!(
            "Two document paths overlap with each other; must remove or rewrite one of these paths; \
             path one: {one}, path two: {two}"
        )
    };
    let conflict = |one: &str, two: &str| overlap(one, two).replace("overlap", "conflict");
    for (text, sentence) in [
        ("set d[1] = a, d.b = a, c[1].a = a, #c = if_not_exists(a)", overlap("[c, [1], a]", "[c]")),
        ("set #c[3].#d = a, #c[3] = a", overlap("[c, [3], [3]]", "[c, [3]]")),
        ("set #c[3].#d = a, #c.#d[3] = if_not_exists(a)", conflict("[c, [3], [3]]", "[c, [3], [3]]")),
        ("remove a.#c set a[1] = #d", conflict("[a, c]", "[a, [1]]")),
        ("set a = :n remove a", overlap("[a]", "[a]")),
    ] {
        assert_eq!(refused_update(text), sentence, "{text}");
    }
    assert_eq!(refused_projection("a.b, a"), overlap("[a, b]", "[a]"));
    assert_eq!(refused_projection("a.b[0], c, a.b[0]"), overlap("[a, b, [0]]", "[a, b, [0]]"));
    assert_eq!(refused_projection("a.b, a[1]"), conflict("[a, b]", "[a, [1]]"));
}

#[test]
fn a_section_stands_once() {
    for (text, section) in [
        ("set a = #c set c = :d", "SET"),
        ("remove #d set a = b remove e", "REMOVE"),
        ("add #d :e set a = b add e :f", "ADD"),
        ("delete #d :e set a = b delete #e :f", "DELETE"),
    ] {
        let sentence = format!("The \"{section}\" section can only be used once in an update expression;");
        assert_eq!(refused_update(text), sentence, "{text}");
    }
}

#[test]
fn limits_are_dynamodbs() {
    assert_eq!(refused_condition(""), "The expression can not be empty;");
    assert_eq!(refused_condition("  "), "The expression can not be empty;");
    let longest = format!("a = :n{}", " ".repeat(4090));
    assert!(Condition::parse("FilterExpression", &longest, &mut all()).is_ok());
    assert_eq!(
        refused_condition(&format!("{longest} ")),
        "Expression size has exceeded the maximum allowed size; expression size: 4097"
    );
    let operators = |count: usize| format!("NOT {}a = :n", "NOT ".repeat(count - 2));
    assert!(Condition::parse("FilterExpression", &operators(300), &mut all()).is_ok());
    let too_many = "The expression contains too many operators; operator count: 301";
    assert_eq!(refused_condition(&operators(301)), too_many);
    assert_eq!(refused_condition(&"a<b or ".repeat(400)), too_many);
    let list = |count: usize| format!("a IN ({}:n)", ":n, ".repeat(count - 1));
    assert!(Condition::parse("FilterExpression", &list(100), &mut all()).is_ok());
    assert_eq!(
        refused_condition(&list(101)),
        "The IN operator is provided with too many operands; number of operands: 101"
    );
    assert!(Projection::parse(&format!("a{}", ".b".repeat(31)), &mut all()).is_ok());
    assert_eq!(
        refused_projection(&format!("a{}", ".b".repeat(32))),
        "The document path has too many nesting levels; nesting levels: 33"
    );
    assert!(Projection::parse("a[2147483647]", &mut all()).is_ok());
    assert_eq!(
        refused_projection("a[2147483648]"),
        "List index is not within the allowable range; index: [2147483648]"
    );
}

#[test]
fn hostile_depth_is_refused_without_a_deep_stack() {
    let redundant = "The expression has redundant parentheses;";
    for (text, sentence) in [
        (format!("{}a = :n{}", "(".repeat(2000), ")".repeat(2000)), redundant),
        (format!("{}a{} = :n", "(".repeat(2000), ")".repeat(2000)), redundant),
        ("NOT ".repeat(1000), "The expression contains too many operators; operator count: 301"),
        ("size(".repeat(800), "The expression contains too many operators; operator count: 301"),
        (
            format!("{}a=:n{}", "(".repeat(400), " or b=:n)".repeat(400)),
            "The expression contains too many operators; operator count: 301",
        ),
    ] {
        assert_eq!(refused_condition(&text), sentence);
    }
    assert!(Condition::parse("FilterExpression", &"(".repeat(4096), &mut all()).is_err());
    let deep = format!("{}a=:n{}", "(".repeat(149), " or b=:n)".repeat(149));
    assert!(Condition::parse("FilterExpression", &deep, &mut all()).is_ok());
}

#[test]
fn placeholders_are_well_formed_and_used() {
    let checked = |placeholders: Placeholders| placeholders.check().unwrap_err().0;
    assert_eq!(
        checked(placeholders([("a", "a")], [])),
        "ExpressionAttributeNames contains invalid key: Syntax error; key: \"a\""
    );
    assert_eq!(
        checked(placeholders([], [("#a", n("1"))])),
        "ExpressionAttributeValues contains invalid key: Syntax error; key: \"#a\""
    );
    assert!(all().check().is_ok());

    let mut both = placeholders([("#a", "a"), ("#x", "x")], [(":n", n("1")), (":v", n("2"))]);
    assert!(Condition::parse("ConditionExpression", "#a = :n", &mut both).is_ok());
    assert_eq!(
        both.check_all_used().unwrap_err().0,
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}"
    );
    assert!(Projection::parse("#x", &mut both).is_ok());
    assert_eq!(
        both.check_all_used().unwrap_err().0,
        "Value provided in ExpressionAttributeValues unused in expressions: keys: {:v}"
    );
}
