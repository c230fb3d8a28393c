//! optimizer.safetensors: Adam's moments of every parameter, under the names `m.NAME` and `v.NAME`.

use super::safetensors;
use crate::Result;
use crate::config::{ModelConfig, ParameterShape};
use crate::model::Moments;
use std::path::Path;

/// The file of the moments in a checkpoint's folder.
pub const OPTIMIZER: &str = "optimizer.safetensors";

/// The names of a moment's tensors, each with its parameter; `letter` is `m` or `v`.
fn moment_names(config: &ModelConfig, letter: char) -> Vec<(String, ParameterShape)> {
    config.parameters().into_iter().map(|p| (format!("{letter}.{}", p.name), p)).collect()
}

/// Writes both moments, which are in the order of [`ModelConfig::parameters`].
///
/// # Errors
/// Those of [`safetensors::write_parameters`].
pub fn save(path: &Path, config: &ModelConfig, moments: &Moments) -> Result<()> {
    let names = [moment_names(config, 'm'), moment_names(config, 'v')].concat();
    let data = moments.first.iter().chain(&moments.second);
    let tensors = names.iter().zip(data).map(|((name, shape), data)| (name.clone(), shape, data.as_slice()));
    safetensors::write_parameters(path, tensors)
}

/// Reads the moments that [`save`] wrote.
///
/// # Errors
/// [`crate::Error::File`] for a damaged file, and for a tensor that is missing or has another shape.
pub fn load(path: &Path, config: &ModelConfig) -> Result<Moments> {
    let mut tensors = safetensors::read(path)?;
    let mut take = |letter| {
        let one = |(name, parameter): (String, ParameterShape)| {
            let shape = parameter.dimensions();
            match tensors.remove(&name) {
                Some(tensor) if tensor.shape == shape => Ok(safetensors::from_file(&parameter, tensor.data)),
                Some(other) => Err(safetensors::wrong_shape(path, &name, &other.shape, &shape)),
                None => Err(safetensors::missing(path, &name, &shape)),
            }
        };
        moment_names(config, letter).into_iter().map(one).collect::<Result<Vec<_>>>()
    };
    Ok(Moments { first: take('m')?, second: take('v')? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::safetensors::read::tests::small;

    #[test]
    fn saved_moments_are_loaded_unchanged() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(OPTIMIZER);
        let (config, first) = small();
        let second = first.iter().map(|t| t.iter().map(|x| x * x).collect()).collect();
        let moments = Moments { first, second };
        save(&path, &config, &moments).expect("save");
        assert_eq!(load(&path, &config).expect("load"), moments);
        let long = ModelConfig { attention_pattern: "M".into(), ..config.clone() };
        let one = |p: ParameterShape| (0..p.count()).map(|i| i as f32).collect();
        let first: Vec<Vec<f32>> = long.parameters().into_iter().map(one).collect();
        let with_convolutions = Moments { second: first.clone(), first };
        save(&path, &long, &with_convolutions).expect("save");
        assert_eq!(load(&path, &long).expect("load"), with_convolutions);
        save(&path, &config, &moments).expect("save");
        let wider = ModelConfig { vocab_size: 8, ..config.clone() };
        let error = load(&path, &wider).expect_err("shape").to_string();
        assert!(error.ends_with("tensor `m.transformer.tokens_embed.weight`: shape [7, 6]: must be [8, 6]"), "{error}");
        let deeper = ModelConfig { n_layer: 3, ..config };
        let error = load(&path, &deeper).expect_err("missing").to_string();
        assert!(error.contains("tensor `m.transformer.h.2.attn.c_attn.weight`: is missing"), "{error}");
    }
}
