//! The text of a query, as far as queries need it (GraphQL, October 2021, section 2). A reader of our own: depth is bounded before anything
//! is built, so that no text that a caller sends can exhaust the stack.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Nested selections, or nested values, at most: as `_MAX_DEPTH` in `mlflow/server/graphql/graphql_no_batching.py`.
pub const DEPTH: usize = 10;
/// Bytes of a query, at most.
const LONGEST: usize = 64 * 1024;

/// Why a text is no query that is answered.
pub type Read<T> = Result<T, String>;

#[derive(Debug, Default)]
pub struct Document {
    pub operations: Vec<Operation>,
    pub fragments: BTreeMap<String, Vec<Selection>>,
}

#[derive(Debug)]
pub struct Operation {
    pub mutation: bool,
    pub name: Option<String>,
    /// Of variables that nobody has to give.
    pub defaults: Map<String, Value>,
    pub selections: Vec<Selection>,
}

#[derive(Debug)]
pub enum Selection {
    Field(Field),
    Fragment(String),
    Inline(Vec<Selection>),
}

#[derive(Debug)]
pub struct Field {
    /// What the answer calls it.
    pub key: String,
    pub name: String,
    pub arguments: Vec<(String, Given)>,
    pub selections: Vec<Selection>,
}

/// A value that may hold variables.
#[derive(Debug)]
pub enum Given {
    Variable(String),
    Plain(Value),
    List(Vec<Given>),
    Object(Vec<(String, Given)>),
}

impl Given {
    /// The value, with these variables.
    pub fn value(&self, variables: &Map<String, Value>) -> Value {
        match self {
            Self::Variable(name) => variables.get(name).cloned().unwrap_or_default(),
            Self::Plain(value) => value.clone(),
            Self::List(items) => items.iter().map(|i| i.value(variables)).collect(),
            Self::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), v.value(variables))).collect(),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Mark(char),
    Spread,
    Name(&'a str),
    Plain(Value),
    End,
}

/// Reads a whole text.
pub fn read(text: &str) -> Read<Document> {
    if text.len() > LONGEST {
        return Err(format!("the query is longer than {LONGEST} bytes"));
    }
    let mut reader = Reader { rest: text };
    let mut document = Document::default();
    loop {
        match reader.peek()? {
            Token::End => return Ok(document),
            Token::Name("fragment") => {
                reader.next()?;
                let name = reader.name()?;
                reader.name()?;
                reader.name()?;
                reader.directives()?;
                document.fragments.insert(name, reader.selections(1)?);
            }
            _ => document.operations.push(reader.operation()?),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn operation(&mut self) -> Read<Operation> {
        let mut operation = Operation { mutation: false, name: None, defaults: Map::new(), selections: vec![] };
        match self.peek()? {
            Token::Mark('{') => {}
            Token::Name(kind @ ("query" | "mutation")) => {
                operation.mutation = kind == "mutation";
                self.next()?;
                if let Token::Name(_) = self.peek()? {
                    operation.name = Some(self.name()?);
                }
                if self.take('(')? {
                    operation.defaults = self.variables()?;
                }
                self.directives()?;
            }
            other => return Err(format!("Syntax Error: Unexpected {other:?}.")),
        }
        operation.selections = self.selections(1)?;
        Ok(operation)
    }

    /// Defaults of the variables; their types are the business of who takes the values.
    fn variables(&mut self) -> Read<Map<String, Value>> {
        let mut defaults = Map::new();
        while !self.take(')')? {
            self.expect('$')?;
            let name = self.name()?;
            self.expect(':')?;
            while !matches!(self.peek()?, Token::Mark('$' | ')' | '=' | '@') | Token::End) {
                self.next()?;
            }
            if self.take('=')? {
                defaults.insert(name, self.given(1)?.value(&Map::new()));
            }
            self.directives()?;
        }
        Ok(defaults)
    }

    fn selections(&mut self, depth: usize) -> Read<Vec<Selection>> {
        if depth > DEPTH {
            return Err(format!("Query exceeds maximum depth of {DEPTH}"));
        }
        self.expect('{')?;
        let mut selections = vec![];
        while !self.take('}')? {
            selections.push(self.selection(depth)?);
        }
        Ok(selections)
    }

    fn selection(&mut self, depth: usize) -> Read<Selection> {
        if self.peek()? != Token::Spread {
            return Ok(Selection::Field(self.field(depth)?));
        }
        self.next()?;
        match self.peek()? {
            Token::Name(name) if name != "on" => {
                self.next()?;
                self.directives()?;
                Ok(Selection::Fragment(name.to_owned()))
            }
            Token::Name(_) => {
                self.next()?;
                self.name()?;
                self.directives()?;
                Ok(Selection::Inline(self.selections(depth + 1)?))
            }
            _ => {
                self.directives()?;
                Ok(Selection::Inline(self.selections(depth + 1)?))
            }
        }
    }

    fn field(&mut self, depth: usize) -> Read<Field> {
        let key = self.name()?;
        let name = if self.take(':')? { self.name()? } else { key.clone() };
        let arguments = if self.take('(')? { self.fields(')', 1)? } else { vec![] };
        self.directives()?;
        let selections = if self.peek()? == Token::Mark('{') { self.selections(depth + 1)? } else { vec![] };
        Ok(Field { key, name, arguments, selections })
    }

    /// `name: value …`, up to the mark.
    fn fields(&mut self, end: char, depth: usize) -> Read<Vec<(String, Given)>> {
        let mut fields = vec![];
        while !self.take(end)? {
            let name = self.name()?;
            self.expect(':')?;
            fields.push((name, self.given(depth)?));
        }
        Ok(fields)
    }

    fn given(&mut self, depth: usize) -> Read<Given> {
        if depth > DEPTH {
            return Err(format!("a value is nested deeper than {DEPTH}"));
        }
        Ok(match self.next()? {
            Token::Mark('$') => Given::Variable(self.name()?),
            Token::Mark('[') => {
                let mut items = vec![];
                while !self.take(']')? {
                    items.push(self.given(depth + 1)?);
                }
                Given::List(items)
            }
            Token::Mark('{') => Given::Object(self.fields('}', depth + 1)?),
            Token::Plain(value) => Given::Plain(value),
            Token::Name("true") => Given::Plain(true.into()),
            Token::Name("false") => Given::Plain(false.into()),
            Token::Name("null") => Given::Plain(Value::Null),
            Token::Name(word) => Given::Plain(word.into()),
            other => return Err(format!("Syntax Error: Unexpected {other:?}.")),
        })
    }

    /// Reads over directives, such as MLflow's `@component`; one that would change the answer is refused.
    fn directives(&mut self) -> Read<()> {
        while self.take('@')? {
            let name = self.name()?;
            if matches!(name.as_str(), "skip" | "include") {
                return Err(format!("the directive @{name} is not served"));
            }
            if self.take('(')? {
                self.fields(')', 1)?;
            }
        }
        Ok(())
    }

    fn name(&mut self) -> Read<String> {
        match self.next()? {
            Token::Name(name) => Ok(name.to_owned()),
            other => Err(format!("Syntax Error: Expected Name, found {other:?}.")),
        }
    }
    fn expect(&mut self, mark: char) -> Read<()> {
        match self.next()? {
            Token::Mark(found) if found == mark => Ok(()),
            other => Err(format!("Syntax Error: Expected '{mark}', found {other:?}.")),
        }
    }
    fn take(&mut self, mark: char) -> Read<bool> {
        let there = self.peek()? == Token::Mark(mark);
        if there {
            self.next()?;
        }
        // What never ends must not be waited for.
        if !there && self.peek()? == Token::End && matches!(mark, ')' | ']' | '}') {
            return Err(format!("Syntax Error: Expected '{mark}', found <EOF>."));
        }
        Ok(there)
    }
    fn peek(&self) -> Read<Token<'a>> {
        Reader { rest: self.rest }.next()
    }

    fn next(&mut self) -> Read<Token<'a>> {
        self.skip();
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        let (token, length) = match first {
            '.' if self.rest.starts_with("...") => (Token::Spread, 3),
            '"' => self.string()?,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = self.length(|c| c.is_ascii_alphanumeric() || c == '_');
                (Token::Name(&self.rest[..length]), length)
            }
            c if c.is_ascii_digit() || c == '-' => {
                let length = self.length(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                let number = serde_json::from_str::<serde_json::Number>(&self.rest[..length]);
                (Token::Plain(number.map_err(|e| format!("Syntax Error: {e}"))?.into()), length)
            }
            c if "!$&():=@[]{|}".contains(c) => (Token::Mark(c), 1),
            c => return Err(format!("Syntax Error: Unexpected character {c:?}.")),
        };
        self.rest = &self.rest[length..];
        Ok(token)
    }

    /// A text, whose escapes are JSON's.
    fn string(&self) -> Read<(Token<'a>, usize)> {
        if self.rest.starts_with("\"\"\"") {
            return Err("block strings are not served".into());
        }
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let (end, _) = end.ok_or("Syntax Error: Unterminated string.")?;
        let text: String = serde_json::from_str(&self.rest[..=end]).map_err(|e| format!("Syntax Error: {e}"))?;
        Ok((Token::Plain(text.into()), end + 1))
    }

    /// Bytes at the beginning that are like this.
    fn length(&self, like: impl Fn(char) -> bool) -> usize {
        self.rest.find(|c| !like(c)).unwrap_or(self.rest.len())
    }

    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', ',', '\u{feff}']);
            let Some(comment) = self.rest.strip_prefix('#') else { return };
            self.rest = comment.find('\n').map_or("", |end| &comment[end..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_the_interface_are_read() {
        let text = "query GetRun($data: MlflowGetRunInput! = {runId: \"a\"}) @component(name: \"MLflow\") {\n mlflowGetRun(input: $data) { # why\n \
                    it: run { ...info  ... on MlflowRun { data { __typename } } } } }\nfragment info on MlflowRun { info { runId } }";
        let document = read(text).unwrap();
        let [operation] = document.operations.as_slice() else { panic!("{document:?}") };
        assert_eq!(operation.name.as_deref(), Some("GetRun"));
        assert_eq!(operation.defaults["data"]["runId"], "a");
        let [Selection::Field(root)] = operation.selections.as_slice() else { panic!("{operation:?}") };
        let given = serde_json::json!({ "data": { "runId": "b" } });
        assert_eq!(root.arguments[0].1.value(given.as_object().unwrap()), given["data"]);
        let [Selection::Field(run)] = root.selections.as_slice() else { panic!("{root:?}") };
        assert_eq!((run.key.as_str(), run.name.as_str(), run.selections.len()), ("it", "run", 2));
        assert!(document.fragments.contains_key("info"));
    }

    #[test]
    fn what_is_no_query_is_refused() {
        let deep = format!("{}a{}", "{a".repeat(5000), "}".repeat(5000));
        let values = format!("{{ a(b: {}) }}", "[".repeat(5000));
        for text in [
            "{",
            "{a",
            "{a(",
            "{a(b:",
            "query",
            "{a(b:\"",
            "{a(b:1e)}",
            "{\u{fc}}",
            "{a @skip(if: true)}",
            "query($a: B",
            &deep,
            &values,
        ] {
            assert!(read(text).is_err(), "{text:.40}");
        }
    }
}
