//! Generation, token by token: the prompt goes through the decoder once, which fills the cache of every sample with its keys
//! and values; then one token of every sample goes through at a time.

use super::activations::{Activations, Capacity, layout_capacity};
use super::cache::{Cache, rows_per_sequence};
use super::decoder::Decoder;
use super::parameters::Parameters;
use super::token::TokenPass;
use super::token_specs::TokenSpecs;
use crate::config::ModelConfig;
use crate::data::batch::{Batch, IGNORED, Sequence};
use crate::gpu::{Device, Program, Recorder, Ring, Timing};
use crate::ops::StepValues;
use crate::ops::kernels::Kernels;
use crate::ops::layout::LayoutBuffer;
use crate::{Error, Result, dims};

/// A model on a device that continues a prompt, in several samples side by side.
pub struct Generator {
    device: Device,
    config: ModelConfig,
    parameters: Parameters,
    cache: Cache,
    token: TokenPass,
    reset_cache: Program<StepValues>,
    prefill: Option<Prefill>,
    next_token: Program<StepValues>,
    readback: Ring,
    samples: usize,
    /// Tokens of each sample so far.
    length: usize,
}

/// The prompt's pass, recorded for prompts of up to `rows` tokens.
struct Prefill {
    rows: usize,
    layout: LayoutBuffer,
    program: Program<StepValues>,
}

impl Generator {
    /// Uploads a model and allocates `samples` samples of P tokens each. `parameters` are dense, in the order of
    /// [`ModelConfig::parameters`].
    ///
    /// # Errors
    /// [`Error::Value`] for a config or shapes that do not fit, [`Error::Device`] and [`Error::Kernel`] past limits.
    pub fn new(device: &Device, config: &ModelConfig, parameters: &[Vec<f32>], samples: usize) -> Result<Self> {
        config.validate()?;
        Self::with_parameters(device, config, Parameters::for_inference(device, config, parameters)?, samples)
    }

    /// As [`Generator::new`], with parameters that are already on the device. They must not change while the generator is used:
    /// a CPU adapter keeps image copies of some and would mix old and new weights.
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
            return Err(Error::value("samples", 0, "must be 1 or more"));
        }
        let specs = TokenSpecs::choose(device, config, &parameters, samples)?;
        let cache = Cache::new(device, config, specs.cache, samples)?;
        let mut rec = Recorder::new(device, StepValues::default());
        cache.record_reset(&mut rec, config, &parameters)?;
        let reset_cache = rec.finish();
        let token = TokenPass::new(device, config, &parameters, specs, samples)?;
        let mut rec = Recorder::new(device, TokenPass::capacity(config, samples));
        token.record(&mut rec, config, &cache)?;
        Ok(Generator {
            device: device.clone(),
            config: config.clone(),
            parameters,
            cache,
            token,
            reset_cache,
            prefill: None,
            next_token: rec.finish(),
            readback: Ring::new(device, samples * dims::pitch(config.vocab_size), 1),
            samples,
            length: 0,
        })
    }

    /// The largest number of samples side by side that a device's limits on buffers and images allow, at most 64.
    pub fn max_samples(device: &Device, config: &ModelConfig) -> usize {
        let caps = device.caps();
        let bytes = caps.max_binding.min(caps.max_buffer) as usize;
        let fit = |columns| bytes / (4 * dims::pitch(columns));
        let cached = fit(2 * config.n_embd);
        let cached = if caps.reads_images() { cached.min(caps.max_texture as usize) } else { cached };
        let rows = |l| {
            let rows = rows_per_sequence(config, config.attention(l));
            rows.visible.max(rows.window)
        };
        let rows = (0..config.n_layer).map(rows).max().unwrap_or(1).max(1);
        (cached / rows).min(fit(config.vocab_size)).clamp(1, 64)
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Its tensors.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The number of samples side by side.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Tokens of each sample so far: the prompt's and those given to [`Generator::next`].
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes of all keys and values on the device.
    pub fn cache_bytes(&self) -> usize {
        Cache::bytes(&self.config, self.samples)
    }

    /// Dispatches for one token. In a model with memory-compressed layers, for a token that ends a slot: others take fewer.
    pub fn dispatches(&self) -> usize {
        self.next_token.dispatches()
    }

    /// Starts a new text with a prompt, the same for all samples. Returns the logits of the next token, [S, V] dense. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for a prompt without a token, past P, or with an id past V.
    pub fn start(&mut self, prompt: &[u32]) -> Result<Vec<f32>> {
        self.device.clone().block_on(self.start_async(prompt))
    }

    /// As [`Generator::start`], as a future that never blocks: it completes when the caller polls the device after the prompt
    /// has been computed.
    ///
    /// # Errors
    /// As [`Generator::start`].
    pub async fn start_async(&mut self, prompt: &[u32]) -> Result<Vec<f32>> {
        let last = self.submit_prompt(prompt)?;
        self.next_async(&vec![last; self.samples]).await
    }

    /// Submits all tokens of a prompt but the last, and returns that one.
    fn submit_prompt(&mut self, prompt: &[u32]) -> Result<u32> {
        let positions = self.config.n_positions;
        let Some((last, before)) = prompt.split_last() else {
            return Err(Error::value("tokens of the prompt", 0, "must be 1 or more"));
        };
        if prompt.len() > positions {
            let expected = format!("the model has {positions} positions");
            return Err(Error::value("tokens of the prompt", prompt.len(), expected));
        }
        self.check(prompt)?;
        self.reset_cache.run(&StepValues::default())?;
        if !before.is_empty() {
            self.fill(before)?;
        }
        self.length = before.len();
        Ok(*last)
    }

    /// Appends a token to every sample. Returns the logits of the next token, [S, V] dense. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for more or fewer ids than samples, an id past V, or samples that already have P tokens.
    pub fn next(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        self.device.clone().block_on(self.next_async(ids))
    }

    /// As [`Generator::next`], as a future that never blocks: see [`Generator::start_async`]. When it is dropped before it
    /// completes, the tokens do not count as appended.
    ///
    /// # Errors
    /// As [`Generator::next`].
    pub async fn next_async(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        // The logits of a future that was dropped.
        self.readback.wait_async().await?;
        self.submit_tokens(ids)?;
        let words = self.readback.wait_async().await?;
        self.receive_logits(words)
    }

    /// Submits the pass of one token of every sample.
    fn submit_tokens(&mut self, ids: &[u32]) -> Result<()> {
        let positions = self.config.n_positions;
        if ids.len() != self.samples {
            let expected = format!("must be {}, one for each sample", self.samples);
            return Err(Error::value("tokens", ids.len(), expected));
        }
        if self.length >= positions {
            let expected = format!("the model has {positions} positions");
            return Err(Error::value("tokens of a sample", self.length + 1, expected));
        }
        self.check(ids)?;
        self.token.upload(&self.device, &self.config, &self.cache, ids, self.length)?;
        let values = TokenPass::values(&self.config, self.samples, self.length);
        self.next_token.run_and_read(&values, &self.token.logits.view, &mut self.readback)
    }

    /// The logits [S, V] from the words read back, which complete a token.
    fn receive_logits(&mut self, words: Option<Vec<u32>>) -> Result<Vec<f32>> {
        let words = words.ok_or_else(|| Error::rejected("readback of the logits", "nothing was read"))?;
        self.length += 1;
        Ok(dims::unpad_rows(bytemuck::cast_slice(&words), self.config.vocab_size))
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        let vocab = self.config.vocab_size;
        match ids.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(Error::value("token id", id, format!("the model has {vocab} ids"))),
            None => Ok(()),
        }
    }

    /// Times each dispatch of a token's pass, at the next position, or at the last one if there is none. The cache is invalid
    /// afterwards: continue with [`Generator::start`].
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn profile(&mut self) -> Result<Vec<Timing>> {
        let position = self.length.min(self.config.n_positions - 1);
        self.token.upload(&self.device, &self.config, &self.cache, &vec![0; self.samples], position)?;
        self.next_token.profile(&TokenPass::values(&self.config, self.samples, position))
    }

    /// Fills the cache with the keys and values of a prompt's tokens.
    fn fill(&mut self, ids: &[u32]) -> Result<()> {
        let batch = Batch::from_sequences(&[Sequence { ids: ids.to_vec(), targets: vec![IGNORED; ids.len()] }])?;
        let prefill = match self.prefill.take().filter(|prefill| prefill.rows >= ids.len()) {
            Some(prefill) => prefill,
            None => self.record_prefill(ids.len())?,
        };
        let values = prefill.layout.upload(&self.device, &batch)?;
        prefill.program.run(&values)?;
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
