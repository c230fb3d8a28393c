//! A driver with faults: a Vulkan layer before the real driver.

use super::faults::compile;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "VK_LAYER_WGPT_faulty_driver";

/// The compiled layer, in a folder with its manifest.
pub struct FaultyDriver(PathBuf);

impl FaultyDriver {
    /// Compiles the layer into a folder. Where that is not possible, prints that the test is skipped.
    pub fn compile(folder: &Path) -> Option<Self> {
        let library = folder.join("driver.so");
        if !compile("driver.c", &library) {
            return None;
        }
        let layer = serde_json::json!({
            "name": NAME, "type": "GLOBAL", "library_path": library, "api_version": "1.3.0",
            "implementation_version": "1", "description": "A driver with faults",
        });
        let manifest = serde_json::json!({ "file_format_version": "1.2.0", "layer": layer });
        std::fs::write(folder.join("driver.json"), manifest.to_string()).expect("manifest");
        Some(FaultyDriver(folder.to_path_buf()))
    }

    /// The command on the driver with a fault, as in driver.c.
    pub fn inject<'a>(&self, command: &'a mut Command, fault: &str) -> &'a mut Command {
        command.env("VK_LAYER_PATH", &self.0).env("VK_INSTANCE_LAYERS", NAME);
        command.env("DRIVER_FAULT", fault).env("DRIVER_COUNT", self.counts_file())
    }

    fn counts_file(&self) -> PathBuf {
        self.0.join("counts")
    }

    /// The changes of shaders and the submissions of the last command.
    pub fn counts(&self) -> [u64; 2] {
        let text = std::fs::read_to_string(self.counts_file()).expect("the layer was loaded");
        let numbers: Vec<u64> = text.split(' ').map(|word| word.parse().expect("a number")).collect();
        numbers.try_into().expect("two numbers")
    }
}
