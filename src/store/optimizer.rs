//! optimizer.safetensors: Adam's moments beside a model's weights, as `m.NAME` and `v.NAME`.

use super::safetensors;
use crate::config::{ModelConfig, ParameterShape};
use crate::model::Moments;
use crate::{Error, Result};
use std::path::Path;

/// The moments' file in a checkpoint's folder.
pub const OPTIMIZER: &str = "optimizer.safetensors";

/// A moment's tensors: their names, and the shapes of what they belong to.
fn named(config: &ModelConfig, letter: char) -> Vec<(String, ParameterShape)> {
    config.parameters().into_iter().map(|p| (format!("{letter}.{}", p.name), p)).collect()
}

/// Writes both moments, dense and in the order of [`ModelConfig::parameters`].
///
/// # Errors
/// Those of [`safetensors::write`].
pub fn save(path: &Path, config: &ModelConfig, moments: &Moments) -> Result<()> {
    let names = [named(config, 'm'), named(config, 'v')].concat();
    let data = moments.first.iter().chain(&moments.second);
    let all: Vec<_> = names
        .iter()
        .zip(data)
        .map(|((name, shape), data)| (name, shape.dimensions(), safetensors::to_file(shape, data)))
        .collect();
    safetensors::write(path, all.iter().map(|(name, shape, data)| (name.as_str(), shape.as_slice(), data.as_ref())))
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// [`Error::File`] for a damaged file, and for a missing or misshapen tensor.
pub fn load(path: &Path, config: &ModelConfig) -> Result<Moments> {
    let mut tensors = safetensors::read(path)?;
    let mut take = |letter| {
        let one = |(name, parameter): (String, ParameterShape)| {
            let shape = parameter.dimensions();
            match tensors.remove(&name) {
                Some(tensor) if tensor.shape == shape => Ok(safetensors::from_file(&parameter, tensor.data)),
                Some(other) => {
                    Err(Error::file(path, format!("tensor `{name}` has shape {:?}: expected {shape:?}", other.shape)))
                }
                None => Err(Error::file(path, format!("tensor `{name}` is missing: expected shape {shape:?}"))),
            }
        };
        named(config, letter).into_iter().map(one).collect::<Result<Vec<_>>>()
    };
    Ok(Moments { first: take('m')?, second: take('v')? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::safetensors::tests::small;

    #[test]
    fn moments_go_out_and_in() {
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
        let turned = Moments { second: first.clone(), first };
        save(&path, &long, &turned).expect("save");
        assert_eq!(load(&path, &long).expect("load"), turned);
        save(&path, &config, &moments).expect("save");
        let wider = ModelConfig { vocab_size: 8, ..config.clone() };
        let error = load(&path, &wider).expect_err("shape").to_string();
        assert!(
            error.ends_with("tensor `m.transformer.tokens_embed.weight` has shape [7, 6]: expected [8, 6]"),
            "{error}"
        );
        let deeper = ModelConfig { n_layer: 3, ..config };
        let error = load(&path, &deeper).expect_err("missing").to_string();
        assert!(error.contains("tensor `m.transformer.h.2.attn.c_attn.weight` is missing"), "{error}");
    }
}
