//! What a stream's publisher could do better, for people. Each publisher begins without any.

/// Most warnings kept per stream: there are some forty codes, and no encoder earns more than a few.
const MAX_WARNINGS: usize = 32;

/// Something about a stream that its publisher could do better, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Warning {
    /// For machines: `b_frames`, `transcoding_audio` …
    pub code: &'static str,
    /// For people: what it means and what to change.
    pub message: String,
}

/// What became of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warned {
    /// Nobody had said that.
    New,
    /// It takes the place of another with its code.
    Replaced,
    /// It stands there already.
    Known,
    /// The bound is reached.
    Full,
}

/// One of each code.
#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<Warning>);

impl Warnings {
    pub(super) fn all(&self) -> &[Warning] {
        &self.0
    }

    pub(super) fn add(&mut self, warning: Warning) -> Warned {
        let full = self.0.len() >= MAX_WARNINGS;
        match self.0.iter_mut().find(|known| known.code == warning.code) {
            Some(known) if *known == warning => Warned::Known,
            Some(known) => {
                *known = warning;
                Warned::Replaced
            }
            None if full => Warned::Full,
            None => {
                self.0.push(warning);
                Warned::New
            }
        }
    }

    /// What these say no longer holds.
    pub(crate) fn retract(&mut self, codes: &[&str]) {
        self.0.retain(|known| !codes.contains(&known.code));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(code: &'static str, message: &str) -> Warning {
        Warning { code, message: message.into() }
    }

    #[test]
    fn one_of_each_code() {
        let mut warnings = Warnings::default();
        for (code, message, becomes) in [
            ("a", "1", Warned::New),
            ("a", "1", Warned::Known),
            ("b", "1", Warned::New),
            ("a", "2", Warned::Replaced),
            ("a", "2", Warned::Known),
        ] {
            assert_eq!(warnings.add(warning(code, message)), becomes, "{code} {message}");
        }
        assert_eq!(warnings.all(), [warning("a", "2"), warning("b", "1")]);
        warnings.retract(&["b", "c"]);
        assert_eq!(warnings.all(), [warning("a", "2")]);
        warnings.clear();
        assert!(warnings.all().is_empty());
        assert_eq!(warnings.add(warning("a", "2")), Warned::New);
    }

    #[test]
    fn bounded() {
        const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP";
        let codes = (0..MAX_WARNINGS + 4).map(|at| &ALPHABET[at..=at]);
        let mut warnings = Warnings::default();
        for (index, code) in codes.enumerate() {
            let becomes = if index < MAX_WARNINGS { Warned::New } else { Warned::Full };
            assert_eq!(warnings.add(warning(code, "")), becomes, "{code}");
        }
        assert_eq!(warnings.add(warning("a", "news")), Warned::Replaced, "what is known can still change");
        assert_eq!(warnings.all().len(), MAX_WARNINGS);
    }
}
