//! Reading TOML with all findings at once: a cursor over a table that notes what is wrong and goes on.

use crate::model::*;
use serde_spanned::Spanned;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};
use toml::de::{DeArray, DeTable, DeValue};

/// A spec file may have this many bytes.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Findings that are told of one file.
pub const MOST_FINDINGS: usize = 50;

/// One file that is being read, with what was found so far.
pub struct File<'a> {
    path: &'a str,
    text: &'a str,
    found: RefCell<Vec<Diagnostic>>,
    lines: RefCell<BTreeMap<String, u32>>,
    /// Where each line but the first begins.
    begins: Vec<usize>,
}

/// A diagnostic without a position in the text.
pub fn plain(path: &str, message: String, help: &str) -> Diagnostic {
    let location = Location { file: path.to_owned(), line: 1, column: 1, text: String::new(), width: 0 };
    Diagnostic {
        severity: Severity::Error,
        message,
        location: Some(location),
        label: String::new(),
        help: Some(help.to_owned()),
        model: None,
    }
}

impl<'a> File<'a> {
    /// Reads a file whose `schema` must be `schema`. Warnings come with the value, errors instead of it.
    pub fn read<T>(
        path: &'a str,
        bytes: &'a [u8],
        schema: &str,
        body: impl FnOnce(&mut Table<'_>) -> T,
    ) -> Result<(T, Extra), Vec<Diagnostic>> {
        Self::read_bare(path, bytes, |table| {
            if let Some(found) = table.text("schema")
                && found != schema
            {
                table.error_at(
                    "schema",
                    format!("unknown schema `{found}`"),
                    format!("this version reads \"{schema}\""),
                );
            } else if !table.has("schema") {
                table.error(format!("missing key `schema`: begin the file with schema = \"{schema}\""));
            }
            body(table)
        })
    }

    /// Reads a file that names no schema.
    pub fn read_bare<T>(
        path: &'a str,
        bytes: &'a [u8],
        body: impl FnOnce(&mut Table<'_>) -> T,
    ) -> Result<(T, Extra), Vec<Diagnostic>> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(vec![plain(
                path,
                format!("the file has {} bytes", bytes.len()),
                "a spec may have at most 1 MiB",
            )]);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(vec![plain(path, "the file is not UTF-8 text".into(), "save it as UTF-8")]);
        };
        let begins = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        let file = File { path, text, found: RefCell::default(), lines: RefCell::default(), begins };
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(errors.iter().take(20).map(|e| file.syntax(e)).collect());
        }
        let mut table =
            Table { file: &file, path: String::new(), entries: root.get_ref(), span: 0..0, used: BTreeSet::new() };
        let value = body(&mut table);
        table.finish();
        let mut found = file.found.into_inner();
        if found.len() > MOST_FINDINGS {
            let more = found.len() - MOST_FINDINGS;
            found.truncate(MOST_FINDINGS);
            found.push(plain(path, format!("and {more} more findings in this file"), "mend these first"));
        }
        if found.iter().any(|d| d.severity == Severity::Error) {
            return Err(found);
        }
        Ok((value, Extra { lines: file.lines.into_inner(), warnings: found }))
    }

    fn syntax(&self, error: &toml::de::Error) -> Diagnostic {
        let span = error.span().unwrap_or(0..0);
        self.diagnostic(span, error.message().to_owned(), "this is not valid TOML".into())
    }

    fn diagnostic(&self, span: Range<usize>, message: String, label: String) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message,
            location: Some(self.location(span)),
            label,
            help: None,
            model: None,
        }
    }

    /// The line (1-based) of a byte.
    fn line(&self, at: usize) -> u32 {
        self.begins.partition_point(|begin| *begin <= at) as u32 + 1
    }

    fn location(&self, span: Range<usize>) -> Location {
        let floor =
            |at: usize| (0..=at.min(self.text.len())).rev().find(|i| self.text.is_char_boundary(*i)).unwrap_or(0);
        let (start, end) = (floor(span.start), floor(span.end.max(span.start)));
        let begin = self.text[..start].rfind('\n').map_or(0, |n| n + 1);
        let stop = self.text[start..].find('\n').map_or(self.text.len(), |n| start + n);
        Location {
            file: self.path.to_owned(),
            line: self.line(start),
            column: self.text[begin..start].chars().count() as u32 + 1,
            text: self.text[begin..stop].trim_end_matches('\r').chars().take(LONGEST_LINE).collect(),
            width: self.text[start..end.clamp(start, stop)].chars().count().clamp(1, LONGEST_LINE) as u32,
        }
    }
}

/// Characters that are shown of one line.
const LONGEST_LINE: usize = 400;

/// Where a field stands in a file, such as `data.train`, `deploy.1.environment` or `stage.check.inputs`. The nearest table that is there, when
/// the field itself is not. `None` when the file cannot be read.
pub fn locate(path: &str, bytes: &[u8], field: &str) -> Option<Location> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (root, errors) = DeTable::parse_recoverable(text);
    let begins = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let file = File { path, text, found: RefCell::default(), lines: RefCell::default(), begins };
    errors.is_empty().then(|| file.location(find(root.get_ref(), field).unwrap_or(0..0)))
}

/// The strings at a field of a file, with the field of each: `deploy.*.environment` names one in each table of the list, `data.*` one under
/// each key. For what can be said of a file whose other parts are wrong.
pub fn strings(bytes: &[u8], pattern: &str) -> Vec<(String, String)> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut out = Vec::new();
    if errors.is_empty() {
        let root = DeValue::Table(root.into_inner());
        collect(&root, pattern, String::new(), &mut out);
    }
    out
}

fn collect(value: &DeValue, pattern: &str, at: String, out: &mut Vec<(String, String)>) {
    let (part, rest) = pattern.split_once('.').unwrap_or((pattern, ""));
    let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        DeValue::String(s) if pattern.is_empty() => out.push((at, s.to_string())),
        DeValue::Table(table) => {
            for (key, value) in table.iter().filter(|(k, _)| part == "*" || k.get_ref() == part) {
                collect(value.get_ref(), rest, join(key.get_ref()), out);
            }
        }
        DeValue::Array(items) if part == "*" => {
            items.iter().enumerate().for_each(|(i, v)| collect(v.get_ref(), rest, join(&i.to_string()), out));
        }
        _ => {}
    }
}

/// The span of a dotted field's value. A table of a list is named by its place in it, or by its `name`.
fn find(table: &DeTable, field: &str) -> Option<Range<usize>> {
    let (key, rest) = field.split_once('.').unwrap_or((field, ""));
    let value = table.get(key)?;
    inside(value, rest).or_else(|| Some(value.span()))
}

fn inside(value: &Spanned<DeValue>, rest: &str) -> Option<Range<usize>> {
    if rest.is_empty() {
        return Some(value.span());
    }
    match value.get_ref() {
        DeValue::Table(table) => find(table, rest),
        DeValue::Array(items) => {
            let (place, rest) = rest.split_once('.').unwrap_or((rest, ""));
            let called = |v: &&Spanned<DeValue>| match v.get_ref() {
                DeValue::Table(t) => t.get("name").is_some_and(|n| n.get_ref().as_str() == Some(place)),
                DeValue::String(s) => s == place,
                _ => false,
            };
            let by_place = place.parse::<usize>().ok().and_then(|i| items.get(i));
            let item = by_place.or_else(|| items.iter().find(called))?;
            inside(item, rest).or_else(|| Some(item.span()))
        }
        _ => None,
    }
}

/// What reading a file gives.
pub type Read<T> = Result<(T, Extra), Vec<Diagnostic>>;

/// What comes with a good file.
#[derive(Debug, Default)]
pub struct Extra {
    /// Line of each dotted field.
    pub lines: BTreeMap<String, u32>,
    pub warnings: Vec<Diagnostic>,
}

/// A table that is being read; keys that nobody asked for are errors at [`Table::finish`].
pub struct Table<'a> {
    file: &'a File<'a>,
    /// Dotted path of the table.
    path: String,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    used: BTreeSet<&'static str>,
}

impl<'a> Table<'a> {
    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.used.insert(key);
        let (k, value) = self.entries.get_key_value(key)?;
        self.note_line(key, k.span());
        Some(value)
    }

    fn note_line(&self, key: &str, span: Range<usize>) {
        self.file.lines.borrow_mut().insert(self.dotted(key), self.file.line(span.start));
    }

    fn dotted(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn push(&self, span: Range<usize>, severity: Severity, message: String, label: String) {
        let diagnostic = Diagnostic { severity, ..self.file.diagnostic(span, message, label) };
        self.file.found.borrow_mut().push(diagnostic);
    }

    /// An error about the table itself.
    pub fn error(&self, message: String) {
        self.push(self.span.clone(), Severity::Error, message, String::new());
    }

    /// An error about a key's value; about the table when the key is not there.
    pub fn error_at(&self, key: &str, message: String, label: String) {
        let span = self.entries.get(key).map_or(self.span.clone(), Spanned::span);
        self.push(span, Severity::Error, message, label);
    }

    /// An error about a field further down, such as `deploy.1.after`.
    pub fn error_in(&self, field: &str, message: String, label: String) {
        self.push(find(self.entries, field).unwrap_or(self.span.clone()), Severity::Error, message, label);
    }

    /// A warning about a key.
    pub fn warn_at(&self, key: &str, message: String, label: String) {
        let span = self.entries.get_key_value(key).map_or(self.span.clone(), |(k, _)| k.span());
        self.push(span, Severity::Warning, message, label);
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue>, wanted: &str) {
        let message = format!("`{}` must be {wanted}, not {}", self.dotted(key), value.get_ref().type_str());
        self.push(value.span(), Severity::Error, message, format!("write {wanted}"));
    }

    /// The keys that are there.
    pub fn keys(&self) -> Vec<String> {
        self.entries.keys().map(|k| k.get_ref().to_string()).collect()
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A string.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(s) => Some(s.to_string()),
            _ => {
                self.wrong(key, value, "a string");
                None
            }
        }
    }

    /// A string that must be there.
    pub fn required(&mut self, key: &'static str) -> Option<String> {
        if !self.has(key) {
            self.used.insert(key);
            self.error(format!("missing key `{}`", self.dotted(key)));
            return None;
        }
        self.text(key)
    }

    /// A string that `check` takes, under a key that is not known beforehand.
    pub fn checked<T>(&mut self, key: &str, check: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.entries.get(key)?;
        let DeValue::String(s) = value.get_ref() else {
            let message = format!("`{}` must be a string, not {}", self.dotted(key), value.get_ref().type_str());
            // What `check` says of a bare number tells how it is written with its unit.
            let label = match value.get_ref() {
                DeValue::Integer(i) => check(i.as_str()).err(),
                _ => None,
            };
            self.push(value.span(), Severity::Error, message, label.unwrap_or("write a string".into()));
            return None;
        };
        self.note_line(key, value.span());
        match check(s) {
            Ok(v) => Some(v),
            Err(e) => {
                self.push(value.span(), Severity::Error, format!("bad value for `{}`", self.dotted(key)), e);
                None
            }
        }
    }

    /// A key as a value of its own.
    pub fn checked_key<T>(&mut self, key: &str, check: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        check(key)
            .map_err(|e| {
                let span = self.entries.get_key_value(key).map_or(self.span.clone(), |(k, _)| k.span());
                self.push(span, Severity::Error, format!("bad key `{key}`"), e);
            })
            .ok()
    }

    /// A string that `check` takes.
    pub fn parsed<T>(&mut self, key: &'static str, check: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.used.insert(key);
        self.checked(key, check)
    }

    /// A name.
    pub fn name(&mut self, key: &'static str) -> Option<Name> {
        self.parsed(key, |s| Name::new(s).map_err(|e| e.to_string()))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            _ => {
                self.wrong(key, value, "true or false");
                None
            }
        }
    }

    /// `true` or `false`, or a string that `check` takes.
    pub fn flag_or<T>(
        &mut self,
        key: &'static str,
        of: impl FnOnce(bool) -> T,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let read = match value.get_ref() {
            DeValue::Boolean(b) => Ok(of(*b)),
            DeValue::String(s) => check(s),
            _ => check(""),
        };
        let wrong = |e| self.push(value.span(), Severity::Error, format!("bad value for `{}`", self.dotted(key)), e);
        read.map_err(wrong).ok()
    }

    /// A string, or a list of them, each of which `check` takes.
    pub fn each<T>(&mut self, key: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let value = self.get(key)?;
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let read = items.into_iter().filter_map(|item| match item.get_ref() {
            DeValue::String(s) => {
                let wrong =
                    |e| self.push(item.span(), Severity::Error, format!("bad value for `{}`", self.dotted(key)), e);
                check(s).map_err(wrong).ok()
            }
            _ => {
                self.wrong(key, item, "a string or a list of strings");
                None
            }
        });
        Some(read.collect())
    }

    /// A whole number within bounds.
    pub fn whole(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(i) => u64::from_str_radix(i.as_str(), i.radix()).ok(),
            _ => None,
        };
        let good = number.filter(|n| (min..=max).contains(n));
        if good.is_none() {
            self.push(
                value.span(),
                Severity::Error,
                format!("bad value for `{}`", self.dotted(key)),
                format!("write a whole number from {min} to {max}"),
            );
        }
        good
    }

    /// A finite number.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok().map(|n| n as f64),
            DeValue::Float(f) => f.as_str().parse().ok(),
            _ => None,
        };
        let good = number.filter(|n: &f64| n.is_finite());
        if good.is_none() {
            self.wrong(key, value, "a finite number");
        }
        good
    }

    /// Strings.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.get(key)?;
        self.list(key, value)
    }

    /// Every list of strings, under keys that are not known beforehand; what is none is an error.
    pub fn named_texts(&self) -> Vec<(String, Vec<String>)> {
        let of = |(key, value): (&Spanned<_>, &Spanned<DeValue>)| {
            let key: &std::borrow::Cow<str> = key.get_ref();
            self.list(key, value).map(|all| (key.to_string(), all))
        };
        self.entries.iter().filter_map(of).collect()
    }

    fn list(&self, key: &str, value: &Spanned<DeValue>) -> Option<Vec<String>> {
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "a list of strings");
            return None;
        };
        let mut out = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(s) => out.push(s.to_string()),
                _ => self.wrong(key, item, "a list of strings"),
            }
        }
        Some(out)
    }

    /// A command: a list of arguments, or one string for a shell.
    pub fn command(&mut self, key: &'static str) -> Option<Command> {
        if !self.has(key) {
            self.used.insert(key);
            self.error(format!("missing key `{}`", self.dotted(key)));
            return None;
        }
        let value = self.get(key)?;
        let command = match value.get_ref() {
            DeValue::String(s) => Command::Shell(s.to_string()),
            _ => Command::Argv(self.texts(key)?),
        };
        let empty = match &command {
            Command::Shell(s) => s.trim().is_empty(),
            Command::Argv(a) => a.first().is_none_or(|p| p.is_empty()),
        };
        let nul = match &command {
            Command::Shell(s) => s.contains('\0'),
            Command::Argv(a) => a.iter().any(|p| p.contains('\0')),
        };
        if empty || nul {
            self.error_at(
                key,
                format!("`{}` is no command", self.dotted(key)),
                "write a program and its arguments, such as [\"python\", \"train.py\"]".into(),
            );
            return None;
        }
        Some(command)
    }

    /// A table below this one.
    pub fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(entries) => Some(self.below(key.to_owned(), entries, value.span())),
            _ => {
                self.wrong(key, value, "a table");
                None
            }
        }
    }

    /// Every table below this one, under keys that are not known beforehand; what is no table is an error.
    pub fn named_tables(&self) -> Vec<(String, Table<'a>)> {
        let mut out = Vec::new();
        for (key, value) in self.entries.iter() {
            let key = key.get_ref().to_string();
            match value.get_ref() {
                DeValue::Table(entries) => out.push((key.clone(), self.below(key, entries, value.span()))),
                _ => self.wrong(&key, value, "a table"),
            }
        }
        out
    }

    fn below(&self, key: String, entries: &'a DeTable<'a>, span: Range<usize>) -> Table<'a> {
        Table { file: self.file, path: self.dotted(&key), entries, span, used: BTreeSet::new() }
    }

    /// An array of tables, with each one's index in its path.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else { return vec![] };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "a list of tables");
            return vec![];
        };
        self.items(key, items)
    }

    fn items(&self, key: &'static str, items: &'a DeArray<'a>) -> Vec<Table<'a>> {
        let mut out = Vec::new();
        for (i, item) in items.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(entries) => out.push(self.below(format!("{key}.{i}"), entries, item.span())),
                _ => self.wrong(key, item, "a list of tables"),
            }
        }
        out
    }

    /// A table of free parameters.
    pub fn params(&mut self, key: &'static str) -> Params {
        let Some(table) = self.table(key) else { return Params::new() };
        let mut out = Params::new();
        for (k, v) in table.entries.iter() {
            table.note_line(k.get_ref(), k.span());
            match json(v.get_ref()) {
                Ok(value) => drop(out.insert(k.get_ref().to_string(), value)),
                Err(e) => {
                    self.push(v.span(), Severity::Error, format!("bad value for `{}`", table.dotted(k.get_ref())), e)
                }
            }
        }
        out
    }

    /// Renames the path under which lines are noted.
    pub fn under(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// Every key that nobody asked for is an error, with the nearest known one.
    pub fn finish(self) {
        for (key, _) in self.entries.iter().filter(|(k, _)| !self.used.contains(k.get_ref().as_ref())) {
            let text = key.get_ref().as_ref();
            let near = self
                .used
                .iter()
                .map(|u| (strsim::damerau_levenshtein(text, u), u))
                .min()
                .filter(|(d, u)| *d <= 1 + u.len() / 3);
            let known: Vec<&str> = self.used.iter().copied().collect();
            let label =
                near.map_or(format!("known here are: {}", known.join(", ")), |(_, u)| format!("did you mean `{u}`?"));
            self.push(key.span(), Severity::Error, format!("unknown key `{text}`"), label);
        }
    }
}

fn json(value: &DeValue) -> Result<serde_json::Value, String> {
    use serde_json::Value;
    Ok(match value {
        DeValue::String(s) => Value::String(s.to_string()),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Integer(i) => {
            i64::from_str_radix(i.as_str(), i.radix()).map_err(|_| "the number does not fit into 64 bits")?.into()
        }
        DeValue::Float(f) => {
            let number: f64 = f.as_str().parse().map_err(|_| "not a number")?;
            serde_json::Number::from_f64(number).map(Value::Number).ok_or("write a finite number")?
        }
        DeValue::Datetime(d) => Value::String(d.to_string()),
        DeValue::Array(a) => Value::Array(a.iter().map(|v| json(v.get_ref())).collect::<Result<_, _>>()?),
        DeValue::Table(t) => {
            let pairs: Result<_, String> =
                t.iter().map(|(k, v)| Ok((k.get_ref().to_string(), json(v.get_ref())?))).collect();
            Value::Object(pairs?)
        }
    })
}
