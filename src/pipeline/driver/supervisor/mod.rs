//! The children: started on demand, watched, replaced when they die.
//!
//! In: jobs. Out: their events; [`JobEvent::Lost`] where the child died, after which the owner starts the job anew.

mod child;
mod event;
mod job;
mod metrics;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::event::JobEvent;
pub(crate) use self::job::{Job, JobInput, JobSender};
pub(crate) use self::metrics::PipelineMetrics;

use self::child::{Child, SHUTDOWN_TIME};
use super::template::Templates;
use crate::base::{Clock, lock};
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::error::PipelineError;
use crate::pipeline::quarantine::{Place, Quarantine};
use crate::pipeline::wire::Start;

/// A child that lived longer was no failure to start.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// First pause after a child died young; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest pause: a missing plugin doesn't come back by itself, but the operator may install it.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Starts and watches the children. Cheap to clone; the children end when the last clone and all jobs are gone, or by [`Self::shutdown`].
#[derive(Debug, Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: PipelineConfig,
    program: PathBuf,
    clock: Clock,
    /// Where children are started and read.
    runtime: Handle,
    templates: Templates,
    metrics: PipelineMetrics,
    /// Notifies that a transcode has ended.
    budget_freed: watch::Sender<()>,
    /// Held while a child is being started, so that a burst of jobs starts one and not many.
    children: tokio::sync::Mutex<Vec<Arc<Child>>>,
    health: Arc<Mutex<Health>>,
    quarantine: Arc<Mutex<Quarantine>>,
}

/// How starting goes.
#[derive(Debug, Default)]
struct Health {
    /// Children in a row that died young.
    failures: u32,
    not_before: Option<Instant>,
    closed: bool,
}

impl Health {
    fn died(&mut self, now: Instant, lived: Duration) {
        self.failures = if lived >= HEALTHY_AFTER { 1 } else { self.failures.saturating_add(1) };
        // The first death is taken for bad luck: its jobs go on at once.
        if self.failures > 1 {
            self.not_before = Some(now + BACKOFF_MAX.min(BACKOFF_FIRST * 2_u32.saturating_pow(self.failures.min(16) - 2)));
        }
    }
}

impl Supervisor {
    /// With this program's own executable for the children. They are started and read on the current runtime.
    pub fn new(config: PipelineConfig, clock: Clock) -> Result<Self, PipelineError> {
        let program = std::env::current_exe().map_err(PipelineError::NoExecutable)?;
        Ok(Self::with_program(config, program, clock))
    }

    /// With another executable, run as `program pipeline-host` (tests).
    pub fn with_program(config: PipelineConfig, program: PathBuf, clock: Clock) -> Self {
        let templates = Templates::new(config.templates_dir.clone());
        Self {
            inner: Arc::new(Inner {
                config,
                program,
                clock,
                runtime: Handle::current(),
                templates,
                metrics: PipelineMetrics::default(),
                budget_freed: watch::Sender::default(),
                children: tokio::sync::Mutex::default(),
                health: Arc::default(),
                quarantine: Arc::default(),
            }),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &PipelineConfig {
        &self.inner.config
    }

    /// The clock that its jobs go by.
    pub(in crate::pipeline) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The templates.
    pub fn templates(&self) -> &Templates {
        &self.inner.templates
    }

    /// Its counters, to be registered.
    pub fn metrics(&self) -> &PipelineMetrics {
        &self.inner.metrics
    }

    /// Notified, from here on, when a transcode has ended and another one may begin.
    pub fn budget_freed(&self) -> watch::Receiver<()> {
        self.inner.budget_freed.subscribe()
    }

    pub(super) fn tell_budget_freed(&self) {
        self.inner.budget_freed.send_replace(());
    }

    /// Process ids of the living children, for whoever watches the machine.
    pub async fn child_pids(&self) -> Vec<u32> {
        let children = self.inner.children.lock().await;
        children.iter().filter(|child| child.is_alive()).filter_map(|child| child.pid).collect()
    }

    /// Starts a child ahead of the first job, so that the first viewer doesn't wait for GStreamer's plugin registry.
    pub async fn warm_up(&self) -> Result<(), PipelineError> {
        let mut children = self.inner.children.lock().await;
        if children.iter().all(|child| !child.is_alive()) {
            children.push(self.spawn(false)?);
        }
        Ok(())
    }

    /// Starts a job on the fullest child that has room, so that few are needed; in one of its own where others died with it.
    pub async fn start(&self, start: Start) -> Result<Job, PipelineError> {
        // A fork takes a millisecond: nothing for a thread that forwards packets, on which the job's owner may run.
        let supervisor = self.clone();
        let started = self.inner.runtime.spawn(async move { supervisor.start_here(start).await });
        AbortOnDropHandle::new(started).await.unwrap_or(Err(PipelineError::ShuttingDown))
    }

    async fn start_here(&self, start: Start) -> Result<Job, PipelineError> {
        let place = lock(&self.inner.quarantine).place(self.inner.clock.at(), &start.name);
        if let Place::Later(wait) = place {
            return Err(PipelineError::Quarantined(wait));
        }
        let child = {
            let mut children = self.inner.children.lock().await;
            children.retain(|child| child.is_alive());
            let per_child = self.inner.config.jobs_per_child.max(1);
            // Half of the children are for those who share. Where there can't be another one, it is better to run beside others than not at all.
            let loners = children.iter().filter(|child| child.alone).count();
            let most = self.inner.config.children_max;
            let alone = place == Place::Alone && loners < most / 2 && children.len() < most;
            let room = |child: &&Arc<Child>| !alone && !child.alone && child.job_count() < per_child;
            let child = match children.iter().filter(room).max_by_key(|child| child.job_count()) {
                Some(child) => Arc::clone(child),
                None if children.len() >= self.inner.config.children_max.max(1) => {
                    return Err(PipelineError::Full(children.len()));
                }
                None => {
                    let child = self.spawn(alone)?;
                    if alone {
                        tracing::info!(job = start.name, pid = child.pid, "children died with this job: it gets one of its own");
                        self.inner.metrics.jobs_quarantined.inc();
                    }
                    children.push(Arc::clone(&child));
                    child
                }
            };
            child.reserve()
        };
        job::start(child, start, self.inner.clock.clone()).await
    }

    /// Ends all children; jobs still running are lost. No job starts afterwards.
    pub async fn shutdown(&self) {
        lock(&self.inner.health).closed = true;
        let children = std::mem::take(&mut *self.inner.children.lock().await);
        for child in &children {
            child.close();
        }
        let all = async {
            for child in &children {
                child.ended().await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_TIME, all).await.is_err() {
            children.iter().for_each(|child| child.kill());
        }
    }

    fn spawn(&self, alone: bool) -> Result<Arc<Child>, PipelineError> {
        let now = self.inner.clock.at();
        {
            let health = lock(&self.inner.health);
            if health.closed {
                return Err(PipelineError::ShuttingDown);
            }
            // A job that children die of has a pause of its own.
            if !alone && let Some(wait) = health.not_before.and_then(|at| at.checked_duration_since(now)).filter(|wait| !wait.is_zero()) {
                return Err(PipelineError::BackingOff(wait));
            }
        }
        let first = self.inner.metrics.children_started.get() == 0;
        let registry = self.inner.config.registry.as_deref();
        let Inner { program, quarantine, clock, metrics, .. } = &*self.inner;
        let (child, ended) = child::spawn(program, registry, first, alone, quarantine, clock, metrics)?;
        if alone {
            return Ok(child);
        }
        let (health, clock) = (Arc::clone(&self.inner.health), self.inner.clock.clone());
        tokio::spawn(async move {
            if ended.await == Ok(child::End::Died) {
                let died = clock.at();
                lock(&health).died(died, died - now);
            }
        });
        Ok(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_death_is_bad_luck_then_pauses_grow() {
        let start = crate::base::real_clock().at();
        let mut health = Health::default();
        health.died(start, Duration::from_secs(1));
        assert_eq!(health.not_before, None);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            health.died(start, Duration::from_secs(1));
            pauses.push(health.not_before.unwrap() - start);
        }
        assert_eq!(pauses[..3], [BACKOFF_FIRST, BACKOFF_FIRST * 2, BACKOFF_FIRST * 4]);
        assert_eq!(*pauses.last().unwrap(), BACKOFF_MAX);
        let mut health = Health { failures: 5, ..Health::default() };
        health.died(start, HEALTHY_AFTER);
        assert_eq!(health.not_before, None);
    }
}
