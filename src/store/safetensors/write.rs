//! Writing, in f32.

use super::layout::to_file;
use super::place::tensor_place;
use crate::config::{ModelConfig, ParameterShape};
use crate::store::sync::sync_file;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes tensors in f32 with the metadata that Hugging Face requires, and syncs the file.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; [`Error::File`] for a tensor whose data does not fill its shape.
pub fn write<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>) -> Result<()> {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    // The same tensors give the same bytes, in whatever order they are given.
    tensors.sort_by_key(|(name, _, _)| *name);
    let mut infos = Vec::with_capacity(tensors.len());
    let mut offset = 0;
    for (name, shape, data) in &tensors {
        if shape.iter().product::<usize>() != data.len() {
            let expected = format!("must fill shape {shape:?}");
            return Err(Error::file(path, format!("{} elements", data.len()))
                .at(tensor_place(name))
                .expected(expected));
        }
        let end = offset + size_of_val(*data);
        let info = TensorInfo { dtype: Dtype::F32, shape: shape.to_vec(), data_offsets: (offset, end) };
        infos.push((name.to_string(), info));
        offset = end;
    }
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    let header = Metadata::new(Some(format), infos).map_err(|e| Error::file(path, e))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| Error::file(path, e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let written = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (_, _, data) in &tensors {
            if cfg!(target_endian = "little") {
                file.write_all(bytemuck::cast_slice(data))?;
            } else {
                data.iter().try_for_each(|x| file.write_all(&x.to_le_bytes()))?;
            }
        }
        sync_file(&file.into_inner().map_err(std::io::IntoInnerError::into_error)?)
    };
    written().map_err(|e| Error::io(path, e))
}

/// Writes a model's parameters, which are in the order of [`ModelConfig::parameters`].
///
/// # Errors
/// Those of [`write_parameters`], and [`Error::File`] for more or fewer parameters than the model has.
pub fn save_parameters(path: &Path, config: &ModelConfig, parameters: &[Vec<f32>]) -> Result<()> {
    let shapes = config.parameters();
    if shapes.len() != parameters.len() {
        let expected = format!("must be {}, as the model has", shapes.len());
        return Err(Error::file(path, format!("{} tensors", parameters.len())).expected(expected));
    }
    write_parameters(
        path,
        shapes.iter().zip(parameters).map(|(shape, data)| (shape.name.clone(), shape, data.as_slice())),
    )
}

/// Writes tensors with the shapes of parameters, in the layout of files, under given names.
///
/// # Errors
/// Those of [`write()`].
pub fn write_parameters<'a>(
    path: &Path,
    parameters: impl IntoIterator<Item = (String, &'a ParameterShape, &'a [f32])>,
) -> Result<()> {
    let tensors = parameters.into_iter().map(|(name, shape, data)| {
        if data.len() != shape.count() {
            let expected = format!("must be {}, as shape {:?} has", shape.count(), shape.dimensions());
            return Err(Error::file(path, format!("{} elements", data.len()))
                .at(tensor_place(&name))
                .expected(expected));
        }
        Ok((name, shape.dimensions(), to_file(shape, data)))
    });
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    write(path, tensors.iter().map(|(name, shape, data)| (name.as_str(), shape.as_slice(), data.as_ref())))
}
