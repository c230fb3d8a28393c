//! What follows a prompt, token by token: the prompt's rows go through the decoder once and leave their keys and values in the
//! cache of every sample; then a token of every sample at a time.

use super::activations::{Activations, Capacity, layout_capacity};
use super::cache::{self, Cache};
use super::decoder::Decoder;
use super::parameters::Parameters;
use super::token::{Specs, Token};
use crate::config::ModelConfig;
use crate::data::batch::{Batch, IGNORED, Sequence};
use crate::gpu::{Device, Program, Recorder, Ring, Timing};
use crate::ops::StepValues;
use crate::ops::kernels::Kernels;
use crate::ops::layout::LayoutBuffer;
use crate::{Error, Result, dims};

/// A model on a device that goes on from a prompt, in several samples side by side.
pub struct Generator {
    device: Device,
    config: ModelConfig,
    parameters: Parameters,
    cache: Cache,
    token: Token,
    /// What the cache holds before all tokens.
    begin: Program<StepValues>,
    prefill: Option<Prefill>,
    step: Program<StepValues>,
    ring: Ring,
    samples: usize,
    /// Tokens of each sample so far.
    length: usize,
}

/// The prompt's pass, at a capacity of rows.
struct Prefill {
    rows: usize,
    layout: LayoutBuffer,
    program: Program<StepValues>,
}

impl Generator {
    /// Uploads a model and makes room for `samples` samples of P tokens each. `parameters` are dense, in the order of
    /// [`ModelConfig::parameters`].
    ///
    /// # Errors
    /// [`Error::Value`] for a config or shapes that do not fit, [`Error::Device`] and [`Error::Kernel`] past limits.
    pub fn new(device: &Device, config: &ModelConfig, parameters: &[Vec<f32>], samples: usize) -> Result<Self> {
        config.validate()?;
        Self::with_parameters(device, config, Parameters::for_inference(device, config, parameters)?, samples)
    }

    /// As [`Generator::new`], with parameters that are on the device, as they are now: if they change, so does what
    /// [`Generator::start`] reads of them, but not on CPU adapters, which keep a copy.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn with_parameters(
        device: &Device,
        config: &ModelConfig,
        parameters: Parameters,
        samples: usize,
    ) -> Result<Self> {
        if samples == 0 {
            return Err(Error::input("0 samples: must be 1 or more"));
        }
        let specs = Specs::choose(device, config, &parameters, samples)?;
        let cache = Cache::new(device, config, specs.cache, samples)?;
        let mut rec = Recorder::new(device, StepValues::default());
        cache.begin(&mut rec, config, &parameters)?;
        let begin = rec.finish();
        let token = Token::new(device, config, &parameters, specs, samples)?;
        let mut rec = Recorder::new(device, Token::capacity(config, samples));
        token.record(&mut rec, config, &cache)?;
        Ok(Generator {
            device: device.clone(),
            config: config.clone(),
            parameters,
            cache,
            token,
            begin,
            prefill: None,
            step: rec.finish(),
            ring: Ring::new(device, samples * dims::pitch(config.vocab_size), 1),
            samples,
            length: 0,
        })
    }

    /// The most samples that go side by side on a device: caches have limits there.
    pub fn max_samples(device: &Device, config: &ModelConfig) -> usize {
        let caps = device.caps();
        let bytes = caps.max_binding.min(caps.max_buffer) as usize;
        let fit = |columns| bytes / (4 * dims::pitch(columns));
        let kept = fit(2 * config.n_embd);
        let kept = if caps.reads_images() { kept.min(caps.max_texture as usize) } else { kept };
        let rows = (0..config.n_layer).flat_map(|l| cache::rows(config, config.attention(l))).max().unwrap_or(1).max(1);
        (kept / rows).min(fit(config.vocab_size)).clamp(1, 64)
    }

    /// The model's numbers.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Its tensors.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Tokens of each sample so far: what [`Generator::start`] and [`Generator::next`] were given.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes of keys and values on the device.
    pub fn cache_bytes(&self) -> usize {
        Cache::bytes(&self.config, self.samples)
    }

    /// Dispatches of a token that ends a slot, if the model has memory-compressed layers: the others take fewer.
    pub fn dispatches(&self) -> usize {
        self.step.dispatches()
    }

    /// Begins anew with a prompt, the same for all samples. Gives the logits of what follows, [S, V] dense. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for a prompt without a token, past P, or with an id past V.
    pub fn start(&mut self, prompt: &[u32]) -> Result<Vec<f32>> {
        let positions = self.config.n_positions;
        let Some((last, before)) = prompt.split_last() else {
            return Err(Error::input("a prompt without a token: must have one at least"));
        };
        if prompt.len() > positions {
            let count = prompt.len();
            return Err(Error::input(format!("a prompt of {count} tokens: the model has {positions} positions")));
        }
        self.check(prompt)?;
        self.begin.run(&StepValues::default())?;
        if !before.is_empty() {
            self.fill(before)?;
        }
        self.length = before.len();
        self.next(&vec![*last; self.samples])
    }

    /// Takes the next token of every sample. Gives the logits of what follows, [S, V] dense. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for more or fewer ids than samples, an id past V, or when P tokens are there.
    pub fn next(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let positions = self.config.n_positions;
        if ids.len() != self.samples {
            return Err(Error::input(format!("{} tokens for {} samples: must be as many", ids.len(), self.samples)));
        }
        if self.length >= positions {
            return Err(Error::input(format!("a token past {positions}, the model's positions")));
        }
        self.check(ids)?;
        self.token.upload(&self.device, &self.config, &self.cache, ids, self.length)?;
        let live = Token::live(&self.config, self.samples, self.length);
        self.step.run_and_read(&live, &self.token.logits.view, &mut self.ring)?;
        let words = self.ring.wait()?.ok_or_else(|| Error::device("the logits never came back"))?;
        self.length += 1;
        Ok(dims::unpad_rows(bytemuck::cast_slice(&words), self.config.vocab_size))
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        let vocab = self.config.vocab_size;
        match ids.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(Error::input(format!("token id {id}: the model has {vocab}"))),
            None => Ok(()),
        }
    }

    /// Runs a token's pass dispatch by dispatch: where its time goes. The position is that of the next token, or the last one
    /// when P tokens are there. What the cache holds is of no use after it: [`Generator::start`] begins anew.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn profile(&mut self) -> Result<Vec<Timing>> {
        let position = self.length.min(self.config.n_positions - 1);
        self.token.upload(&self.device, &self.config, &self.cache, &vec![0; self.samples], position)?;
        self.step.profile(&Token::live(&self.config, self.samples, position))
    }

    /// The keys and values of a prompt's tokens.
    fn fill(&mut self, ids: &[u32]) -> Result<()> {
        let batch = Batch::from_sequences(&[Sequence { ids: ids.to_vec(), targets: vec![IGNORED; ids.len()] }])?;
        let prefill = match self.prefill.take().filter(|prefill| prefill.rows >= ids.len()) {
            Some(prefill) => prefill,
            None => self.record_prefill(ids.len())?,
        };
        let live = prefill.layout.upload(&self.device, &batch)?;
        prefill.program.run(&live)?;
        self.prefill = Some(prefill);
        Ok(())
    }

    fn record_prefill(&self, rows: usize) -> Result<Prefill> {
        let (device, config) = (&self.device, &self.config);
        let rows = rows.next_multiple_of(64).min(config.n_positions);
        let capacity = Capacity { rows, sequences: 1 };
        let activations = Activations::for_prompt(device, config, capacity)?;
        let layout = LayoutBuffer::new(device, layout_capacity(config, capacity))?;
        let kernels = Kernels::new();
        let decoder = Decoder::new(config, &self.parameters, &activations, &layout, &kernels);
        let decoder = Decoder { cache: Some(&self.cache), ..decoder };
        let mut rec = Recorder::new(device, layout.values_at_capacity());
        decoder.forward(&mut rec)?;
        let program = rec.finish();
        Ok(Prefill { rows, layout, program })
    }
}
