//! Texts to trees. With `advice`, the only place that knows the crate `cel`, and only its parser: an evaluation of its own has no types before it runs,
//! no bounds on what it costs, and wants each record as values on the heap.

use std::iter::Peekable;
use std::vec::IntoIter;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use cel::parser::pratt_parser::{Lexer, TokenKind};
use cel::parser::{ParseErrors, PrattParser};

use super::Wrong;
use super::advice::{advice, of_has};

/// How long an expression is at most.
const BYTES: usize = 4 * 1024;
/// How many names, literals and operators it has.
const TERMS: usize = 64;
/// How deep they are nested.
const DEPTH: u16 = 16;
/// How many tokens it is made of, so that neither the parser nor its tree goes deep: many more than so many terms need.
const TOKENS: usize = 4 * TERMS;
/// What the parser's names of operators begin with: `_&&_`, `!_`, `-_`, `@in`.
const OPERATORS: [char; 4] = ['_', '!', '-', '@'];

/// A part of an expression, and where it begins.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Literal(Literal),
    Name(String),
    /// `of.field`
    Field(Box<Term>, Name),
    /// `has(of.field)`
    Has(Box<Term>, Name),
    /// `of[key]`
    Index(Box<Term>, Box<Term>),
    List(Vec<Term>),
    Not(Box<Term>),
    /// All of them, or any: `&&` and `||`, however many there are.
    All(Vec<Term>),
    Any(Vec<Term>),
    /// `condition ? one : other`
    Choice(Box<[Term; 3]>),
    Negative(Box<Term>),
    Binary(Binary, Box<[Term; 2]>),
    /// `function(arguments)`; of `target.function(arguments)` the target is the first argument.
    Call(Name, Vec<Term>),
}

/// A name, and where it stands.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) at: usize,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Parses an expression within the limits.
pub(super) fn parse(text: &str) -> Result<Term, Wrong> {
    if text.len() > BYTES {
        return Err(Wrong::whole(format!("has {} bytes; at most {BYTES} are allowed", text.len())));
    }
    let words = words(text)?;
    let tree =
        PrattParser::new().max_recursion_depth(DEPTH).parse(text).map_err(|errors| syntax_error(text, errors))?;
    let mut reader = Reader { words: words.into_iter().peekable(), end: text.len(), terms: 0, depth: 0 };
    reader.term(tree)
}

fn too_deep() -> Wrong {
    Wrong::whole(format!("is nested deeper than {DEPTH} levels"))
}

fn too_long() -> Wrong {
    Wrong::whole(format!("has more than {TERMS} names, values and operators"))
}

/// Where the names and literals of an expression are, in their order: the parser's tree does not say.
fn words(text: &str) -> Result<Vec<usize>, Wrong> {
    let mut lexer = Lexer::new(text);
    let (mut words, mut tokens) = (Vec::new(), 0);
    loop {
        let token = lexer.lex();
        match token.kind {
            TokenKind::TokEnd => return Ok(words),
            TokenKind::TokError => {
                let why = lexer.get_error().map_or("this is not understood", |error| error.message.as_str());
                let (at, why) = advice(text, token.start).unwrap_or_else(|| (token.start, why.to_owned()));
                return Err(Wrong::at(at, why));
            }
            TokenKind::TokWhitespace | TokenKind::TokComment => continue,
            TokenKind::TokNull
            | TokenKind::TokFalse
            | TokenKind::TokTrue
            | TokenKind::TokInt
            | TokenKind::TokUint
            | TokenKind::TokFloat
            | TokenKind::TokString
            | TokenKind::TokBytes
            | TokenKind::TokIdent
            | TokenKind::TokReservedWord => words.push(token.start),
            _ => {}
        }
        tokens += 1;
        if tokens > TOKENS {
            return Err(too_long());
        }
    }
}

/// The first of the parser's errors, in our words where people run into it most.
fn syntax_error(text: &str, errors: ParseErrors) -> Wrong {
    // Only this one has no place.
    let Some(error) = errors.errors.first().filter(|error| error.pos.0 > 0) else { return too_deep() };
    let (line, column) = (error.pos.0.unsigned_abs(), error.pos.1.unsigned_abs());
    let line_begins: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let at = (line_begins + column - 1).min(text.len());
    let (at, message) = if error.msg.contains("has()") {
        of_has(text, at)
    } else if at == text.len() {
        (at, "the expression ends too early".to_owned())
    } else {
        advice(text, at).unwrap_or_else(|| {
            let why = error.msg.trim_start_matches("Syntax error: ");
            (at, why.replace("'<EOF>'", "the end").replace("<EOF>", "the end"))
        })
    };
    Wrong::at(at, message)
}

/// Reads the parser's tree in the order of the text, and finds the place of each term.
struct Reader {
    words: Peekable<IntoIter<usize>>,
    end: usize,
    terms: usize,
    depth: u16,
}

impl Reader {
    /// Where the term that is read next begins.
    fn next(&mut self) -> usize {
        self.words.peek().copied().unwrap_or(self.end)
    }

    /// Passes over a name or a literal.
    fn word(&mut self) -> usize {
        self.words.next().unwrap_or(self.end)
    }

    fn named(&mut self, text: String) -> Name {
        Name { at: self.word(), text }
    }

    fn term(&mut self, tree: IdedExpr) -> Result<Term, Wrong> {
        self.terms += 1;
        if self.terms > TERMS {
            return Err(too_long());
        }
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(too_deep());
        }
        let at = self.next();
        let term = self.kind(tree.expr, at);
        self.depth -= 1;
        Ok(Term { at, kind: term? })
    }

    fn boxed(&mut self, tree: IdedExpr) -> Result<Box<Term>, Wrong> {
        self.term(tree).map(Box::new)
    }

    fn kind(&mut self, tree: Expr, at: usize) -> Result<Kind, Wrong> {
        match tree {
            Expr::Literal(literal) => {
                self.word();
                literal_of(literal, at).map(Kind::Literal)
            }
            Expr::Ident(name) => {
                self.word();
                Ok(Kind::Name(name))
            }
            Expr::Select(SelectExpr { operand, field, test }) => {
                if test {
                    self.word();
                }
                let of = self.boxed(*operand)?;
                let field = self.named(field);
                Ok(if test { Kind::Has(of, field) } else { Kind::Field(of, field) })
            }
            Expr::List(list) => Ok(Kind::List(self.terms(list.elements)?)),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(_) => Err(Wrong::at(at, "all, exists, exists_one, map and filter can't be used here")),
            Expr::Map(_) | Expr::Struct(_) => Err(Wrong::at(at, "maps and messages can't be written here")),
            Expr::Unspecified => Err(Wrong::at(at, "this is not understood")),
        }
    }

    fn terms(&mut self, trees: Vec<IdedExpr>) -> Result<Vec<Term>, Wrong> {
        trees.into_iter().map(|tree| self.term(tree)).collect()
    }

    fn call(&mut self, CallExpr { func_name, target, args }: CallExpr) -> Result<Kind, Wrong> {
        if let Some(target) = target {
            let mut arguments = vec![self.term(*target)?];
            let function = self.named(func_name);
            arguments.extend(self.terms(args)?);
            return Ok(Kind::Call(function, arguments));
        }
        let binary = match func_name.as_str() {
            operators::EQUALS => Some(Binary::Equal),
            operators::NOT_EQUALS => Some(Binary::NotEqual),
            operators::LESS => Some(Binary::Less),
            operators::LESS_EQUALS => Some(Binary::LessOrEqual),
            operators::GREATER => Some(Binary::Greater),
            operators::GREATER_EQUALS => Some(Binary::GreaterOrEqual),
            operators::IN => Some(Binary::In),
            operators::ADD => Some(Binary::Plus),
            operators::SUBSTRACT => Some(Binary::Minus),
            operators::MULTIPLY => Some(Binary::Times),
            operators::DIVIDE => Some(Binary::Divide),
            operators::MODULO => Some(Binary::Modulo),
            _ => None,
        };
        if let operators::LOGICAL_AND | operators::LOGICAL_OR = func_name.as_str() {
            let mut terms = Vec::new();
            self.chain(&func_name, args, &mut terms)?;
            return Ok(if func_name == operators::LOGICAL_AND { Kind::All(terms) } else { Kind::Any(terms) });
        }
        if !func_name.starts_with(OPERATORS) {
            let function = self.named(func_name);
            return Ok(Kind::Call(function, self.terms(args)?));
        }
        let at = self.next();
        let mut terms = self.terms(args)?;
        let (last, first) = (terms.pop(), terms.pop());
        match (binary, func_name.as_str(), terms.pop(), first, last) {
            (Some(binary), _, None, Some(left), Some(right)) => Ok(Kind::Binary(binary, Box::new([left, right]))),
            (None, operators::INDEX, None, Some(of), Some(key)) => Ok(Kind::Index(Box::new(of), Box::new(key))),
            (None, operators::LOGICAL_NOT, None, None, Some(term)) => Ok(Kind::Not(Box::new(term))),
            (None, operators::NEGATE, None, None, Some(term)) => Ok(Kind::Negative(Box::new(term))),
            (None, operators::CONDITIONAL, Some(condition), Some(one), Some(other)) => {
                Ok(Kind::Choice(Box::new([condition, one, other])))
            }
            _ => Err(Wrong::at(at, "this is not understood")),
        }
    }

    /// The terms that `&&` or `||` connects: the parser makes a balanced tree of them.
    fn chain(&mut self, operator: &str, trees: Vec<IdedExpr>, terms: &mut Vec<Term>) -> Result<(), Wrong> {
        for tree in trees {
            match tree.expr {
                Expr::Call(CallExpr { func_name, target: None, args }) if func_name == operator => {
                    self.chain(operator, args, terms)?;
                }
                expr => terms.push(self.term(IdedExpr { id: tree.id, expr })?),
            }
        }
        Ok(())
    }
}

fn literal_of(literal: LiteralValue, at: usize) -> Result<Literal, Wrong> {
    Ok(match literal {
        LiteralValue::Null => Literal::Null,
        LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
        LiteralValue::Int(value) => Literal::Int(*value.inner()),
        LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
            Ok(value) => Literal::Int(value),
            Err(_) => return Err(Wrong::at(at, "this is larger than every number here")),
        },
        LiteralValue::Double(value) => Literal::Double(*value.inner()),
        LiteralValue::String(value) => Literal::Text(value.inner().to_owned()),
        LiteralValue::Bytes(value) => Literal::Bytes(value.inner().to_vec()),
    })
}
