//! A viewer's place in a stream: counted, and on a worker.

use super::live::Stream;
use super::select::SelectError;
use crate::sfu::Router;

/// A viewer's place. Dropping it takes the viewer off the count.
#[derive(Debug)]
pub(crate) struct Viewer {
    stream: Stream,
    protocol: &'static str,
    router: Router,
}

impl Viewer {
    /// The router on which its transport is to be made.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.stream.state().act(|core| core.detach_viewer(self.protocol));
        self.stream.shared().count_viewer(self.router.worker(), false);
    }
}

impl Stream {
    /// Registers a viewer until the returned guard is dropped, and chooses its worker.
    pub(crate) async fn attach_viewer(&self, protocol: &'static str) -> Result<Viewer, SelectError> {
        let worker = self.shared().worker_for_viewer(self.home().worker());
        let router = self.router_on(worker).await?;
        if !self.state().act(|core| core.attach_viewer(protocol)) {
            return Err(SelectError::Ended);
        }
        self.shared().count_viewer(worker, true);
        Ok(Viewer { stream: self.clone(), protocol, router })
    }
}
