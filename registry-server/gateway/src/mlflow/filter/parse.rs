//! How filters are read: conditions, joined by AND.

use super::{Clause, Comparator, Error, Field, Filter, MOST, Of, Value};

/// A part of a filter, as it stands there.
#[derive(Debug, Clone, PartialEq)]
enum Token<'a> {
    /// A word, or several with dots, of which some may be in quotes.
    Word(&'a str),
    Quoted(&'a str),
    Number(&'a str),
    Sign(&'a str),
}

impl<'a> Token<'a> {
    fn text(&self) -> &'a str {
        match self {
            Self::Word(text) | Self::Quoted(text) | Self::Number(text) | Self::Sign(text) => text,
        }
    }

    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }
}

impl Filter {
    pub(in super::super) fn parse(of: Of, text: &str) -> Result<Self, Error> {
        let tokens = tokens(text)?;
        let mut rest = &tokens[..];
        let mut clauses = Vec::new();
        while !rest.is_empty() {
            if !clauses.is_empty() {
                match rest {
                    [and, after @ ..] if and.is("and") && !after.is_empty() => rest = after,
                    [other, ..] => return Err(invalid_clause(other.text())),
                    [] => {}
                }
            }
            if clauses.len() == MOST {
                return Err(Error::invalid(format_args!("A filter has at most {MOST} conditions")));
            }
            let (clause, after) = clause(of, rest)?;
            clauses.push(clause);
            rest = after;
        }
        Ok(Self { of, clauses })
    }
}

fn invalid_clause(what: &str) -> Error {
    Error::invalid(format_args!("Invalid clause(s) in filter string: {what}"))
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Error> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => quoted(rest)?,
            '=' | '(' | ')' | ',' => 1,
            '!' | '<' | '>' => {
                if rest[1..].starts_with('=') {
                    2
                } else {
                    1
                }
            }
            _ => word(rest)?,
        };
        let (token, after) = rest.split_at(length);
        tokens.push(match first {
            '\'' | '"' => Token::Quoted(token),
            '=' | '(' | ')' | ',' | '!' | '<' | '>' => Token::Sign(token),
            '0'..='9' | '-' => Token::Number(token),
            _ => Token::Word(token),
        });
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// How long the quoted text is that this begins with. A quote in it is written twice.
fn quoted(text: &str) -> Result<usize, Error> {
    let quote = text.chars().next().unwrap_or_default();
    let mut end = 1;
    while let Some(at) = text[end..].find(quote) {
        end += at + 1;
        match text[end..].strip_prefix(quote) {
            Some(_) => end += 1,
            None => return Ok(end),
        }
    }
    Err(invalid_clause(text))
}

/// How long the word is that this begins with: up to what can't be in one, and with all that is in quotes behind a dot.
fn word(text: &str) -> Result<usize, Error> {
    let mut end = 0;
    while let Some(next) = text[end..].chars().next() {
        end += match next {
            '`' => match text[end + 1..].find('`') {
                Some(at) => at + 2,
                None => return Err(invalid_clause(text)),
            },
            '\'' | '"' if text[..end].ends_with('.') => quoted(&text[end..])?,
            c if c.is_whitespace() || "=!<>(),'\"".contains(c) => break,
            c => c.len_utf8(),
        };
    }
    Ok(end)
}

fn clause<'t, 'a>(of: Of, tokens: &'t [Token<'a>]) -> Result<(Clause, &'t [Token<'a>]), Error> {
    let said = |tokens: &[Token<'_>]| {
        let texts: Vec<_> = tokens.iter().take_while(|token| !token.is("and")).map(|token| token.text()).collect();
        texts.join(" ")
    };
    let (left, rest) = match tokens {
        [left @ (Token::Word(_) | Token::Quoted(_)), rest @ ..] => (left, rest),
        _ => return Err(invalid_clause(&said(tokens))),
    };
    let (comparator, rest) = match rest {
        [not, word, rest @ ..] if not.is("not") && word.is("in") => (Comparator::NotIn, rest),
        [word, ..] if word.is("is") => {
            let what = if of == Of::Models { "registered model" } else { "model version" };
            return Err(Error::invalid(format_args!("IS NULL / IS NOT NULL is not supported for {what} search.")));
        }
        [Token::Word(word) | Token::Sign(word), rest @ ..] => {
            (Comparator::of(word).ok_or_else(|| invalid_clause(&said(tokens)))?, rest)
        }
        _ => return Err(invalid_clause(&said(tokens))),
    };
    let field = field(of, left.text())?;
    check(&field, comparator)?;
    let (value, rest) = match rest {
        [Token::Sign("("), rest @ ..] => {
            let end = rest.iter().position(|token| *token == Token::Sign(")"));
            let end = end.ok_or_else(|| invalid_clause(&said(tokens)))?;
            (Value::List(list(&rest[..end])?), &rest[end + 1..])
        }
        [value, rest @ ..] => (of_one(&field, value)?, rest),
        [] => return Err(invalid_clause(&said(tokens))),
    };
    let is_list = matches!(value, Value::List(_));
    if is_list != matches!(comparator, Comparator::In | Comparator::NotIn) {
        return Err(invalid_clause(&said(tokens)));
    }
    Ok((Clause { field, comparator, value }, rest))
}

fn field(of: Of, identifier: &str) -> Result<Field, Error> {
    let (entity, key) = identifier.split_once('.').unwrap_or(("attribute", identifier));
    let plain = unquoted(key);
    match entity {
        "tag" | "tags" => return Ok(Field::Tag(plain)),
        "attribute" => {}
        _ => {
            return Err(Error::invalid(format_args!(
                "Invalid entity type '{entity}'. Valid entity types are ('attribute', 'tag', 'tags')"
            )));
        }
    }
    let known = match of {
        Of::Models => "{'name'}",
        Of::Versions => "{'name', 'run_id', 'source_path', 'version_number'}",
    };
    match (&*plain, of) {
        ("name", _) => Ok(Field::Name),
        ("run_id", Of::Versions) => Ok(Field::RunId),
        ("source_path", Of::Versions) => Ok(Field::SourcePath),
        ("version_number", Of::Versions) => Ok(Field::VersionNumber),
        _ => {
            let message = format!("Invalid attribute key '{key}' specified. Valid keys are '{known}'");
            Err(Error::invalid(message))
        }
    }
}

/// Whether a field can be compared like this.
fn check(field: &Field, comparator: Comparator) -> Result<(), Error> {
    use Comparator::{Equal, ILike, In, Like, NotEqual, NotIn};
    let can = match field {
        Field::VersionNumber => !matches!(comparator, Like | ILike | In | NotIn),
        Field::Name | Field::RunId => matches!(comparator, Equal | NotEqual | Like | ILike | In | NotIn),
        Field::SourcePath | Field::Tag(_) => matches!(comparator, Equal | NotEqual | Like | ILike),
    };
    if can {
        return Ok(());
    }
    let word = comparator.word();
    Err(Error::invalid(match field {
        Field::Tag(_) => format!("Invalid comparator for tag: {word}"),
        Field::VersionNumber => format!("Invalid comparator for attribute version_number: {word}"),
        _ => format!("Invalid comparator for attribute: {word}"),
    }))
}

fn of_one(field: &Field, token: &Token<'_>) -> Result<Value, Error> {
    let text = token.text();
    match (field, token) {
        (Field::VersionNumber, Token::Number(_) | Token::Quoted(_)) => {
            let number = unquoted(text).parse();
            let wrong =
                |_| Error::invalid(format_args!("Invalid value for numeric attribute 'version_number': {text}"));
            number.map(Value::Number).map_err(wrong)
        }
        (_, Token::Quoted(_)) => Ok(Value::Text(unquoted(text))),
        (Field::Tag(_), Token::Number(_)) => Err(Error::invalid(format_args!(
            "Expected a quoted string value for tag (e.g. 'my-value'). Got value {text}"
        ))),
        (_, Token::Number(_)) => Err(Error::invalid(format_args!(
            "Expected a quoted string value or a list of quoted string values for attributes. Got value {text}"
        ))),
        _ => Err(Error::invalid(format_args!(
            "Parameter value is either not quoted or unidentified quote types used for string value {text}. Use either \
             single or double quotes."
        ))),
    }
}

fn list(tokens: &[Token<'_>]) -> Result<Vec<String>, Error> {
    let wrong = || {
        let texts: Vec<_> = tokens.iter().map(|token| token.text()).collect();
        let list = texts.join(" ");
        Error::invalid(format_args!(
            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in \
             list: ({list})"
        ))
    };
    let parts = tokens.split(|token| *token == Token::Sign(","));
    let text = |part: &[Token<'_>]| match part {
        [Token::Quoted(text)] => Ok(unquoted(text)),
        _ => Err(wrong()),
    };
    parts.map(text).collect()
}

/// A key or a value without the quotes around it, if there are some.
fn unquoted(text: &str) -> String {
    for quote in ['\'', '"', '`'] {
        let inner = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.replace(&format!("{quote}{quote}"), &quote.to_string());
        }
    }
    text.to_owned()
}
