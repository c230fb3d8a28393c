//! The highest rates of GPUs by their makers' data sheets, for the share of them that a training reaches.

use super::Caps;

/// What a GPU computes at most, in TFLOP/s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// In f32, outside matrix units.
    pub f32: f64,
    /// On matrix units, with operands in f16 and sums in f32, without sparsity; `None` without such units.
    pub mixed: Option<f64>,
}

/// Names as drivers report them, without the maker, and the rates in TFLOP/s: f32, and mixed or 0. From the data sheets of NVIDIA's
/// cards and the white papers of their architectures, AMD's and Intel's product pages, and Apple's announcements.
const PEAKS: [(&str, f64, f64); 31] = [
    ("H200", 66.9, 989.4),
    ("H100 80GB HBM3", 66.9, 989.4),
    ("H100 PCIe", 51.2, 756.0),
    ("A100-SXM4-40GB", 19.5, 312.0),
    ("A100-SXM4-80GB", 19.5, 312.0),
    ("A100-PCIE-40GB", 19.5, 312.0),
    ("A100 80GB PCIe", 19.5, 312.0),
    ("L40S", 91.6, 362.1),
    ("L4", 30.3, 121.0),
    ("Tesla T4", 8.1, 65.0),
    ("Tesla V100-SXM2-16GB", 15.7, 125.0),
    ("Tesla V100-SXM2-32GB", 15.7, 125.0),
    ("GeForce RTX 5090", 104.8, 209.5),
    ("GeForce RTX 4090", 82.6, 165.2),
    ("GeForce RTX 4080", 48.7, 97.5),
    ("GeForce RTX 4070 Ti", 40.1, 80.2),
    ("GeForce RTX 4070", 29.1, 58.3),
    ("GeForce RTX 3090 Ti", 40.0, 80.0),
    ("GeForce RTX 3090", 35.6, 71.0),
    ("GeForce RTX 3080", 29.8, 59.5),
    ("GeForce RTX 3070", 20.3, 40.6),
    ("GeForce RTX 2080 Ti", 13.4, 53.8),
    ("Radeon RX 7900 XTX", 61.4, 122.8),
    ("Radeon RX 7900 XT", 51.6, 103.2),
    ("Radeon RX 6900 XT", 23.0, 0.0),
    ("Radeon RX 6800 XT", 20.7, 0.0),
    ("Arc(TM) A770 Graphics", 19.7, 157.3),
    ("M1", 2.6, 0.0),
    ("M1 Max", 10.4, 0.0),
    ("M2", 3.6, 0.0),
    ("M2 Max", 13.6, 0.0),
];

/// The makers' names that may precede that of a GPU.
const MAKERS: [&str; 5] = ["NVIDIA ", "AMD ", "Intel(R) ", "Intel ", "Apple "];

impl Peak {
    /// The rates of an adapter; `None` for one that is not in the table. A laptop's GPU of the same name is another one, and its
    /// driver says so in the name.
    pub fn of(caps: &Caps) -> Option<Self> {
        // Mesa's drivers add the chip: "AMD Radeon RX 7900 XTX (RADV NAVI31)".
        let name = caps.name.split_once(" (RADV").map_or(caps.name.as_str(), |(name, _)| name);
        let name = MAKERS.iter().find_map(|maker| name.strip_prefix(maker)).unwrap_or(name);
        let (_, f32, mixed) = PEAKS.into_iter().find(|(known, ..)| *known == name.trim())?;
        Some(Peak { f32, mixed: Some(mixed).filter(|rate| *rate > 0.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_known_by_their_whole_name() {
        let of = |name: &str| Peak::of(&Caps { name: name.into(), ..Caps::webgpu_defaults() });
        assert_eq!(of("NVIDIA GeForce RTX 4070 Ti").map(|peak| peak.f32), Some(40.1));
        assert_eq!(of("NVIDIA GeForce RTX 4070").map(|peak| peak.f32), Some(29.1));
        assert_eq!(of("AMD Radeon RX 7900 XTX (RADV NAVI31)").and_then(|peak| peak.mixed), Some(122.8));
        assert_eq!(of("Apple M1"), Some(Peak { f32: 2.6, mixed: None }));
        let unknown = [
            "NVIDIA GeForce RTX 4070 Laptop GPU",
            "NVIDIA GeForce RTX 4070 Ti SUPER",
            "llvmpipe (LLVM 15.0.6, 256 bits)",
        ];
        assert!(unknown.iter().all(|name| of(name).is_none()));
    }
}
