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
            const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
            let several = |name: &&str| std::env::var(name).is_ok_and(|size| size != "1");
            match SIZES.into_iter().find(several) {
                Some(name) => {
                    let found = std::env::var(name).unwrap_or_default();
                    Err(Error::value(
                        name,
                        found,
                        "expected 1: this wgpt was built without the feature mpi, with which several processes train together",
                    ))
                }
                None => Ok(Job),
            }
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
