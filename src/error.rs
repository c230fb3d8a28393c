//! The crate's error type: what was wrong, where, what was found and what was expected, as fields to match on.
//!
//! `Display` composes one sentence from the fields. Exit codes are the program's business (`cli`), not the library's.

use crate::terminal::{shortened, visible_path};
use std::fmt;
use std::path::{Path, PathBuf};

/// Most characters of a value or a place in a file that an error shows.
const LONGEST_VALUE: usize = 200;
/// Most characters of what an error says about a file or a value.
const LONGEST_SENTENCE: usize = 1000;

/// Everything that can fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, an option or an argument has a value that cannot be used.
    #[error("{0}")]
    Value(InvalidValue),
    /// A file or folder that was given is missing, damaged, or not what it should be.
    #[error("{0}")]
    File(InvalidFile),
    /// The machine has no adapter.
    #[error("no adapter with Vulkan, Metal or DX12 was found: the driver of a GPU, or a software driver, is missing")]
    NoAdapter,
    /// The device refused a request or was lost.
    #[error("device: {0}")]
    Device(DeviceError),
    /// A dispatch does not fit its kernel, or a kernel does not fit the device. Found while a program is recorded or encoded,
    /// before the device runs it.
    #[error("{0}")]
    Kernel(InvalidDispatch),
    /// naga or the driver rejects a shader: naga while a program is recorded, the driver when the program first runs.
    #[error("shader `{shader}`: {message}")]
    Shader {
        /// The shader's name.
        shader: String,
        /// naga's message, with the line, or the driver's.
        message: String,
    },
    /// A loss, a gradient norm or an answer is NaN or infinite.
    #[error("{0}")]
    NotFinite(NotFinite),
    /// A thread or a rank, named here, ended before others had its results. If it failed, its own error is reported as well.
    #[error("{0} ended early")]
    Ended(String),
    /// Another rank of a training has left.
    #[error("rank {rank} of {size} has ended{reason}", reason = after_colon(.reason))]
    Rank {
        /// Its number.
        rank: usize,
        /// The number of ranks.
        size: usize,
        /// Its own error, where it could tell it.
        reason: Option<String>,
    },
    /// A file could not be read or written while running.
    #[error("{path}: {source}", path = visible_path(.path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

fn after_colon(text: &Option<String>) -> String {
    text.as_ref().map_or(String::new(), |text| format!(": {text}"))
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where a value was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// By code that calls the library.
    #[default]
    Argument,
    /// In a file of settings, by its name.
    File(String),
    /// By the option `--set key=value`.
    Set,
    /// By the option that has the key's name.
    Option,
}

/// A value that cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvalidValue {
    /// What has the value: a key, an option, an argument, or a phrase that names it.
    pub name: String,
    /// Where it was given.
    pub origin: Origin,
    /// The value found.
    pub found: Option<String>,
    /// What would be right, or why this value is not.
    pub expected: Option<String>,
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidValue { name, origin, found, expected } = self;
        // A value may be a text of a file, of any length and with line breaks.
        let (name, found) = (shortened(name, LONGEST_VALUE), found.as_deref().map(|f| shortened(f, LONGEST_VALUE)));
        match (origin, &found) {
            (Origin::Argument, None) => write!(f, "{name}")?,
            (Origin::Argument, Some(found)) => write!(f, "{name} = {found}")?,
            (Origin::File(file), None) => write!(f, "{file}: {name}")?,
            (Origin::File(file), Some(found)) => write!(f, "{file}: {name} = {found}")?,
            (Origin::Set, found) => write!(f, "--set {name}={}", found.as_deref().unwrap_or_default())?,
            (Origin::Option, None) => write!(f, "--{}", name.replace('_', "-"))?,
            (Origin::Option, Some(found)) => write!(f, "--{} {found}", name.replace('_', "-"))?,
        }
        expected.iter().try_for_each(|expected| write!(f, ": {}", shortened(expected, LONGEST_SENTENCE)))
    }
}

/// A file or folder that cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvalidFile {
    /// The file or folder.
    pub path: PathBuf,
    /// The place in it: "line 3", "tensor `x`", "key `n_head`".
    pub place: Option<String>,
    /// What is wrong there.
    pub found: String,
    /// What would be right.
    pub expected: Option<String>,
    /// The kind of fault, for callers that act on it.
    pub fault: FileFault,
}

/// The kind of fault that a file or folder has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFault {
    /// It is not what was expected there.
    #[default]
    Contents,
    /// The system refuses to read it; a missing file is [`std::io::ErrorKind::NotFound`].
    Unreadable(std::io::ErrorKind),
    /// It was changed or cut off after it was written: its checksum or its length is wrong.
    Damaged,
    /// Another process writes it. A later attempt may succeed.
    InUse,
    /// It exists, where a new one should be written.
    Exists,
}

impl fmt::Display for InvalidFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidFile { path, place, found, expected, fault: _ } = self;
        write!(f, "{}: ", visible_path(path))?;
        place.iter().try_for_each(|place| write!(f, "{}: ", shortened(place, LONGEST_VALUE)))?;
        // What was found may be a part of the file, of any length and with line breaks.
        write!(f, "{}", shortened(found, LONGEST_SENTENCE))?;
        expected.iter().try_for_each(|expected| write!(f, ": {}", shortened(expected, LONGEST_SENTENCE)))
    }
}

/// A dispatch that does not fit its kernel, or a kernel that does not fit the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvalidDispatch {
    /// The kernel's name: that of its operation, as in [`crate::ops::ALL`], or of its shader.
    pub kernel: String,
    /// The tensor at fault, if it is one alone.
    pub operand: Option<String>,
    /// What is wrong: the operand's shape, or a number and what it counts.
    pub found: String,
    /// What would be right.
    pub expected: Option<String>,
}

impl fmt::Display for InvalidDispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidDispatch { kernel, operand, found, expected } = self;
        write!(f, "kernel `{kernel}`: ")?;
        operand.iter().try_for_each(|operand| write!(f, "`{operand}`: "))?;
        write!(f, "{found}")?;
        expected.iter().try_for_each(|expected| write!(f, ": {expected}"))
    }
}

/// A number that is NaN or infinite, in training, evaluation or generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotFinite {
    /// The quantity, such as "loss".
    pub quantity: String,
    /// The training step, if it was in one or in an evaluation after one.
    pub step: Option<u32>,
    /// Where else: "predicted token 3", "example 3 of dev.tsv".
    pub place: Option<String>,
    /// The run's latest checkpoint, whose weights are finite.
    pub checkpoint: Option<PathBuf>,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotFinite { quantity, step, place, checkpoint } = self;
        step.iter().try_for_each(|step| write!(f, "step {step}: "))?;
        place.iter().try_for_each(|place| write!(f, "{place}: "))?;
        write!(f, "the {quantity} is not finite")?;
        let path = checkpoint.as_deref().map(visible_path);
        path.iter().try_for_each(|path| write!(f, "; the last good checkpoint is {path}"))
    }
}

/// What a device refused, or what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The device no longer answers.
    #[error("lost: {0}")]
    Lost(String),
    /// There is not enough memory for a tensor.
    #[error("out of memory for {what}: {message}")]
    OutOfMemory {
        /// The tensor or buffer, with its size in bytes.
        what: String,
        /// The driver's message.
        message: String,
    },
    /// A request is over a limit of the device.
    #[error("{what}: {requested} requested, the device allows {allowed}")]
    Limit {
        /// The tensor and the quantity.
        what: String,
        /// The amount requested.
        requested: u64,
        /// The amount allowed.
        allowed: u64,
    },
    /// The driver rejects a request.
    #[error("{what}: {message}")]
    Rejected {
        /// What was requested.
        what: String,
        /// The driver's message.
        message: String,
    },
    /// All places of a [`crate::gpu::Ring`] hold results that were not read yet.
    #[error("`{tensor}`: every slot of the readback ring is in flight")]
    ReadbackFull {
        /// The tensor that was to be read.
        tensor: String,
    },
    /// The device computes wrongly.
    #[error("{0}")]
    WrongResults(WrongResults),
}

/// Results that differ from those of the f64 implementations, or from known ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrongResults {
    /// The kernels that are wrong, by their names in [`crate::ops::ALL`]; none if it is not known which.
    pub kernels: Vec<String>,
    /// The adapter's name.
    pub adapter: String,
    /// The driver and its version.
    pub driver: String,
    /// What failed first, with the number found and the number expected.
    pub fault: String,
}

impl fmt::Display for WrongResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WrongResults { kernels, adapter, driver, fault } = self;
        write!(f, "{adapter} with driver {driver} computes wrongly: ")?;
        if !kernels.is_empty() {
            let kernels = kernels.iter().map(|kernel| format!("`{kernel}`")).collect::<Vec<_>>().join(", ");
            write!(f, "kernel {kernels}: ")?;
        }
        write!(f, "{fault}")
    }
}

impl Error {
    /// Whether the caller's input is at fault: a value or a file. Nothing has run then, and another input may work.
    pub fn is_invalid_input(&self) -> bool {
        matches!(self, Error::Value(_) | Error::File(_))
    }

    /// An [`Error::Value`] about an argument: `name = found: expected`.
    pub fn value(name: impl Into<String>, found: impl fmt::Display, expected: impl Into<String>) -> Self {
        let (found, expected) = (Some(found.to_string()), Some(expected.into()));
        Error::Value(InvalidValue { name: name.into(), origin: Origin::Argument, found, expected })
    }

    /// An [`Error::Value`] about an argument or a setting that is not given: `name: expected`.
    pub fn missing(name: impl Into<String>, expected: impl Into<String>) -> Self {
        Error::Value(InvalidValue { name: name.into(), expected: Some(expected.into()), ..InvalidValue::default() })
    }

    /// An [`Error::File`]: `path: found`.
    pub fn file(path: impl AsRef<Path>, found: impl fmt::Display) -> Self {
        let (path, found) = (path.as_ref().to_path_buf(), found.to_string());
        Error::File(InvalidFile { path, found, ..InvalidFile::default() })
    }

    /// An [`Error::File`] about a file that the system refuses to read.
    pub fn unreadable(path: impl AsRef<Path>, source: &std::io::Error) -> Self {
        Error::file(path, format!("could not be read: {source}")).with_fault(FileFault::Unreadable(source.kind()))
    }

    /// An [`Error::Kernel`]: `kernel: found`.
    pub fn kernel(kernel: impl Into<String>, found: impl fmt::Display) -> Self {
        let (kernel, found) = (kernel.into(), found.to_string());
        Error::Kernel(InvalidDispatch { kernel, found, ..InvalidDispatch::default() })
    }

    /// The same error with the place in the file, or the kernel's operand.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        match &mut self {
            Error::File(file) => file.place = Some(place.into()),
            Error::Kernel(dispatch) => dispatch.operand = Some(place.into()),
            _ => {}
        }
        self
    }

    /// The same error with what would be right.
    #[must_use]
    pub fn expected(mut self, what: impl Into<String>) -> Self {
        match &mut self {
            Error::Value(value) => value.expected = Some(what.into()),
            Error::File(file) => file.expected = Some(what.into()),
            Error::Kernel(dispatch) => dispatch.expected = Some(what.into()),
            _ => {}
        }
        self
    }

    /// The same error with the kind of fault that the file has.
    #[must_use]
    pub fn with_fault(mut self, fault: FileFault) -> Self {
        if let Error::File(file) = &mut self {
            file.fault = fault;
        }
        self
    }

    /// An [`Error::Device`] with what was requested and the driver's message.
    pub fn rejected(what: impl Into<String>, message: impl fmt::Display) -> Self {
        Error::Device(DeviceError::Rejected { what: what.into(), message: message.to_string() })
    }

    /// An [`Error::NotFinite`] about a quantity at a place.
    pub fn not_finite(quantity: impl Into<String>, place: impl Into<String>) -> Self {
        let (quantity, place) = (quantity.into(), Some(place.into()));
        Error::NotFinite(NotFinite { quantity, place, ..NotFinite::default() })
    }

    /// An [`Error::NotFinite`] about a quantity in a training step.
    pub fn not_finite_in_step(quantity: impl Into<String>, step: u32) -> Self {
        Error::NotFinite(NotFinite { quantity: quantity.into(), step: Some(step), ..NotFinite::default() })
    }

    /// An [`Error::Io`] about a file that could not be read or written while running.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_path_buf(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_line_breaks_is_shown_on_one_line() {
        let error = Error::value("preset", "n\no", "expected\nano");
        assert_eq!(error.to_string(), "preset = n\\no: expected\\nano");
        let long = Error::value("x".repeat(9000), "y".repeat(9000), "z".repeat(9000)).to_string();
        assert!(long.contains("xx… = yy") && long.contains("yy…: zz") && long.ends_with("zz…"), "{long}");
        assert!(Error::file("a", "x".repeat(9000)).at("y".repeat(9000)).to_string().len() < 1300);
    }

    #[test]
    fn errors_spell_a_value_as_the_user_gave_it() {
        let spell = |origin| {
            let expected = Some("must be above 0".into());
            InvalidValue { name: "layer_lr".into(), origin, found: Some("-1".into()), expected }.to_string()
        };
        assert_eq!(spell(Origin::Argument), "layer_lr = -1: must be above 0");
        assert_eq!(spell(Origin::File("run.toml".into())), "run.toml: layer_lr = -1: must be above 0");
        assert_eq!(spell(Origin::Set), "--set layer_lr=-1: must be above 0");
        assert_eq!(spell(Origin::Option), "--layer-lr -1: must be above 0");
    }

    #[test]
    fn a_file_error_names_path_place_and_both_values() {
        let error = Error::file("a/b.tsv", "2 fields").at("line 3").expected("expected 4");
        assert_eq!(error.to_string(), "a/b.tsv: line 3: 2 fields: expected 4");
        assert!(error.is_invalid_input() && !Error::rejected("buffer", "no").is_invalid_input());
        let InvalidFile { fault, found, .. } = match Error::unreadable("a", &std::io::ErrorKind::NotFound.into()) {
            Error::File(file) => file,
            error => panic!("{error:?}"),
        };
        assert_eq!(fault, FileFault::Unreadable(std::io::ErrorKind::NotFound));
        assert!(found.starts_with("could not be read: "), "{found}");
        let odd = Error::file("a\n", "key `x\n\u{1b}`").at("`\r`").expected("expected `y\n`");
        assert_eq!(odd.to_string(), "a\\n: `\\r`: key `x\\n\\u{1b}`: expected `y\\n`");
    }

    #[test]
    fn a_number_that_is_not_finite_has_its_step_place_and_checkpoint() {
        assert_eq!(
            Error::not_finite("loss", "predicted token 3").to_string(),
            "predicted token 3: the loss is not finite"
        );
        let error = NotFinite { step: Some(7), checkpoint: Some("a/b".into()), quantity: "loss".into(), place: None };
        assert_eq!(error.to_string(), "step 7: the loss is not finite; the last good checkpoint is a/b");
    }

    #[test]
    fn a_kernel_error_names_kernel_operand_and_both_values() {
        let error = Error::kernel("matmul", "shape [3, 4]").at("weight").expected("expected [3, 5]");
        assert_eq!(error.to_string(), "kernel `matmul`: `weight`: shape [3, 4]: expected [3, 5]");
        let Error::Kernel(dispatch) = error else { panic!("{error:?}") };
        assert_eq!((dispatch.kernel.as_str(), dispatch.operand.as_deref()), ("matmul", Some("weight")));
        assert_eq!(Error::kernel("matmul", "no variant").to_string(), "kernel `matmul`: no variant");
    }
}
