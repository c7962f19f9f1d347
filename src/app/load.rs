//! Reads the configuration: defaults, then the TOML file, then the environment; each later one wins.
//!
//! In: a file's text and the environment. Out: a configuration whose values are within their bounds, or what is wrong with line, key and a
//! suggestion.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Env, Format, Serialized};
use figment::{Figment, Metadata};
use serde::de::DeserializeOwned;

use super::config::Config;
use crate::base::SettingError;

/// Prefix of environment variables; sections and keys are parted by two underscores (`HEADEND_RTMP__LISTEN`).
const ENV_PREFIX: &str = "HEADEND_";
/// Furthest a suggestion may be from what was written, in edits.
const SUGGESTION_DISTANCE: usize = 3;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One or more things in it are wrong; one line each.
    #[error("{}", lines(.0))]
    Wrong(Vec<Fault>),
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong with a configuration. As text: where, what, and what to do.
#[derive(Debug)]
pub struct Fault {
    place: Place,
    kind: FaultKind,
}

#[derive(Debug)]
enum FaultKind {
    Syntax(toml_edit::TomlError),
    /// A key that nobody knows, or a value of another type.
    Value {
        key: String,
        kind: Kind,
    },
    OutOfBounds(SettingError),
}

/// Where a value came from.
#[derive(Debug)]
enum Place {
    File { name: String, line: Option<usize> },
    Variable(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match &self.kind {
            FaultKind::Syntax(error) => write!(f, "{error}"),
            FaultKind::OutOfBounds(error) => write!(f, "{error}"),
            FaultKind::Value { key, kind } => match kind {
                Kind::UnknownField(field, known) => match suggestion(field, known) {
                    Some(candidate) => write!(f, "unknown key {key}; did you mean {candidate}?"),
                    None => write!(f, "unknown key {key}; known here: {}", known.join(", ")),
                },
                Kind::UnknownVariant(found, known) => write!(f, "{key} should be one of {}, not {found}", known.join(", ")),
                Kind::InvalidType(found, wanted) => write!(f, "{key} should be {wanted}, not {found}"),
                Kind::InvalidValue(found, wanted) => write!(f, "{key} should be {wanted}, not {found}"),
                other => write!(f, "{key}: {other}"),
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: Some(line) } => write!(f, "{name}, line {line}"),
            Self::File { name, line: None } => f.write_str(name),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// The key that was meant.
fn suggestion(field: &str, known: &[&'static str]) -> Option<&'static str> {
    let distances = known.iter().map(|candidate| (strsim::damerau_levenshtein(field, candidate), *candidate));
    distances.min().filter(|(distance, _)| *distance <= SUGGESTION_DISTANCE).map(|(_, candidate)| candidate)
}

/// TOML as figment reads it, by the parser that also tells where things stand: figment's own is a second one, of older versions.
struct Toml;

impl Format for Toml {
    type Error = toml_edit::de::Error;
    const NAME: &str = "TOML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        toml_edit::de::from_str(text)
    }
}

/// Loads the configuration. What is given back has every value within its bounds.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
        None => String::new(),
    };
    let name = file.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
    load_text(&text, &name)
}

/// Loads from the text of a file called `name`, and the environment.
pub fn load_text(text: &str, name: &str) -> Result<Config, ConfigError> {
    // The parser of toml_edit tells line and column of a syntax error.
    let document = toml_edit::Document::parse(text).map_err(|error| {
        let place = Place::File { name: name.to_owned(), line: None };
        ConfigError::Wrong(vec![Fault { place, kind: FaultKind::Syntax(error) }])
    })?;
    let sections = section_names();
    let environment = Env::prefixed(ENV_PREFIX)
        // Orchestrators put variables of their own with a service's name (HEADEND_PORT, HEADEND_SERVICE_HOST): only sections count.
        .filter(move |key| {
            let key = key.as_str().to_ascii_lowercase();
            let section = key.split("__").next().unwrap_or_default();
            sections.iter().any(|known| known == section)
        })
        .split("__");
    let figment = Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(text)).merge(environment);
    let file = File { document, text, name };
    let config: Config =
        figment.extract().map_err(|errors| ConfigError::Wrong(errors.into_iter().map(|error| file.fault(&error)).collect()))?;
    let out_of_bounds = |problem: SettingError| {
        let path: Vec<String> = problem.key.split('.').map(str::to_owned).collect();
        // Where a value came from is known by section and key, not for the items of a list.
        let source = figment.find_metadata(&path[..path.len().min(2)].join("."));
        Fault { place: file.place(&path, source), kind: FaultKind::OutOfBounds(problem) }
    };
    let problems: Vec<Fault> = config.problems().into_iter().map(out_of_bounds).collect();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Wrong(problems)) }
}

fn section_names() -> Vec<String> {
    match serde_json::to_value(Config::default()) {
        Ok(serde_json::Value::Object(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    }
}

/// The file, for saying where in it something stands.
struct File<'a> {
    document: toml_edit::Document<&'a str>,
    text: &'a str,
    name: &'a str,
}

impl File<'_> {
    fn fault(&self, error: &figment::Error) -> Fault {
        let mut path = error.path.clone();
        if let Kind::UnknownField(field, _) = &error.kind {
            path.retain(|part| part != field);
            path.push(field.clone());
        }
        let place = self.place(&path, error.metadata.as_ref());
        Fault { place, kind: FaultKind::Value { key: path.join("."), kind: error.kind.clone() } }
    }

    /// Where the value of a key came from: a variable of the environment, or the file, with the line.
    fn place(&self, path: &[String], source: Option<&Metadata>) -> Place {
        if source.is_some_and(|source| source.name.contains("environment")) {
            return Place::Variable(format!("{ENV_PREFIX}{}", path[..path.len().min(2)].join("__").to_ascii_uppercase()));
        }
        Place::File { name: self.name.to_owned(), line: self.line_of(path) }
    }

    /// The line, from 1, on which the key (or the nearest thing around it) stands.
    fn line_of(&self, path: &[String]) -> Option<usize> {
        let mut table: &dyn toml_edit::TableLike = self.document.as_table();
        let mut span = None;
        let mut parts = path.iter();
        while let Some(part) = parts.next() {
            let Some((key, item)) = table.get_key_value(part) else { break };
            span = key.span().or_else(|| item.span()).or(span);
            if let Some(inner) = item.as_table_like() {
                table = inner;
                continue;
            }
            // A list of tables: the next part is a number.
            let Some(index) = parts.next().and_then(|part| part.parse::<usize>().ok()) else { break };
            let tables = item.as_array_of_tables().and_then(|tables| tables.get(index));
            let inline = item.as_array().and_then(|values| values.get(index)).and_then(|value| value.as_inline_table());
            let (inner, place): (&dyn toml_edit::TableLike, _) = match (tables, inline) {
                (Some(inner), _) => (inner, inner.span()),
                (_, Some(inner)) => (inner, inner.span()),
                _ => break,
            };
            (table, span) = (inner, place.or(span));
        }
        let start = span?.start;
        Some(self.text.get(..start)?.bytes().filter(|byte| *byte == b'\n').count() + 1)
    }
}
