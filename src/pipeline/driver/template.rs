//! The pipelines' texts: built in, or the operator's own.
//!
//! In: a name and values. Out: what gst-launch would be given. Lines that begin with `#` are comments, `{name}` is a placeholder.

use std::fmt::Write as _;
use std::path::PathBuf;

/// Longest template file that is read: it has to fit a message to the child with all tracks of a stream.
const MAX_TEMPLATE: u64 = 12 * 1024;

const BUILT_IN: [(&str, &str); 8] = [
    ("segment-h264", include_str!("../../../pipelines/segment-h264.launch")),
    ("segment-aac", include_str!("../../../pipelines/segment-aac.launch")),
    ("segment-opus", include_str!("../../../pipelines/segment-opus.launch")),
    ("transcode-aac-aac", include_str!("../../../pipelines/transcode-aac-aac.launch")),
    ("transcode-aac-opus", include_str!("../../../pipelines/transcode-aac-opus.launch")),
    ("transcode-opus-aac", include_str!("../../../pipelines/transcode-opus-aac.launch")),
    ("transcode-vp8-h264", include_str!("../../../pipelines/transcode-vp8-h264.launch")),
    ("transcode-h264-noreorder", include_str!("../../../pipelines/transcode-h264-noreorder.launch")),
];

/// Why there is no pipeline text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// No such template.
    #[error("there is no pipeline template named {0:?}")]
    Missing(String),
    #[error("can't read the pipeline template {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("can't use the pipeline template {path}: longer than {MAX_TEMPLATE} bytes")]
    TooLong { path: PathBuf },
    /// A placeholder nobody knows.
    #[error("the pipeline template {template:?} uses {{{placeholder}}}; known here: {}", .known.join(", "))]
    UnknownPlaceholder {
        template: String,
        placeholder: String,
        /// The names that have a value.
        known: Vec<String>,
    },
}

/// Where templates come from.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    dir: Option<PathBuf>,
}

impl Templates {
    /// `dir`: the operator's folder, in which `<name>.launch` replaces the built-in one. Read anew for each job, so that
    /// edits count from the next one on.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The names of the built-in templates.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The template `name` with its placeholders filled.
    pub fn render(&self, name: &str, values: &[(&str, String)]) -> Result<String, TemplateError> {
        fill(name, &self.text(name)?, values)
    }

    fn text(&self, name: &str) -> Result<String, TemplateError> {
        if let Some(path) = self.dir.as_ref().map(|dir| dir.join(format!("{name}.launch"))) {
            match std::fs::metadata(&path) {
                Ok(found) if found.len() > MAX_TEMPLATE => return Err(TemplateError::TooLong { path }),
                Ok(_) => return std::fs::read_to_string(&path).map_err(|source| TemplateError::Unreadable { path, source }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(TemplateError::Unreadable { path, source }),
            }
        }
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        built_in.map(|(_, text)| (*text).to_owned()).ok_or_else(|| TemplateError::Missing(name.to_owned()))
    }
}

fn fill(name: &str, text: &str, values: &[(&str, String)]) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (placeholder, after) = after.split_once('}').unwrap_or((after, ""));
            let value = values.iter().find(|(known, _)| *known == placeholder).ok_or_else(|| TemplateError::UnknownPlaceholder {
                template: name.to_owned(),
                placeholder: placeholder.to_owned(),
                known: values.iter().map(|(known, _)| (*known).to_owned()).collect(),
            })?;
            out.push_str(&value.1);
            rest = after;
        }
        let _ = writeln!(out, "{rest}");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_placeholders_are_filled() {
        let text = "# {nonsense}\n a{n}b {x}\n";
        assert_eq!(fill("t", text, &[("n", "1".into()), ("x", "y".into())]).unwrap(), " a1b y\n");
        let error = fill("t", "a {what} b", &[("n", "1".into())]).unwrap_err().to_string();
        assert!(error.contains("{what}") && error.contains("known here: n"), "{error}");
    }

    #[test]
    fn an_operators_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("segment-aac.launch"), "mine {n}").unwrap();
        let templates = Templates::new(Some(dir.path().to_owned()));
        assert_eq!(templates.render("segment-aac", &[("n", "3".into())]).unwrap(), "mine 3\n");
        assert!(templates.render("transcode-aac-opus", &[("channels", "2".into())]).unwrap().contains("opusenc"));
        assert!(matches!(templates.render("nothing", &[]), Err(TemplateError::Missing(_))));
        std::fs::write(dir.path().join("segment-opus.launch"), vec![b'x'; 20_000]).unwrap();
        assert!(matches!(templates.render("segment-opus", &[]), Err(TemplateError::TooLong { .. })));
    }
}
