//! Pipelines compiled by threads while programs are recorded, since drivers take most of the time until the first step.

use crate::error::DeviceError;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// Why there is no pipeline.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The device has no memory left, or is lost.
    Device(DeviceError),
    /// The driver rejects the shader: its message.
    Shader(String),
}

/// What the compilation of a pipeline needs.
pub(super) trait Source: Send + 'static {
    /// The pipeline, or why there is none.
    fn compile(self) -> Result<wgpu::ComputePipeline, Failure>;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pipeline that is compiled once: by the first thread that comes to it.
pub(super) struct Compilation<S> {
    source: Mutex<Option<S>>,
    result: OnceLock<Result<wgpu::ComputePipeline, Failure>>,
}

impl<S: Source> Compilation<S> {
    pub fn new(source: S) -> Self {
        Compilation { source: Mutex::new(Some(source)), result: OnceLock::new() }
    }

    /// The pipeline. Compiles it if no thread does yet; waits if one does.
    pub fn result(&self) -> Result<&wgpu::ComputePipeline, &Failure> {
        let compile = || match lock(&self.source).take() {
            Some(source) => source.compile(),
            None => Err(Failure::Shader("its compilation was interrupted".into())),
        };
        self.result.get_or_init(compile).as_ref()
    }

    fn is_started(&self) -> bool {
        lock(&self.source).is_none()
    }
}

/// Threads that compile pipelines, as many as the CPU has beside the recording one. They end when there is nothing to do.
pub(super) struct Compiler<S: Source> {
    waiting: Arc<Mutex<Waiting<S>>>,
    threads: Vec<JoinHandle<()>>,
}

struct Waiting<S> {
    compilations: VecDeque<Arc<Compilation<S>>>,
    threads: usize,
}

impl<S: Source> Waiting<S> {
    /// The next compilation that no thread has started. With none left, the thread that asks counts as ended.
    fn next(&mut self) -> Option<Arc<Compilation<S>>> {
        while let Some(next) = self.compilations.pop_front() {
            if !next.is_started() {
                return Some(next);
            }
        }
        self.threads -= 1;
        None
    }
}

impl<S: Source> Default for Compiler<S> {
    fn default() -> Self {
        let waiting = Waiting { compilations: VecDeque::new(), threads: 0 };
        Compiler { waiting: Arc::new(Mutex::new(waiting)), threads: Vec::new() }
    }
}

impl<S: Source> Compiler<S> {
    /// Compiles in the background. Where no thread can be started, [`Compilation::result`] compiles.
    pub fn start(&mut self, compilation: Arc<Compilation<S>>) {
        let most = std::thread::available_parallelism().map_or(1, |n| n.get()) - 1;
        let mut waiting = lock(&self.waiting);
        waiting.compilations.push_back(compilation);
        if waiting.threads >= most {
            return;
        }
        let shared = self.waiting.clone();
        let work = move || {
            while let Some(next) = { lock(&shared).next() } {
                // An error is reported by the program that has this pipeline.
                let _ = next.result();
            }
        };
        self.threads.retain(|thread| !thread.is_finished());
        if let Ok(thread) = std::thread::Builder::new().name("wgpt compiler".into()).spawn(work) {
            waiting.threads += 1;
            self.threads.push(thread);
        }
    }
}

impl<S: Source> Drop for Compiler<S> {
    /// Gives up what has not started, and waits for the rest: a driver must not be at work when the process ends.
    fn drop(&mut self) {
        lock(&self.waiting).compilations.clear();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
