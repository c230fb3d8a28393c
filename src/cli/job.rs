//! The processes of an MPI job, one device each. Rank 0 does the work of the command; the others train with it.

#[cfg(feature = "mpi")]
pub(super) use with_mpi::Job;
#[cfg(not(feature = "mpi"))]
pub(super) use without_mpi::Job;

#[cfg(feature = "mpi")]
mod with_mpi {
    use crate::communicator::{Communicator, MpiJob};
    use crate::gpu::Device;
    use crate::train::Devices;
    use crate::train::ranks::{Setup, follow};
    use crate::{Error, Result};

    /// This process as a rank of an MPI job, if it is one of several.
    pub struct Job(Option<MpiJob>);

    impl Job {
        /// No job: this process is alone.
        pub fn none() -> Self {
            Job(None)
        }

        /// Joins the job that this process belongs to.
        ///
        /// # Errors
        /// As [`MpiJob::start`].
        pub fn join() -> Result<Self> {
            Ok(Job(MpiJob::start()?.filter(|job| job.rank().size() > 1)))
        }

        /// The number of ranks, if there are several.
        pub fn size(&self) -> Option<usize> {
            self.0.as_ref().map(|job| job.rank().size())
        }

        /// The number of this rank, if it is not rank 0.
        pub fn follower(&self) -> Option<usize> {
            self.0.as_ref().map(|job| job.rank().rank()).filter(|rank| *rank > 0)
        }

        /// This rank's one of several adapters: those of a machine are shared among its ranks.
        pub fn adapter(&self, indices: &[usize]) -> Option<usize> {
            let local_rank = self.0.as_ref()?.local_rank();
            indices.get(local_rank % indices.len().max(1)).copied()
        }

        /// The devices of a run: those of this process, or one of each rank.
        pub fn devices<'a>(&self, local: &'a [Device]) -> Devices<'a> {
            match (&self.0, local) {
                (Some(job), [device]) => Devices::Processes(device, Box::new(job.rank())),
                _ => Devices::Local(local),
            }
        }

        /// Trains with rank 0 until it leaves.
        ///
        /// # Errors
        /// As [`follow`].
        pub fn follow(&self, device: &Device, test: impl FnMut(&Device, &Setup) -> Result<()>) -> Result<()> {
            let Some(job) = &self.0 else { return Err(Error::missing("MPI", "this process is no rank of a job")) };
            follow(device, &mut job.rank(), test)
        }

        /// Tells rank 0 and the others why this rank cannot take part.
        pub fn leave(&self, reason: &Error) {
            if let Some(job) = &self.0 {
                job.rank().leave(&reason.to_string());
            }
        }
    }
}

#[cfg(not(feature = "mpi"))]
mod without_mpi {
    use crate::gpu::Device;
    use crate::train::Devices;
    use crate::{Error, Result};

    /// No MPI job: this program was built without MPI.
    pub struct Job;

    impl Job {
        /// No job: this process is alone.
        pub fn none() -> Self {
            Job
        }

        /// Refuses to be one of several processes, which would all train the same model.
        ///
        /// # Errors
        /// [`Error::Value`] in such a process.
        pub fn join() -> Result<Self> {
            // Variables of launchers, with the value in a process that is alone. PMIx tells only the number of the process.
            const ALONE: [(&str, &str); 4] =
                [("OMPI_COMM_WORLD_SIZE", "1"), ("PMI_SIZE", "1"), ("PMI_RANK", "0"), ("PMIX_RANK", "0")];
            for (name, alone) in ALONE {
                if let Some(found) = std::env::var(name).ok().filter(|value| value != alone) {
                    let without =
                        "this wgpt was built without the feature mpi, with which several processes train together";
                    return Err(Error::value(name, found, format!("expected {alone}: {without}")));
                }
            }
            Ok(Job)
        }

        /// None: there is one process.
        pub fn size(&self) -> Option<usize> {
            None
        }

        /// The devices of a run.
        pub fn devices<'a>(&self, local: &'a [Device]) -> Devices<'a> {
            Devices::Local(local)
        }

        /// No adapter is chosen by rank.
        pub fn adapter(&self, _indices: &[usize]) -> Option<usize> {
            None
        }
    }
}
