//! What follows a prompt, token by token: the prompt's rows go through the decoder once and leave their keys and values in the
//! cache of every sample; then a token of every sample at a time. Memory-compressed layers keep no cache: a model that has
//! them goes over the whole text for every token.

use super::activations::{Activations, Capacity, layout_capacity};
use super::cache::Cache;
use super::decoder::Decoder;
use super::inference::Inference;
use super::parameters::Parameters;
use super::token::{Specs, Token};
use crate::config::{AttentionKind, ModelConfig};
use crate::data::batch::{Batch, IGNORED, Sequence};
use crate::gpu::program::Timing;
use crate::gpu::{Device, Program, Recorder, Ring};
use crate::ops::Live;
use crate::ops::kernels::Kernels;
use crate::ops::layout::Layout;
use crate::{Error, Result, dims};

/// A model on a device that goes on from a prompt, in several samples side by side.
pub struct Generator {
    device: Device,
    config: ModelConfig,
    parameters: Parameters,
    way: Way,
    samples: usize,
    /// Tokens of each sample so far.
    length: usize,
}

/// How logits are made.
enum Way {
    /// A token's pass over what the cache holds.
    Cached(Box<Cached>),
    /// A pass over the whole text of every sample.
    Whole(Box<Inference>, Vec<Vec<u32>>),
}

struct Cached {
    cache: Cache,
    token: Token,
    step: Program<Live>,
    ring: Ring,
    prefill: Option<Prefill>,
}

/// The prompt's pass, at a capacity of rows.
struct Prefill {
    rows: usize,
    layout: Layout,
    program: Program<Live>,
}

impl Generator {
    /// Uploads a model and makes room for `samples` samples of P tokens each. `parameters` are dense, in the order of
    /// [`ModelConfig::parameters`].
    ///
    /// # Errors
    /// [`Error::Input`] for a config or shapes that do not fit, [`Error::Device`] and [`Error::Kernel`] past limits.
    pub fn new(device: &Device, config: &ModelConfig, parameters: &[Vec<f32>], samples: usize) -> Result<Self> {
        config.validate()?;
        Self::over(device, config, Parameters::for_inference(device, config, parameters)?, samples)
    }

    /// As [`Generator::new`], with parameters that are on the device, as they are now: if they change, so does what
    /// [`Generator::start`] reads of them, but not on CPU adapters, which keep a copy.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn over(device: &Device, config: &ModelConfig, parameters: Parameters, samples: usize) -> Result<Self> {
        if samples == 0 {
            return Err(Error::Input("0 samples: must be 1 or more".into()));
        }
        let way = if config.has(AttentionKind::Compressed) {
            let capacity = Capacity { rows: samples * config.n_positions, sequences: samples };
            let inference = Inference::over(device, config, parameters.clone(), capacity)?;
            Way::Whole(Box::new(inference), vec![Vec::new(); samples])
        } else {
            Way::Cached(Box::new(Cached::new(device, config, &parameters, samples)?))
        };
        Ok(Generator { device: device.clone(), config: config.clone(), parameters, way, samples, length: 0 })
    }

    /// The most samples that go side by side on a device: caches have limits there.
    pub fn most_samples(device: &Device, config: &ModelConfig) -> usize {
        let caps = device.caps();
        let row = 4 * dims::pitch(2 * config.n_embd).max(dims::pitch(config.vocab_size)) as u64;
        let rows = (caps.max_binding.min(caps.max_buffer) / row) as usize;
        let rows = if caps.reads_images() { rows.min(caps.max_texture as usize) } else { rows };
        (rows / config.n_positions.max(1)).clamp(1, 64)
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

    /// Dispatches of a token; 0 where whole texts are gone over.
    pub fn dispatches(&self) -> usize {
        match &self.way {
            Way::Cached(cached) => cached.step.dispatches(),
            Way::Whole(..) => 0,
        }
    }

    /// Begins anew with a prompt, the same for all samples. Gives the logits of what follows, [S, V] dense. Waits.
    ///
    /// # Errors
    /// [`Error::Input`] for a prompt without a token, past P, or with an id past V.
    pub fn start(&mut self, prompt: &[u32]) -> Result<Vec<f32>> {
        let positions = self.config.n_positions;
        let Some((last, before)) = prompt.split_last() else {
            return Err(Error::Input("a prompt without a token: must have one at least".into()));
        };
        if prompt.len() > positions {
            let count = prompt.len();
            return Err(Error::Input(format!("a prompt of {count} tokens: the model has {positions} positions")));
        }
        self.check(prompt)?;
        self.length = before.len();
        match &mut self.way {
            Way::Whole(_, ids) => ids.fill(before.to_vec()),
            Way::Cached(cached) if !before.is_empty() => {
                cached.fill(&self.device, &self.config, &self.parameters, before)?;
            }
            Way::Cached(_) => {}
        }
        self.next(&vec![*last; self.samples])
    }

    /// Takes the next token of every sample. Gives the logits of what follows, [S, V] dense. Waits.
    ///
    /// # Errors
    /// [`Error::Input`] for more or fewer ids than samples, an id past V, or when P tokens are there.
    pub fn next(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let positions = self.config.n_positions;
        if ids.len() != self.samples {
            return Err(Error::Input(format!("{} tokens for {} samples: must be as many", ids.len(), self.samples)));
        }
        if self.length >= positions {
            return Err(Error::Input(format!("a token past {positions}, the model's positions")));
        }
        self.check(ids)?;
        let logits = match &mut self.way {
            Way::Cached(cached) => cached.next(&self.device, &self.config, ids, self.length)?,
            Way::Whole(inference, texts) => {
                texts.iter_mut().zip(ids).for_each(|(text, id)| text.push(*id));
                let sequence = |text: &Vec<u32>| Sequence { ids: text.clone(), targets: vec![IGNORED; text.len()] };
                let all = inference.logits(&Batch::from_sequences(&texts.iter().map(sequence).collect::<Vec<_>>())?)?;
                let text = all.len() / self.samples;
                all.chunks_exact(text).flat_map(|of| &of[text - self.config.vocab_size..]).copied().collect()
            }
        };
        self.length += 1;
        Ok(logits)
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        let vocab = self.config.vocab_size;
        match ids.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(Error::Input(format!("token id {id}: the model has {vocab}"))),
            None => Ok(()),
        }
    }

    /// Runs a token's pass dispatch by dispatch: where its time goes. The position is that of the next token.
    ///
    /// # Errors
    /// As [`Generator::next`], and [`Error::Input`] where whole texts are gone over.
    pub fn profile(&mut self) -> Result<Vec<Timing>> {
        match &self.way {
            Way::Cached(cached) => {
                cached.token.upload(&self.device, &self.config, &cached.cache, &vec![0; self.samples], self.length)?;
                cached.step.profile(&Live { rows: self.samples as u32, ..Live::default() })
            }
            Way::Whole(..) => {
                let pattern = &self.config.attention_pattern;
                Err(Error::Input(format!(
                    "attention_pattern = {pattern:?}: M layers keep no cache, so a token has no pass"
                )))
            }
        }
    }
}

impl Cached {
    fn new(device: &Device, config: &ModelConfig, parameters: &Parameters, samples: usize) -> Result<Self> {
        let specs = Specs::choose(device, config, parameters, samples)?;
        let cache = Cache::new(device, config, specs.cache, samples)?;
        let token = Token::new(device, config, parameters, specs, samples)?;
        let mut rec = Recorder::new(device, Live { rows: samples as u32, ..Live::default() });
        token.record(&mut rec, config, &cache)?;
        let step = rec.finish();
        let ring = Ring::new(device, samples * dims::pitch(config.vocab_size), 1);
        Ok(Cached { cache, token, step, ring, prefill: None })
    }

    fn next(&mut self, device: &Device, config: &ModelConfig, ids: &[u32], position: usize) -> Result<Vec<f32>> {
        self.token.upload(device, config, &self.cache, ids, position)?;
        let live = Live { rows: ids.len() as u32, ..Live::default() };
        self.step.run_and_read(&live, &self.token.logits.view, &mut self.ring)?;
        let words = self.ring.wait()?.ok_or_else(|| Error::Device("the logits never came back".into()))?;
        Ok(dims::unpad_rows(bytemuck::cast_slice(&words), config.vocab_size))
    }

    /// The keys and values of a prompt's tokens.
    fn fill(&mut self, device: &Device, config: &ModelConfig, parameters: &Parameters, ids: &[u32]) -> Result<()> {
        let batch = Batch::from_sequences(&[Sequence { ids: ids.to_vec(), targets: vec![IGNORED; ids.len()] }])?;
        let prefill = match self.prefill.take().filter(|prefill| prefill.rows >= ids.len()) {
            Some(prefill) => prefill,
            None => self.record_prefill(device, config, parameters, ids.len())?,
        };
        let live = prefill.layout.upload(device, &batch)?;
        prefill.program.run(&live)?;
        self.prefill = Some(prefill);
        Ok(())
    }

    fn record_prefill(
        &self,
        device: &Device,
        config: &ModelConfig,
        parameters: &Parameters,
        rows: usize,
    ) -> Result<Prefill> {
        let rows = rows.next_multiple_of(64).min(config.n_positions);
        let capacity = Capacity { rows, sequences: 1 };
        let activations = Activations::for_prompt(device, config, capacity)?;
        let layout = Layout::new(device, layout_capacity(config, capacity))?;
        let kernels = Kernels::new();
        let (cache, training) = (Some(&self.cache), None);
        let decoder = Decoder {
            config,
            parameters,
            activations: &activations,
            layout: &layout,
            kernels: &kernels,
            training,
            cache,
        };
        let mut rec = Recorder::new(device, layout.capacity());
        decoder.forward(&mut rec)?;
        let program = rec.finish();
        Ok(Prefill { rows, layout, program })
    }
}
