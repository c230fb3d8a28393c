//! The variants that adapters of DX12 can have.

use std::collections::HashSet;
use wgpt::gpu::{Caps, Variant};
use wgpt::ops;

/// Every class of adapter, as DX12 presents it to a program with DXC: subgroups, 16-bit floats and 64-bit integers, but no
/// cooperative matrices, which naga has no HLSL for.
fn classes() -> Vec<Caps> {
    let dx12 = |caps: Caps| Caps { backend: "dx12".into(), cooperative: Vec::new(), ..caps };
    Caps::table().into_iter().map(dx12).collect()
}

/// The same with FXC, whose shader model 5.1 has none of these.
fn classes_without_subgroups() -> Vec<Caps> {
    let narrow = |caps: Caps| Caps { subgroup: (0, 0), f16: false, int64: false, ..caps };
    classes().into_iter().map(narrow).collect()
}

fn of(classes: &[Caps]) -> Vec<Variant> {
    let mut seen = HashSet::new();
    let own = |caps| ops::ALL.iter().flat_map(move |kernel| (kernel.variants)(caps));
    classes.iter().flat_map(own).filter(|variant| seen.insert(variant.clone())).collect()
}

/// Every variant.
pub fn all() -> Vec<Variant> {
    of(&[classes(), classes_without_subgroups()].concat())
}

/// Variants that shader model 5.1 can express.
pub fn without_subgroups() -> Vec<Variant> {
    of(&classes_without_subgroups())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_variants_with_and_without_subgroups() {
        let (all, plain) = (all(), without_subgroups());
        assert!(plain.len() < all.len(), "{} of {}", plain.len(), all.len());
        for classes in [classes(), classes_without_subgroups()] {
            for (kernel, caps) in ops::ALL.iter().flat_map(|kernel| classes.iter().map(move |caps| (kernel, caps))) {
                assert!(!(kernel.variants)(caps).is_empty(), "{} on {}", kernel.op, caps.name);
            }
        }
        for variant in &plain {
            let text = variant.text().expect("a text");
            assert!(!text.contains("subgroup"), "{} {}", variant.stem, variant.settings());
        }
    }
}
