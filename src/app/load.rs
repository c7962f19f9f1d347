//! Reads the configuration: defaults, then the TOML file, then the environment; each later one wins.
//!
//! In: a file's text and the environment. Out: a value, or what is wrong with line, key and a suggestion.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Serialized};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
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

/// Loads a configuration of type `T`.
pub fn load<T: DeserializeOwned + Serialize + Default>(file: Option<&Path>) -> Result<T, ConfigError> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
        None => String::new(),
    };
    let name = file.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
    load_text(&text, &name)
}

/// Loads from the text of a file called `name`, and the environment.
pub fn load_text<T: DeserializeOwned + Serialize + Default>(text: &str, name: &str) -> Result<T, ConfigError> {
    // The parser of toml_edit tells line and column of a syntax error.
    let document = toml_edit::Document::parse(text).map_err(|error| ConfigError::Wrong(vec![format!("{name}: {error}")]))?;
    let sections = section_names::<T>();
    let environment = Env::prefixed(ENV_PREFIX)
        // Orchestrators put variables of their own with a service's name (HEADEND_PORT, HEADEND_SERVICE_HOST): only sections count.
        .filter(move |key| {
            let key = key.as_str().to_ascii_lowercase();
            let section = key.split("__").next().unwrap_or_default();
            sections.iter().any(|known| known == section)
        })
        .split("__");
    let figment = Figment::from(Serialized::defaults(T::default())).merge(Toml::string(text)).merge(environment);
    figment
        .extract::<T>()
        .map_err(|errors| ConfigError::Wrong(errors.into_iter().map(|error| describe(&error, &document, text, name)).collect()))
}

fn section_names<T: Serialize + Default>() -> Vec<String> {
    match serde_json::to_value(T::default()) {
        Ok(serde_json::Value::Object(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    }
}

/// One error as one line: where, what, and what to do.
fn describe(error: &figment::Error, document: &toml_edit::Document<&str>, text: &str, name: &str) -> String {
    let mut path = error.path.clone();
    if let Kind::UnknownField(field, _) = &error.kind {
        path.retain(|part| part != field);
        path.push(field.clone());
    }
    let key = path.join(".");
    let from_environment = error.metadata.as_ref().is_some_and(|metadata| metadata.name.contains("environment"));
    let place = if from_environment {
        format!("environment variable {ENV_PREFIX}{}", path.join("__").to_ascii_uppercase())
    } else {
        match line_of(document, text, &path) {
            Some(line) => format!("{name}, line {line}"),
            None => name.to_owned(),
        }
    };
    match &error.kind {
        Kind::UnknownField(field, known) => {
            let suggestion = known
                .iter()
                .map(|candidate| (strsim::damerau_levenshtein(field, candidate), *candidate))
                .min()
                .filter(|(distance, _)| *distance <= SUGGESTION_DISTANCE);
            match suggestion {
                Some((_, candidate)) => format!("{place}: unknown key {key}; did you mean {candidate}?"),
                None => format!("{place}: unknown key {key}; known here: {}", known.join(", ")),
            }
        }
        Kind::UnknownVariant(found, known) => format!("{place}: {key} should be one of {}, not {found}", known.join(", ")),
        Kind::InvalidType(found, wanted) => format!("{place}: {key} should be {wanted}, not {found}"),
        Kind::InvalidValue(found, wanted) => format!("{place}: {key} should be {wanted}, not {found}"),
        other => format!("{place}: {key}: {other}"),
    }
}

/// Puts file and line in front of sentences that begin with a key (`record.max_duration: …`), where the key stands in the file.
pub fn placed(problems: Vec<String>, file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let Ok(document) = toml_edit::Document::parse(text.as_str()) else { return problems };
    let place = |problem: String| {
        let key = problem.split([':', ' ']).next().unwrap_or_default();
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        match find(&document, &text, &path) {
            Some((line, depth)) if depth == path.len() => format!("{}, line {line}: {problem}", file.display()),
            _ => problem, // from the environment, or of several keys together
        }
    };
    problems.into_iter().map(place).collect()
}

/// The line, from 1, on which the key (or the nearest thing around it) stands.
fn line_of(document: &toml_edit::Document<&str>, text: &str, path: &[String]) -> Option<usize> {
    find(document, text, path).map(|(line, _)| line)
}

/// The same, with how many parts of the path were found.
fn find(document: &toml_edit::Document<&str>, text: &str, path: &[String]) -> Option<(usize, usize)> {
    let mut table: &dyn toml_edit::TableLike = document.as_table();
    let (mut span, mut depth) = (None, 0);
    let mut parts = path.iter();
    while let Some(part) = parts.next() {
        let Some((key, item)) = table.get_key_value(part) else { break };
        span = key.span().or_else(|| item.span()).or(span);
        depth += 1;
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
        depth += 1;
    }
    let start = span?.start;
    Some((text.get(..start)?.bytes().filter(|byte| *byte == b'\n').count() + 1, depth))
}
