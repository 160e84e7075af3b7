//! The document as it was written: tables and values with their places, and readers that check
//! the type of a value and report what does not fit.
//!
//! serde stops at the first unknown key or wrong type. These readers go on, so that everything
//! that is wrong in a file is said at once; that is why the tree of the TOML parser is walked here
//! by hand.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Problems, Source, did_you_mean};

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A key of a tenant: not there, there but wrong (said already), or a checked value.
///
/// A wrong value still hides the one in `[defaults]`, and is not called missing as well.
#[derive(Debug, Clone)]
pub(super) enum Setting<T> {
    Absent,
    Wrong,
    Is(At<T>),
}

impl<T> Setting<T> {
    pub(super) fn or(self, default: &Self) -> Self
    where
        T: Clone,
    {
        match self {
            Setting::Absent => default.clone(),
            given => given,
        }
    }

    pub(super) fn value_or(self, default: T) -> T {
        match self {
            Setting::Is(at) => at.value,
            Setting::Absent | Setting::Wrong => default,
        }
    }
}

/// One parsed file and the list that its problems go to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'d> {
    pub(super) source: &'d Source,
    pub(super) problems: &'d Problems,
}

impl Document<'_> {
    pub(super) fn error(&self, span: &Range<usize>, message: impl Into<String>) {
        self.problems.error(self.source, span.clone(), message);
    }

    pub(super) fn warning(&self, span: &Range<usize>, message: impl Into<String>) {
        self.problems.warning(self.source, span.clone(), message);
    }

    /// Where `part` of the string value at `span` was written. A string with escapes, or over
    /// several lines, is cited as a whole.
    pub(super) fn within(&self, text: &At<&str>, part: Range<usize>) -> Range<usize> {
        let written = &self.source.text[text.span.clone()];
        let quote = written.chars().next().unwrap_or(' ');
        let plain = written
            .strip_prefix(quote)
            .and_then(|w| w.strip_suffix(quote))
            .is_some_and(|w| w == text.value);
        if plain {
            let start = text.span.start + 1;
            start + part.start..start + part.end
        } else {
            text.span.clone()
        }
    }
}

/// One table of the document.
#[derive(Debug)]
pub(super) struct Table<'d> {
    pub(super) doc: Document<'d>,
    /// What messages call it: `tenant "ada"`, `[server]`.
    pub(super) what: String,
    pub(super) span: Range<usize>,
    entries: &'d DeTable<'d>,
}

/// One value of the document, with the key it has.
#[derive(Debug)]
pub(super) struct Item<'d> {
    pub(super) doc: Document<'d>,
    pub(super) name: String,
    pub(super) key_span: Range<usize>,
    pub(super) span: Range<usize>,
    value: &'d DeValue<'d>,
}

impl<'d> Table<'d> {
    pub(super) fn root(doc: Document<'d>, root: &'d Spanned<DeTable<'d>>) -> Self {
        Self {
            doc,
            what: "the file".to_owned(),
            span: root.span(),
            entries: root.get_ref(),
        }
    }

    /// Reports every key that is neither in `known` nor, as something to come, in `later`.
    pub(super) fn check_keys(&self, known: &[&str], later: &[&str]) {
        for (key, value) in self.entries {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            if later.contains(&name) {
                self.doc.error(
                    &key.span(),
                    format!("\"{name}\" does not work yet in this version; remove it"),
                );
                continue;
            }
            let hint = match value.get_ref() {
                // `[tenants.web.example]` is the table "example" in the tenant "web".
                DeValue::Table(_) if self.what.starts_with("tenant \"") => {
                    "; quote a name with a dot in it, like [tenants.\"web.example\"]".to_owned()
                }
                _ => did_you_mean(name, known.iter().copied()),
            };
            self.doc.error(
                &key.span(),
                format!("unknown key \"{name}\" in {}{hint}", self.what),
            );
        }
    }

    pub(super) fn item(&self, name: &str) -> Option<Item<'d>> {
        let (key, value) = self.entries.get_key_value(name)?;
        Some(self.to_item(key.get_ref(), key.span(), value))
    }

    pub(super) fn items(&self) -> impl Iterator<Item = Item<'d>> {
        self.entries
            .iter()
            .map(|(key, value)| self.to_item(key.get_ref(), key.span(), value))
    }

    fn to_item(
        &self,
        name: &str,
        key_span: Range<usize>,
        value: &'d Spanned<DeValue<'d>>,
    ) -> Item<'d> {
        Item {
            doc: self.doc,
            name: name.to_owned(),
            key_span,
            span: value.span(),
            value: value.get_ref(),
        }
    }

    /// Reads the key `name` with `read`.
    pub(super) fn setting<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Item<'d>) -> Option<T>,
    ) -> Setting<T> {
        match self.item(name) {
            None => Setting::Absent,
            Some(item) => match read(&item) {
                None => Setting::Wrong,
                Some(value) => Setting::Is(At {
                    value,
                    span: item.span,
                }),
            },
        }
    }

    /// Reads the key `name` with `read`; what is absent or wrong is `default`.
    pub(super) fn value_or<T>(
        &self,
        name: &str,
        default: T,
        read: impl FnOnce(&Item<'d>) -> Option<T>,
    ) -> T {
        self.setting(name, read).value_or(default)
    }
}

impl<'d> Item<'d> {
    pub(super) fn error(&self, message: impl Into<String>) {
        self.doc.error(&self.span, message);
    }

    /// Reports that the value is not `expected`.
    pub(super) fn wrong_type(&self, expected: &str) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time without quotes",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(format!("\"{}\" must be {expected}, not {found}", self.name));
    }

    pub(super) fn is_string(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// The boolean, if it is one; reports nothing.
    pub(super) fn as_boolean(&self) -> Option<bool> {
        self.value.as_bool()
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let found = self.value.as_bool();
        if found.is_none() {
            self.wrong_type("true or false");
        }
        found
    }

    pub(super) fn string(&self, expected: &str) -> Option<At<&'d str>> {
        match self.value.as_str() {
            Some(value) => Some(At {
                value,
                span: self.span.clone(),
            }),
            None => {
                self.wrong_type(expected);
                None
            }
        }
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let expected = if *range.end() == u64::MAX {
            format!("a whole number, at least {}", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        let Some(written) = self.value.as_integer() else {
            self.wrong_type(&expected);
            return None;
        };
        let value = u64::from_str_radix(written.as_str(), written.radix())
            .ok()
            .filter(|n| range.contains(n));
        if value.is_none() {
            self.error(format!("\"{}\" must be {expected}", self.name));
        }
        value
    }

    /// The elements of a list, or the value itself where `T` may be written alone. All elements
    /// are items named like the list.
    pub(super) fn one_or_more(&self) -> Vec<Item<'d>> {
        match self.value {
            DeValue::Array(array) => array
                .iter()
                .map(|element| Item {
                    doc: self.doc,
                    name: self.name.clone(),
                    key_span: self.key_span.clone(),
                    span: element.span(),
                    value: element.get_ref(),
                })
                .collect(),
            _ => vec![Item {
                doc: self.doc,
                name: self.name.clone(),
                key_span: self.key_span.clone(),
                span: self.span.clone(),
                value: self.value,
            }],
        }
    }

    /// Reads a string or a list of strings, each with `read`. An empty list is an error; `None`
    /// when any element is wrong.
    pub(super) fn strings<T>(
        &self,
        expected: &str,
        mut read: impl FnMut(&At<&'d str>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.one_or_more();
        if items.is_empty() {
            self.error(format!(
                "\"{}\" is an empty list; name at least one",
                self.name
            ));
            return None;
        }
        // Every element is read before the verdict, so that each wrong one is reported.
        let values: Vec<Option<T>> = items
            .iter()
            .map(|item| item.string(expected).and_then(|text| read(&text)))
            .collect();
        values.into_iter().collect()
    }

    /// The value as a table that messages call `what`.
    pub(super) fn table(&self, what: &str, expected: &str) -> Option<Table<'d>> {
        match self.value.as_table() {
            Some(entries) => Some(Table {
                doc: self.doc,
                what: what.to_owned(),
                span: self.span.clone(),
                entries,
            }),
            None => {
                self.wrong_type(expected);
                None
            }
        }
    }
}
