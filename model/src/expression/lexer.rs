//! Texts to tokens. Never fails: a character that belongs to no token becomes one of its own, and the parser refuses it.
//!
//! Keywords are words in any case and the same in every kind of expression; names begin with a letter.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    /// `#name`
    NamePlaceholder,
    /// `:value`
    ValuePlaceholder,
    /// Digits: a list's index.
    Index,
    And,
    Or,
    Not,
    Between,
    In,
    Set,
    Remove,
    Add,
    Delete,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
    Dot,
    Plus,
    Minus,
    Unknown,
    End,
}

/// One token and where it stands in the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The tokens of `text`; the last one is [`Kind::End`], whose text is `<EOF>`.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        if matches!(first, ' ' | '\t' | '\r' | '\n') {
            start += 1;
            continue;
        }
        let (kind, length) = first_token(&text[start..], first);
        let end = start + length;
        found.push(Token { kind, text: &text[start..end], start, end });
        start = end;
    }
    found.push(Token { kind: Kind::End, text: "<EOF>", start: text.len(), end: text.len() });
    found
}

fn first_token(rest: &str, first: char) -> (Kind, usize) {
    match first {
        'a'..='z' | 'A'..='Z' => {
            let length = word_length(rest);
            (word_kind(&rest[..length]), length)
        }
        '#' | ':' => match (1 + word_length(&rest[1..]), first) {
            (1, _) => (Kind::Unknown, 1),
            (length, '#') => (Kind::NamePlaceholder, length),
            (length, _) => (Kind::ValuePlaceholder, length),
        },
        // An index has no leading zeros: `01` is two tokens.
        '0' => (Kind::Index, 1),
        '1'..='9' => (Kind::Index, rest.bytes().take_while(u8::is_ascii_digit).count()),
        '<' if rest.starts_with("<>") => (Kind::NotEqual, 2),
        '<' if rest.starts_with("<=") => (Kind::LessOrEqual, 2),
        '>' if rest.starts_with(">=") => (Kind::GreaterOrEqual, 2),
        _ => (punctuation(first), first.len_utf8()),
    }
}

fn word_length(rest: &str) -> usize {
    rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

fn word_kind(word: &str) -> Kind {
    const KEYWORDS: [(&str, Kind); 9] = [
        ("AND", Kind::And),
        ("OR", Kind::Or),
        ("NOT", Kind::Not),
        ("BETWEEN", Kind::Between),
        ("IN", Kind::In),
        ("SET", Kind::Set),
        ("REMOVE", Kind::Remove),
        ("ADD", Kind::Add),
        ("DELETE", Kind::Delete),
    ];
    KEYWORDS.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(word)).map_or(Kind::Name, |(_, kind)| *kind)
}

fn punctuation(character: char) -> Kind {
    match character {
        '=' => Kind::Equal,
        '<' => Kind::Less,
        '>' => Kind::Greater,
        '(' => Kind::Open,
        ')' => Kind::Close,
        '[' => Kind::OpenBracket,
        ']' => Kind::CloseBracket,
        ',' => Kind::Comma,
        '.' => Kind::Dot,
        '+' => Kind::Plus,
        '-' => Kind::Minus,
        _ => Kind::Unknown,
    }
}
