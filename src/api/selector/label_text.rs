//! The grammar of label selectors: `a=b,c in (d,e),!f`.

use super::label::{Operator, Requirement};
use crate::api::label::check_key;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A key, a value, or a word that is an operator in the right place.
    Word(&'a str),
    Symbol(&'static str),
    End,
}

/// Longest first.
const SYMBOLS: &[&str] = &["==", "!=", "=", "!", ">", "<", "(", ")", ","];

impl<'a> Token<'a> {
    /// As upstream's messages quote it.
    fn text(self) -> String {
        match self {
            Token::Word(text) => text.to_owned(),
            Token::Symbol(text) => text.to_owned(),
            Token::End => String::new(),
        }
    }

    fn word(self) -> Option<&'a str> {
        match self {
            Token::Word(text) => Some(text),
            _ => None,
        }
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

pub fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser {
        tokens: tokens(text),
        at: 0,
    };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::End => return Ok(requirements),
            Token::Word(_) | Token::Symbol("!") => {}
            other => {
                let found = other.text();
                return Err(format!(
                    "found '{found}', expected: !, identifier, or 'end of string'"
                ));
            }
        }
        let requirement = parser.requirement();
        requirements
            .push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => match parser.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                other => {
                    let found = other.text();
                    return Err(format!("found '{found}', expected: identifier after ','"));
                }
            },
            other => {
                let found = other.text();
                return Err(format!("found '{found}', expected: ',' or 'end of string'"));
            }
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_special = |c: char| "=!(),><".contains(c);
    let is_blank = |c: char| " \t\r\n".contains(c);
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    // Upstream's lexer takes a NUL for the end of its input.
    while !rest.is_empty() && !rest.starts_with('\0') {
        let length = if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol))
        {
            tokens.push(Token::Symbol(symbol));
            symbol.len()
        } else {
            let end = rest.find(|c| is_special(c) || is_blank(c) || c == '\0');
            let word = &rest[..end.unwrap_or(rest.len())];
            tokens.push(Token::Word(word));
            word.len()
        };
        rest = rest[length..].trim_start_matches(is_blank);
    }
    tokens
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_negated = self.peek() == Token::Symbol("!");
        if is_negated {
            self.next();
        }
        let token = self.next();
        let Some(key) = token.word() else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        let wrong = check_key(key);
        if !wrong.is_empty() {
            let why = wrong.join("; ");
            return Err(format!("<nil>: Invalid value: {key:?}: {why}"));
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            let operator = if is_negated {
                Operator::DoesNotExist
            } else {
                Operator::Exists
            };
            return Requirement::new(key, operator, Vec::new());
        }
        if is_negated {
            // Of `!a=b` the requirement is `!a`; upstream then stumbles over the rest, and so do we.
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => self.exact_value()?,
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        match self.next() {
            Token::Word("in") => Ok(Operator::In),
            Token::Word("notin") => Ok(Operator::NotIn),
            Token::Symbol("=") => Ok(Operator::Equals),
            Token::Symbol("==") => Ok(Operator::DoubleEquals),
            Token::Symbol("!=") => Ok(Operator::NotEquals),
            Token::Symbol(">") => Ok(Operator::GreaterThan),
            Token::Symbol("<") => Ok(Operator::LessThan),
            other => Err(format!(
                "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                other.text()
            )),
        }
    }

    /// `(a,b)`; empty places count as empty values.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut values = vec![String::new()];
        let mut is_filled = false;
        loop {
            match self.next() {
                Token::Symbol(")") => return Ok(values),
                Token::Symbol(",") => {
                    values.push(String::new());
                    is_filled = false;
                }
                Token::Word(word) if !is_filled => {
                    word.clone_into(values.last_mut().expect("starts with one value"));
                    is_filled = true;
                }
                other if is_filled => {
                    return Err(format!("found '{}', expected: ',' or ')'", other.text()));
                }
                other if values.len() == 1 => {
                    let found = other.text();
                    return Err(format!("found '{found}', expected: ',', ')' or identifier"));
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', or identifier",
                        other.text()
                    ));
                }
            }
        }
    }

    fn exact_value(&mut self) -> Result<Vec<String>, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(vec![String::new()]);
        }
        let token = self.next();
        match token.word() {
            Some(word) => Ok(vec![word.to_owned()]),
            None => Err(format!("found '{}', expected: identifier", token.text())),
        }
    }
}
