//! A consumer's track in a form it can play: found, or derived.

use super::lease::Lease;
use super::live::Stream;
use super::state::State;
use super::transcoder::{TranscodeError, TranscodeJob};
use super::writer::{TrackWriter, WriterCore};
use crate::base::MediaKind;
use crate::sfu::SfuError;
use crate::stream::core::{NoForm, Otherwise, Running, Selected, ToStart, Wanted, Warning, Why};
use crate::stream::format_history::FormatHistory;

/// Why there is no such track.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SelectError {
    /// The stream has no track of that kind.
    #[error("the stream has no {0} track")]
    NoTrack(MediaKind),
    /// The published codec isn't among the wanted ones and can't be turned into one of them.
    #[error("the stream's {from} can't be turned into something playable here")]
    CantDerive {
        /// The published codec's name.
        from: &'static str,
    },
    /// The stream has ended.
    #[error("the stream has ended")]
    Ended,
    /// The transcoder could not.
    #[error(transparent)]
    Transcode(#[from] TranscodeError),
    /// The SFU could not.
    #[error(transparent)]
    Sfu(#[from] SfuError),
}

impl Stream {
    /// A track in a form that can be played, derived on demand and shared. The lease keeps a derived track going.
    pub(crate) async fn select(&self, wanted: Wanted<'_>) -> Result<Lease, SelectError> {
        loop {
            let (selected, starts) = self.state().act(|core| (core.select(wanted), core.starts()));
            match selected {
                Err(NoForm::NoTrack) => return Err(SelectError::NoTrack(wanted.kind)),
                Err(NoForm::CantDerive(from)) => return Err(SelectError::CantDerive { from: from.display_name() }),
                Err(NoForm::Ended) => return Err(SelectError::Ended),
                Ok(Selected::Published { track, drop_disposable }) => return Ok(Lease::published(self.clone(), track, drop_disposable)),
                Ok(Selected::Derived(running)) => return Ok(Lease::derived(self.clone(), running)),
                Ok(Selected::Wait) => self.state().start_over(starts).await,
                Ok(Selected::Start(to_start, actions)) => {
                    let start = Start { state: self.state(), to_start: &to_start, over: false };
                    drop(self.carry_out(actions)); // nothing to notify anybody of
                    let error = match self.derive(start).await {
                        Ok(running) => return Ok(Lease::derived(self.clone(), running)),
                        Err(error) => error,
                    };
                    if to_start.otherwise == Otherwise::Nothing {
                        if let Some(what) = to_start.track.format.unusual() {
                            let message = format!(
                                "Viewers in browsers get no pictures: the video has {what}, which they can't decode, and {error}. Set the encoder to \
                                 high profile, 4:2:0, 8 bits."
                            );
                            self.warn(Warning { code: "video_not_transcoded", message });
                        }
                        return Err(error);
                    }
                    if to_start.otherwise == Otherwise::Published {
                        let message = format!(
                            "Players that come in see nothing until the next key frame: key frames are far apart, and {error}. Set the key-frame \
                             interval to 2 s."
                        );
                        self.warn(Warning { code: "long_gops_kept", message });
                        return Ok(Lease::published(self.clone(), to_start.track, false));
                    }
                    self.warn(Warning {
                        code: "b_frames_dropped",
                        message: format!(
                            "WebRTC viewers get a lower frame rate: the stream has B-frames and {error}. Set B-frames to 0 in the encoder."
                        ),
                    });
                    return Ok(Lease::published(self.clone(), to_start.track, true));
                }
            }
        }
    }

    async fn derive(&self, mut start: Start<'_>) -> Result<Running, SelectError> {
        let ToStart { track, target, .. } = start.to_start;
        let Some(transcoder) = self.shared().transcoder.get() else {
            return Err(TranscodeError::NotConfigured.into());
        };
        let input = self.home().consume_direct(track.producer).await?;
        let chance = self.shared().lots.draw();
        let core = WriterCore::new(self.home(), target.format(&track.format), self.path().as_str(), chance).await?;
        let (producer, formats) = (core.producer(), core.formats().clone());
        let what = target.derivation(Why::of(track));
        let input_formats = self.formats(track.producer);
        let input_format = input_formats.as_ref().map_or_else(|| track.format.clone(), FormatHistory::format);
        let (output, runtime) = (TrackWriter::derived(core), self.home().runtime().clone());
        let name = format!("{} {what}", self.path());
        let guard = transcoder.start(TranscodeJob { name, input, input_format, input_formats, target: *target, output, runtime })?;
        tracing::info!(path = %self.path(), what, "derived track started");
        start.over = true;
        let started = self.state().act(|core| core.started(&start.to_start.starting, producer, formats, guard.0));
        started.map_err(|_stopped_again| SelectError::Ended)
    }
}

/// A derived track is being started. Dropping it says that this came to nothing.
struct Start<'a> {
    state: &'a State<WriterCore>,
    to_start: &'a ToStart,
    over: bool,
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.state.act(|core| core.start_failed(&self.to_start.starting));
        }
    }
}
