//! The numbers of a compiled variant under common names, whichever driver reports them.

use crate::driver::{Compiled, Driver, Result, Statistic};
use crate::models::Chosen;

/// What a driver made of one variant.
#[derive(serde::Serialize)]
pub struct Row {
    pub chip: String,
    pub driver: String,
    pub kernel: String,
    /// Constants, aliases and imported files, in one line.
    pub variant: String,
    /// Invocations of a workgroup.
    pub group: u32,
    pub subgroup: u32,
    /// Per invocation, in the driver's unit: 32 bits on AMD and NVIDIA, 16 bits on Apple, 4 × 32 bits on Qualcomm.
    pub registers: u32,
    /// Registers kept in memory, or stores to it.
    pub spills: u32,
    /// Bytes of memory for spills and for arrays that do not fit registers.
    pub scratch: u32,
    /// Bytes of a workgroup.
    pub workgroup_memory: u32,
    /// How much runs at once, in `occupancy_unit`.
    pub occupancy: u32,
    pub occupancy_unit: &'static str,
    pub instructions: u32,
    /// The driver's estimate of the time of one subgroup. Compares variants of a kernel, not kernels: the trip counts of
    /// loops are guesses.
    pub cycles: u64,
    /// The models that wgpt chooses it for.
    pub models: Vec<String>,
    /// Everything that the driver reports.
    pub statistics: serde_json::Map<String, serde_json::Value>,
}

impl Row {
    /// Whether values that belong in registers are in memory.
    pub fn is_spilled(&self) -> bool {
        self.spills > 0 || self.scratch > 0
    }
}

/// Names of a statistic in RADV, NVK, Honeykrisp and Turnip.
const REGISTERS: [&str; 4] = ["VGPRs", "Number of GPRs", "GPRs", "Registers used"];
const SPILLS: [&str; 4] = ["Spilled VGPRs", "Spills to memory", "Spills", "STP Count"];
const SCRATCH: [&str; 3] = ["Scratch size", "SLM size", "Scratch"];
const INSTRUCTIONS: [&str; 3] = ["Instructions", "Instruction count", "Instruction Count"];
const CYCLES: [&str; 3] = ["Inverse Throughput", "Static cycle count", "ALU"];

/// Names of the statistic of occupancy, with the unit. RADV counts a wave of 64 lanes twice.
const OCCUPANCY: [(&str, &str); 4] = [
    ("Subgroups per SIMD", "waves of 32 lanes per SIMD"),
    ("Max warps/SM", "warps per SM"),
    ("Threads", "invocations per core"),
    ("Max Waves Per Core", "waves per core"),
];

/// What a multiprocessor of an NVIDIA chip has, since NVK's number of warps counts registers alone.
struct Multiprocessor {
    warps: u32,
    groups: u32,
    memory: u32,
    /// Workgroup memory that the hardware keeps of each group.
    reserved: u32,
}

fn multiprocessor(chip: &str) -> Option<Multiprocessor> {
    let (warps, groups, memory, reserved) = match chip {
        "ampere" => (48, 16, 100 << 10, 1 << 10),
        "turing" => (32, 16, 64 << 10, 0),
        "pascal" => (64, 32, 96 << 10, 0),
        _ => return None,
    };
    Some(Multiprocessor { warps, groups, memory, reserved })
}

impl Multiprocessor {
    /// Warps that run at once, of groups of so many warps and bytes.
    fn occupancy(&self, by_registers: u32, group_warps: u32, bytes: u32) -> u32 {
        let by_memory = if bytes > 0 { self.memory / (bytes + self.reserved) } else { self.groups };
        let groups = (by_registers.min(self.warps) / group_warps).min(by_memory).min(self.groups);
        groups * group_warps
    }
}

/// The value of the first of these statistics that the driver reports.
fn first(statistics: &[Statistic], names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| statistics.iter().find(|s| s.name == *name)).map(|s| s.value)
}

/// Compiles a variant and names its numbers.
pub fn measure(driver: &Driver, chip: &str, chosen: &Chosen) -> Result<Row> {
    let variant = &chosen.variant;
    let module = variant.module()?;
    let Compiled { subgroup_size, statistics } = driver.compile(variant)?;
    let names = || statistics.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    let number = |names_of: &[&str]| first(&statistics, names_of);
    let registers = number(&REGISTERS).ok_or_else(|| format!("no statistic of registers among: {}", names()))?;
    let (occupancy, occupancy_unit) = OCCUPANCY
        .iter()
        .find_map(|(name, unit)| Some((first(&statistics, &[name])? as u32, *unit)))
        .ok_or_else(|| format!("no statistic of occupancy among: {}", names()))?;
    let group_warps = module.workgroup_size.div_ceil(32);
    let occupancy = match multiprocessor(chip) {
        Some(multiprocessor) => multiprocessor.occupancy(occupancy, group_warps, module.workgroup_bytes),
        None => occupancy,
    };
    Ok(Row {
        chip: chip.into(),
        driver: driver.device.caps().driver.clone(),
        kernel: variant.stem.into(),
        variant: variant.settings(),
        group: module.workgroup_size,
        subgroup: subgroup_size,
        registers: registers as u32,
        spills: number(&SPILLS).unwrap_or(0.0) as u32,
        scratch: number(&SCRATCH).unwrap_or(0.0) as u32,
        workgroup_memory: module.workgroup_bytes,
        occupancy,
        occupancy_unit,
        instructions: number(&INSTRUCTIONS).unwrap_or(0.0) as u32,
        cycles: number(&CYCLES).unwrap_or(0.0) as u64,
        models: chosen.models.clone(),
        statistics: statistics.iter().map(|s| (s.name.clone(), s.value.into())).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warps_are_limited_by_registers_memory_and_groups() {
        let ampere = multiprocessor("ampere").expect("a known chip");
        assert_eq!(ampere.occupancy(24, 8, 12 << 10), 24);
        assert_eq!(ampere.occupancy(20, 8, 12 << 10), 16, "whole groups alone");
        assert_eq!(ampere.occupancy(24, 8, 48 << 10), 16, "two groups of 49 KiB in 100");
        assert_eq!(ampere.occupancy(48, 2, 0), 32, "at most 16 groups");
        assert_eq!(ampere.occupancy(4, 8, 0), 0);
    }
}
