//! The path of a run's folder, reserved until the folder exists.

use crate::Result;
use crate::store::folder_kind;
use crate::store::reservation::Reservation;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The path of a run's folder. That of a new run is reserved for this process until the folder exists.
#[derive(Clone, Debug)]
pub struct RunPath {
    path: PathBuf,
    reservation: Arc<Mutex<Option<Reservation>>>,
}

impl RunPath {
    /// Reserves the path of a new run. Its parent folders are created, and deleted again if they stay empty.
    ///
    /// # Errors
    /// [`crate::Error::File`] if something exists there, it is inside of another run, its parents cannot be folders, or another process
    /// creates the same run; [`crate::Error::Io`] if the parent folder cannot be written.
    pub fn reserve(path: &Path) -> Result<Self> {
        let reservation = reserve(path)?;
        Ok(RunPath { path: path.to_path_buf(), reservation: Arc::new(Mutex::new(Some(reservation))) })
    }

    /// The reservation, which is made now if the path is not reserved.
    ///
    /// # Errors
    /// As [`RunPath::reserve`].
    pub(super) fn take_reservation(&self) -> Result<Reservation> {
        let reserved = self.reservation.lock().unwrap_or_else(PoisonError::into_inner).take();
        reserved.map_or_else(|| reserve(&self.path), Ok)
    }
}

fn reserve(path: &Path) -> Result<Reservation> {
    folder_kind::refuse_inside(path)?;
    Reservation::of_nothing(path)
}

impl From<&Path> for RunPath {
    /// A path that may exist.
    fn from(path: &Path) -> Self {
        RunPath { path: path.to_path_buf(), reservation: Arc::default() }
    }
}

impl From<&PathBuf> for RunPath {
    /// A path that may exist.
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl Deref for RunPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}
