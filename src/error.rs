//! One error type. A message is one sentence that names the thing, where it is, and what would be right.

use std::path::Path;

/// What can go wrong, by who can put it right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the user gave is wrong: a key, a file, a name. Exit code 2.
    #[error("{0}")]
    Input(String),
    /// No adapter at all. Exit code 3.
    #[error("{0}")]
    NoAdapter(String),
    /// The device refused or lost something. Exit code 1.
    #[error("device: {0}")]
    Device(String),
    /// A dispatch does not fit its kernel: found when recording, never in the loop. Exit code 1.
    #[error("kernel `{kernel}`: {message}")]
    Kernel {
        /// The kernel's stem, as in `ops::ALL`.
        kernel: String,
        /// Tensor, letters, expected and got.
        message: String,
    },
    /// A shader that naga refuses. Exit code 1.
    #[error("shader `{shader}`: {message}")]
    Shader {
        /// The shader's stem.
        shader: String,
        /// naga's own words, with the line.
        message: String,
    },
    /// The loss or the gradient norm is not finite. Exit code 1.
    #[error("{0}")]
    NotFinite(String),
    /// A file could not be written or read while running. Exit code 1.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The program's exit code for this error (SPEC 6).
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Input(_) => 2,
            Error::NoAdapter(_) => 3,
            _ => 1,
        }
    }

    /// An [`Error::Input`] about a file: `path: message`.
    pub fn file(path: impl AsRef<Path>, message: impl std::fmt::Display) -> Self {
        Error::Input(format!("{}: {message}", path.as_ref().display()))
    }

    /// An [`Error::Io`] about a file that could not be written or read while running.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().display().to_string(), source }
    }
}
