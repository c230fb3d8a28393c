//! Every variant of every kernel on every class of adapter that can choose it, without an adapter: naga accepts it, it fits
//! the class's limits, naga translates it for the APIs of the class, and its bindings have the numbers that the recorder expects.

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use std::collections::{HashMap, HashSet};
use wgpt::gpu::wgsl::{BindingKind, Module};
use wgpt::gpu::{Caps, Variant};
use wgpt::ops;

/// Every variant with the classes that can choose it.
fn variants() -> Vec<(Variant, Vec<Caps>)> {
    let mut all: HashMap<Variant, Vec<Caps>> = HashMap::new();
    for caps in Caps::table() {
        for kernel in ops::ALL {
            let mut seen = HashSet::new();
            let own = (kernel.variants)(&caps);
            assert!(!own.is_empty(), "{} has no variant on {}", kernel.op, caps.name);
            for variant in own.into_iter().filter(|v| seen.insert(v.clone())) {
                all.entry(variant).or_default().push(caps.clone());
            }
        }
    }
    all.into_iter().collect()
}

/// 64-bit words, images and subgroups of eight: only CPU adapters have them all, on Vulkan.
fn is_image(variant: &Variant) -> bool {
    variant.imports.contains(&("pack", "pack_u64"))
}

const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

fn spirv(m: &Module) -> Result<(), String> {
    let options = spv::Options { lang_version: (1, 3), bounds_check_policies: UNCHECKED, ..Default::default() };
    spv::write_vec(&m.module, &m.info, &options, None).map(drop).map_err(|e| format!("SPIR-V: {e}"))
}

fn metal(m: &Module) -> Result<(), String> {
    let options = msl::Options {
        lang_version: (2, 0),
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    msl::write_string(&m.module, &m.info, &options, &Default::default()).map(drop).map_err(|e| format!("MSL: {e}"))
}

fn dx12(m: &Module) -> Result<(), String> {
    for shader_model in [hlsl::ShaderModel::V5_1, hlsl::ShaderModel::V6_0] {
        let options = hlsl::Options {
            shader_model,
            restrict_indexing: false,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
        let info = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&m.module, &m.info, None)
            .map_err(|e| format!("HLSL: {e}"))?;
        for entry in info.entry_point_names {
            entry.map_err(|e| format!("HLSL: {e}"))?;
        }
    }
    Ok(())
}

/// 0 the parameters, 1 to 8 the tensors, 9 and up the images that updates are read from, without a gap.
fn numbering(m: &Module) -> Result<(), String> {
    let bindings = &m.bindings;
    let wrong = |what: String| Err(format!("{what}: {bindings:?}"));
    let Some((0, BindingKind::Uniform(bytes))) = bindings.first() else { return wrong("binding 0".into()) };
    if *bytes > 256 {
        return wrong(format!("{bytes} bytes of parameters, a slot has 256"));
    }
    let image = |k: &BindingKind| matches!(k, BindingKind::StorageImage | BindingKind::SampledImage);
    let (tensors, updated): (Vec<_>, Vec<_>) = bindings[1..].iter().partition(|(n, _)| *n < 9);
    // Epilogues have their numbers behind A, B and C, also in kernels that read one tensor instead of A and B.
    if tensors.iter().any(|(n, _)| *n == 0) || updated.iter().zip(9..).any(|((n, _), i)| *n != i) {
        return wrong("a gap".into());
    }
    if !updated.iter().all(|(_, k)| image(k)) {
        return wrong("9 and up are images".into());
    }
    if bindings.iter().filter(|(_, k)| *k == BindingKind::StorageImage).count() > 4 {
        return wrong("WebGPU's default is 4 storage images".into());
    }
    let written = [BindingKind::ReadWrite, BindingKind::WriteImage, BindingKind::UpdateImage];
    if bindings.iter().any(|(_, k)| written.contains(k)) { Ok(()) } else { wrong("nothing is written".into()) }
}

fn judge(variant: &Variant, classes: &[Caps]) -> Result<(), String> {
    let module = variant.module().map_err(|e| e.to_string())?;
    numbering(&module)?;
    for caps in classes {
        variant.fits(&module, caps).map_err(|e| format!("{}: {e}", caps.name))?;
        if is_image(variant) && !caps.reads_images() {
            return Err(format!("{} reads no images", caps.name));
        }
    }
    spirv(&module)?;
    // Cooperative matrices are for Vulkan so far: DX12 has none in naga, and Metal's are 8×8.
    if !is_image(variant) && variant.stem != "matmul_cooperative" {
        metal(&module)?;
        dx12(&module)?;
    }
    Ok(())
}

#[test]
fn every_variant_is_valid_on_its_classes_of_adapters() {
    let all = variants();
    let half = all.len().div_ceil(2);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = |part: &[(Variant, Vec<Caps>)]| {
            let fault = |(v, classes): &(Variant, Vec<Caps>)| {
                let message = judge(v, classes).err()?;
                Some(format!("{} {:?} {:?}: {message}", v.stem, v.constants, v.imports))
            };
            part.iter().filter_map(fault).collect::<Vec<_>>()
        };
        let threads: Vec<_> = all.chunks(half).map(|part| scope.spawn(move || work(part))).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a judge")).collect()
    });
    println!("{} variants", all.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), all.len(), failures.join("\n"));
}

#[test]
fn a_fault_in_a_shader_is_found() {
    let head = "struct P { a: u32 }\n@group(0) @binding(0) var<uniform> p: P;\n";
    let judge = |body: String, caps: Caps| {
        let body: &'static str = Box::leak(body.into_boxed_str());
        judge(&Variant::new("probe", body), &[caps])
    };
    let main = "@compute @workgroup_size(64) fn main() { x[0] = f32(p.a); }";
    let x = |binding: u32| format!("@group(0) @binding({binding}) var<storage, read_write> x: array<f32>;\n");
    let plain = Caps::webgpu_defaults;
    assert_eq!(judge(format!("{head}{}{main}", x(1)), plain()), Ok(()));
    for (body, word) in [
        (format!("{head}{}{main}", x(9)), "9 and up are images"),
        (format!("{head}{}{main}", x(1).replace("group(0)", "group(1)")), "group 1"),
        (format!("{head}{}{}", x(1), main.replace("64", "512")), "512 invocations"),
        (format!("{head}{}var<workgroup> w: array<f32, 8192>;\n{main}", x(1)), "32768 bytes of workgroup memory"),
        (format!("{}{}", x(0), main.replace("f32(p.a)", "1.0")), "binding 0"),
        (format!("{head}{}{}", x(1), main.replace("f32(p.a)", "p.a")), "probe"),
    ] {
        let message = judge(body, plain()).expect_err(word);
        assert!(message.contains(word), "{message}");
    }
}
