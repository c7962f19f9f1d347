//! What must live for as long as the server does.
//!
//! In: threads and tasks that hold a [`Vital`] while they run. Out: a word to whoever watches when one of them has ended, by a panic or without
//! one, so that nothing is missing without anybody's knowing.

use std::fmt;
use std::sync::Arc;

/// Who hears of the end of what must live. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Vitals(Arc<dyn Fn(&'static str) + Send + Sync>);

impl Vitals {
    /// `ended` is called with the name of what has ended, on its thread.
    pub(crate) fn new(ended: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(ended))
    }

    /// Nobody hears of it: for tests of a part by itself.
    #[cfg(test)]
    pub(crate) fn unwatched() -> Self {
        Self::new(|_| {})
    }

    /// For one that must live; it holds this until its end.
    pub(crate) fn vital(&self, name: &'static str) -> Vital {
        Vital { vitals: Some(self.clone()), name }
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals").finish_non_exhaustive()
    }
}

/// Held by one that must live. Dropping it says that it has ended.
#[derive(Debug)]
pub(crate) struct Vital {
    vitals: Option<Vitals>,
    name: &'static str,
}

impl Vital {
    /// It has done all that it was for: nobody has to know.
    pub(crate) fn done(mut self) {
        self.vitals = None;
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if let Some(Vitals(ended)) = self.vitals.take() {
            ended(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::base::lock;

    #[test]
    fn each_end_is_told_but_that_of_what_is_done() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = heard.clone();
        let vitals = Vitals::new(move |name| lock(&into).push(name));
        let [panics, returns, is_done] = ["panics", "returns", "is done"].map(|name| vitals.vital(name));
        let thread = std::thread::spawn(move || {
            let _vital = panics;
            panic!("planted");
        });
        assert!(thread.join().is_err());
        drop(returns);
        is_done.done();
        assert_eq!(*lock(&heard), ["panics", "returns"]);
    }
}
