//! The models whose kernels are compiled, and the variants that wgpt chooses for them.

use crate::driver::Result;
use wgpt::config::ModelConfig;
use wgpt::config::{Answers, Task, TaskKind};
use wgpt::gpu::{Caps, Device, Variant};
use wgpt::model::{Capacity, Training, TrainingOptions};
use wgpt::ops::kernels::Precision;
use wgpt::train::settings::Settings;
use wgpt::wgpu;

/// The most tokens of a micro-batch, and the most token ids of models that are no preset, to keep their memory small.
const MOST_ROWS: usize = 2048;
const MOST_IDS: usize = 8192;

/// Samples generated side by side.
const SAMPLES: [usize; 2] = [1, 8];

/// A model, and the sequences of a micro-batch.
struct Model {
    name: String,
    config: ModelConfig,
    sequences: usize,
}

/// The presets, each with and without dropout; gpt1's width with heads of 32 and 128; local and compressed attention at each
/// width of a head. Every kind of layer occurs once: further layers have the same kernels.
fn models() -> Result<Vec<Model>> {
    let mut all = Vec::new();
    // Preset, heads, and the widths of the heads.
    for (preset, heads) in [("nano", None), ("mini", None), ("gpt1", None), ("gpt1", Some(24)), ("gpt1", Some(6))] {
        let settings = Settings::preset(preset)?;
        for pattern in ["F", "LM"] {
            for dropout in [0.0, 0.1] {
                let mut config = ModelConfig { n_layer: pattern.len(), ..settings.model.clone() };
                config.attention_pattern = pattern.into();
                config.n_head = heads.unwrap_or(config.n_head);
                config.set_dropout(dropout);
                if pattern != "F" || heads.is_some() {
                    config.vocab_size = config.vocab_size.min(MOST_IDS);
                }
                let mut name = preset.to_string();
                name += &heads.map_or(String::new(), |_| format!(" D={}", config.head_dim()));
                name += if pattern == "F" { "" } else { " LM" };
                name += if dropout > 0.0 { " dropout" } else { "" };
                let sequences = settings.batch.min(MOST_ROWS / config.n_positions);
                all.push(Model { name, config, sequences });
            }
        }
    }
    Ok(all)
}

/// A variant, and the models that wgpt chooses it for.
pub struct Chosen {
    pub variant: Variant,
    pub models: Vec<String>,
}

/// A device without a driver that claims these capabilities. Programs are recorded on it: a null device has little memory, and
/// never tells which submissions are done, so that it cannot be freed.
fn device(caps: &Caps) -> Result<Device> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop.enable = true;
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&Device::descriptor(&adapter)))?;
    Ok(Device::from_wgpu(&adapter, device, queue)?.narrowed(|own| *own = caps.clone()))
}

/// Records a training step, an evaluation and the generation of a token for every model, and fine-tuning for some, and returns
/// the variants that these programs have on a device with these capabilities.
pub fn chosen(caps: &Caps) -> Result<Vec<Chosen>> {
    let mut all: Vec<Chosen> = Vec::new();
    for model in models()? {
        let own = device(caps)?;
        record(&own, &model).map_err(|e| format!("{}: {e}", model.name))?;
        for variant in own.variants() {
            match all.iter_mut().find(|chosen| chosen.variant == variant) {
                Some(chosen) => chosen.models.push(model.name.clone()),
                None => all.push(Chosen { variant, models: vec![model.name.clone()] }),
            }
        }
    }
    Ok(all)
}

fn record(device: &Device, model: &Model) -> Result<()> {
    let zeros = |config: &ModelConfig| -> Vec<Vec<f32>> {
        config.parameters().iter().map(|shape| vec![0.0; shape.rows * shape.columns]).collect()
    };
    let capacity = Capacity { rows: model.sequences * model.config.n_positions, sequences: model.sequences };
    // In mixed precision, only the products differ, and only where there are matrix units.
    let mixed = TrainingOptions { precision: Precision::Mixed, ..TrainingOptions::default() };
    if device.caps().multiplies_halves() && model.config.attention_pattern == "F" && model.config.resid_pdrop == 0.0 {
        Training::new(device, &model.config, &zeros(&model.config), capacity, mixed)?;
    }
    let options = TrainingOptions::default();
    let training = Training::new(device, &model.config, &zeros(&model.config), capacity, options)?;
    for samples in SAMPLES {
        training.generator(samples)?;
    }
    drop(training);
    if model.config.attention_pattern != "F" || model.config.resid_pdrop > 0.0 {
        return Ok(());
    }
    let labels = || Answers::Labels(["a", "b"].map(String::from).to_vec());
    for (kind, answers) in
        [(TaskKind::Classify, labels()), (TaskKind::Similar, Answers::Score), (TaskKind::Choose, Answers::Candidate)]
    {
        let vocab_size = model.config.vocab_size.min(MOST_IDS);
        let config = ModelConfig { task: Some(Task { kind, answers }), vocab_size, ..model.config.clone() };
        Training::new(device, &config, &zeros(&config), capacity, options)?;
    }
    Ok(())
}
