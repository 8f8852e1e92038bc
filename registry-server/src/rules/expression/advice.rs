//! What to write, where a text has what other languages have, or what looks right and is not.

use cel::parser::pratt_parser::{Lexer, Token, TokenKind};

/// The quotes that word processors make of plain ones.
const CURLY: [char; 7] = ['“', '”', '„', '‘', '’', '«', '»'];

/// Where a text differs from CEL and what to write there, if a text that is not understood at a place tells.
pub(super) fn advice(text: &str, at: usize) -> Option<(usize, String)> {
    let (before, rest) = (text.get(..at)?, text.get(at..)?);
    let is_letter = |letter: &char| letter.is_alphanumeric() || *letter == '_';
    let word: String = rest.chars().take_while(is_letter).collect();
    let trimmed = before.trim_end();
    let last: String = trimmed.chars().rev().take_while(is_letter).collect();
    let previous: String = last.chars().rev().collect();
    if previous.eq_ignore_ascii_case("not") {
        return Some((trimmed.len() - previous.len(), of_word("not")?.to_owned()));
    }
    if let Some(advice) = of_word(&word.to_lowercase()) {
        return Some((at, advice.to_owned()));
    }
    if rest.starts_with('>') && before.ends_with('<') {
        return Some((at - 1, "write != for <>".to_owned()));
    }
    let advice = match rest.chars().next()? {
        '=' => "write == to compare",
        ',' if in_parentheses(trimmed) => "write a list in brackets: in [...]",
        quote if CURLY.contains(&quote) => "write \" or ' for a quote",
        _ => return None,
    };
    Some((at, advice.to_owned()))
}

/// What to write for a word of other languages, in lower case.
pub(super) fn of_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "and" => "write && for and",
        "or" => "write || for or",
        "not" => "write ! for not",
        "in" => "write it in lower case, and a list in brackets: in [...]",
        "like" | "ilike" => "write contains(), startsWith() or endsWith() for like: version.name.contains(\"...\")",
        "is" => "write has() to ask whether something is there: has(version.withdraw_time)",
        "between" => "write both ends for between: 1 <= version.number && version.number <= 9",
        "namespace" => "\"namespace\" is reserved in CEL: the variable is called resource",
        _ => return None,
    })
}

/// Whether a text ends within parentheses that stand behind `in`.
fn in_parentheses(text: &str) -> bool {
    let mut open = Vec::new();
    let mut is_in = false;
    for token in tokens(text) {
        match token.kind {
            TokenKind::TokLeftParen => open.push(is_in),
            TokenKind::TokRightParen => drop(open.pop()),
            _ => {}
        }
        is_in = token.kind == TokenKind::TokIn;
    }
    open.last().copied().unwrap_or(false)
}

/// What to write for a `has()` that is not understood, and is around a place: it takes fields only.
pub(super) fn of_has(text: &str, at: usize) -> (usize, String) {
    let mut open = Vec::new();
    let mut is_has = false;
    let mut found = None;
    for token in tokens(text) {
        match token.kind {
            TokenKind::TokLeftParen => open.push(is_has.then_some(token.end)),
            TokenKind::TokRightParen => {
                // The innermost ends first.
                if let Some(Some(begin)) = open.pop()
                    && begin <= at
                    && at <= token.start
                {
                    found = Some((begin, token.start));
                    break;
                }
            }
            _ => {}
        }
        is_has = text.get(token.start..token.end) == Some("has");
    }
    let (begin, argument) = found.and_then(|(begin, end)| Some((begin, text.get(begin..end)?))).unwrap_or((at, ""));
    let advice = match key(argument) {
        Some((of, key)) => format!("has() takes fields with a dot: write {key} in {of}"),
        None => "has() takes a field, such as has(version.withdraw_time)".to_owned(),
    };
    (begin, advice)
}

/// The parts of `of[key]`.
fn key(text: &str) -> Option<(&str, &str)> {
    let mut open = Vec::new();
    let mut last = None;
    for token in tokens(text) {
        last = None;
        match token.kind {
            TokenKind::TokLeftBracket => open.push(token.start),
            TokenKind::TokRightBracket => last = Some((open.pop()?, token.start)),
            _ => {}
        }
    }
    let (begin, end) = last?;
    Some((text.get(..begin)?.trim(), text.get(begin + 1..end)?.trim()))
}

/// What a text is made of, up to what is not understood.
fn tokens(text: &str) -> impl Iterator<Item = Token> {
    let mut lexer = Lexer::new(text);
    std::iter::from_fn(move || {
        let token = lexer.lex();
        let known = !matches!(token.kind, TokenKind::TokEnd | TokenKind::TokError);
        known.then_some(token)
    })
    .filter(|token| !matches!(token.kind, TokenKind::TokWhitespace | TokenKind::TokComment))
}
